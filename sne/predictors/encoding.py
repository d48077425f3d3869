"""`sne.encode`: networks to vectors in one call, and the device on which that happens."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from sne.encoders import NetworkEncoder
from sne.errors import PredictorError
from sne.predictors.predictor import Predictor
from sne.predictors.sources import OnError, Source, blocks, read_sources


def encode(
        self, sources: Source | Iterable[Source], *, batch_size: int = 64, errors: OnError = "raise"
    ) -> Float[np.ndarray, "networks dim"]:
        """Encodes networks as vectors: the embeddings of the experts side by side.

        Where no expert that takes part has an embedding (see `embeds_description`), the vector is the description of
        the network that the experts read.

        Args:
            sources: As for `predict`.
            batch_size: As for `predict`.
            errors: As for `predict`; without "raise" there are rows for readable sources only.

        Returns:
            float32 [networks, dim], rows in the order given.
        """
        rows = [outputs.embedding for _, outputs in self._outputs(sources, batch_size, errors)]
        return torch.cat([torch.zeros(0, self.dim), *rows]).numpy()

    def save(self, folder: str | Path) -> None:
        """Writes config.json, model.safetensors, metrics.json and split.json; nothing is pickled. Inverse: `load`.

        A crash while writing leaves the old predictor, a folder that `load` refuses, or the new predictor.
        """
        names = {kind: name for name, kind in EXPERTS.items()}
        config = {
            "encoder": {"name": type(self.encoder).__name__, "settings": self.encoder.settings()},
            "properties": [{**p.to_json(), "half_width": self.half_widths.get(p.name)} for p in self.properties],
            "experts": [
                {"kind": names[type(expert)], "settings": expert.settings(), "weights": row.tolist()}
                for expert, row in zip(self.experts, self.weights, strict=True)
            ],
            "training": self.record,
        }
        tensors = {f"{n}.{name}": t for n, expert in enumerate(self.experts) for name, t in expert.state().items()}
        PredictorFiles(config, tensors, self.metrics, self.split).write(Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, encoders: Mapping[str, type[NetworkEncoder]] | None = None) -> "Predictor":
        """Reads a predictor folder. Inverse: `save`.

        Args:
            folder: Folder that `save` or `sne train --out` wrote.
            encoders: Encoder classes by name, in addition to those of `sne.encoders.ENCODERS`.

        Returns:
            The predictor, on the CPU.

        Raises:
            PredictorError: A file is missing or damaged, an encoder or expert is unknown, or the format is newer.
        """
        folder = Path(folder)
        files = PredictorFiles.read(folder)
        known = {**ENCODERS, **(encoders or {})}
        try:
            return _build(files, known)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = str(error) if isinstance(error, PredictorError) else f"damaged, {type(error).__name__}: {error}"
            raise PredictorError(f"{folder}: {CONFIG} and {MODEL} make no predictor: {reason}") from None

    def _outputs(
        self, sources: Source | Iterable[Source], batch_size: int, errors: OnError
    ) -> Iterator[tuple[list[Network], "_BlockOutputs"]]:
        """Reads sources and lets the experts predict them, block by block; bad networks are taken out."""
        for block in blocks(read_sources(sources, errors=errors), batch_size):
            yield from self._block_outputs(block, errors)

    def _block_outputs(self, block: list[Network], errors: OnError) -> Iterator[tuple[list[Network], "_BlockOutputs"]]:
        try:
            reads_description = any(expert.reads_description for expert in self.experts)
            prepared = prepare(self.encoder, block, with_description=reads_description)
            outputs = self._combine(prepared)
            for network, row in zip(block, outputs.values, strict=True):
                if not row.isfinite().all():
                    raise PredictorError(f"{network.name}: the prediction is not finite; are the weights sound?")
        except (ValueError, OSError) as error:
            if errors == "raise":
                raise
            if len(block) == 1:
                handle_error(errors, block[0].name, error)
                return
            for network in block:
                yield from self._block_outputs([network], errors)
            return
        yield block, outputs

    def _combine(self, prepared: Prepared) -> "_BlockOutputs":
        """Adds up the weighted values of the experts; embeddings and logits stand side by side."""
        values = torch.zeros(len(prepared), num_outputs(self.properties), dtype=torch.float64)
        logits, embeddings = [], []
        for expert, row in zip(self.experts, self.weights, strict=True):
            outputs = expert.predict(prepared)
            per_output = np.repeat(row, [prop.num_outputs for prop in self.properties])
            values += outputs.values.double() * torch.from_numpy(per_output)
            logits += [] if outputs.logits is None else [outputs.logits]
            embeddings += [] if outputs.embedding is None else [outputs.embedding]
        if not embeddings and prepared.description is not None:
            embeddings = [prepared.description.float()]
        stacked = torch.stack(logits) if logits else torch.zeros(0, *values.shape)
        return _BlockOutputs(values, stacked, torch.cat(embeddings, dim=1))

    def _prediction(self, source: str, prop: Property, values: np.ndarray) -> Prediction:
        if prop.kind == "class":
            probabilities = dict(zip(prop.classes, values.tolist(), strict=True))
            return Prediction(source, prop.name, prop.classes[int(values.argmax())], probabilities=probabilities)
        value = float(values[0])
        low, high = interval(value, self.half_widths.get(prop.name), prop.kind == "fraction")
        return Prediction(source, prop.name, value, low, high)


@dataclass(frozen=True)
class _BlockOutputs:
    values: Float[Tensor, "networks outputs"]
    logits: Float[Tensor, "experts networks outputs"]
    embedding: Float[Tensor, "networks dim"]


def encode(
    sources: Source | Iterable[Source],
    *,
    encoder: Predictor | NetworkEncoder | str | Path,
    batch_size: int = 64,
    errors: OnError = "raise",
) -> Float[np.ndarray, "networks dim"]:
    """Encodes networks as vectors.

    Args:
        sources: One source or several: whatever `sne.read_network` takes, globs, folders of checkpoints, or networks
            that were read before.
        encoder: A predictor, the folder of a predictor, or an encoder.
        batch_size: Number of networks per forward pass; it changes speed and memory only.
        errors: As for `Predictor.predict`.

    Returns:
        float32 [networks, dim], rows in the order given.

    Raises:
        sne.CheckpointError: A source cannot be read whole.
        PredictorError: The folder is no predictor.
    """
    if isinstance(encoder, str | Path):
        encoder = Predictor.load(encoder)
    if isinstance(encoder, Predictor):
        return encoder.encode(sources, batch_size=batch_size, errors=errors)
    was_training = encoder.training
    device = next(encoder.parameters()).device
    encoder.eval()
    try:
        with torch.inference_mode():
            rows = [
                encoder(encoder.collate(encoder.prepare(block)).to(device)).float().cpu().numpy()
                for block in blocks(read_sources(sources, errors=errors), batch_size)
            ]
    finally:
        encoder.train(was_training)
    return np.concatenate(rows) if rows else np.zeros((0, encoder.dim), dtype=np.float32)


def choose_device(name: str) -> torch.device:
    """Returns the device of that name; "auto" is CUDA where there is a CUDA device, else the CPU.

    Raises:
        PredictorError: The name is unknown, or CUDA is asked for without a CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise PredictorError(f"device {name!r}, expected auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise PredictorError("device 'cuda': this torch finds no CUDA device; use cpu")
    return torch.device("cuda", torch.cuda.current_device())
