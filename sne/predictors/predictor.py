"""The predictor: weighted experts that predict properties of networks, with intervals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders import ENCODERS, Limits, NetworkEncoder
from sne.errors import PredictorError
from sne.networks import Network
from sne.predictors.experts import EXPERTS, Expert, Prepared, prepare, without_memory
from sne.predictors.figures import interval
from sne.predictors.folder import CONFIG, MODEL, PredictorFiles, check_settings
from sne.predictors.properties import Property, num_outputs, output_slices
from sne.predictors.sources import OnError, Source, blocks, handle_error, read_sources
from sne.zoo import Split

_MOST_REASON = 500  # characters; torch's messages about arguments have many lines


@dataclass(frozen=True)
class Prediction:
    """Prediction of one property of one network.

    Args:
        source: Name of the network: a path, an id of a zoo, the class of a module.
        property: Name of the property.
        value: A number, or the most probable class.
        low: Lower end of the 90% interval; None for classes, and where too few labels gave no interval.
        high: Upper end of the interval.
        probabilities: Probability of each class; None for numbers.
    """

    source: str
    property: str
    value: float | str
    low: float | None = None
    high: float | None = None
    probabilities: Mapping[str, float] | None = None


class Predictor:
    """Predicts properties of networks from their weights, as a weighted mean of experts.

    Args:
        encoder: Reads networks for the experts (`prepare` and `summarize`); its learned parameters are not used.
        properties: The properties to predict.
        experts: Experts that predict them.
        weights: Weight of each expert for each property; not negative, and of sum 1 for each property.
        half_widths: Half width of the 90% interval of each property that has one.
        split: Which runs of its zoo it was trained on.
        record: How it was trained (zoo, split, settings, versions), as plain JSON values.
        metrics: Validation figures, as plain JSON values.

    Raises:
        PredictorError: Weights and experts do not fit each other.
    """

    def __init__(
        self,
        encoder: NetworkEncoder,
        properties: Sequence[Property],
        experts: Sequence[Expert],
        weights: Float[np.ndarray, "experts properties"],
        *,
        half_widths: Mapping[str, float | None] | None = None,
        split: Split | None = None,
        record: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ):
        if not experts or not properties:
            raise PredictorError(f"a predictor needs experts and properties, got {len(experts)} and {len(properties)}")
        if weights.shape != (len(experts), len(properties)):
            raise PredictorError(f"weights have shape {weights.shape}, expected {(len(experts), len(properties))}")
        if not ((weights >= 0).all() and np.allclose(weights.sum(axis=0), 1, atol=1e-6)):
            raise PredictorError("the weights of the experts are negative or do not add up to 1")
        self.encoder = encoder
        self.properties = tuple(properties)
        self.experts = tuple(experts)
        self.weights = weights
        self.half_widths = dict(half_widths or {})
        self.split = split
        self.record = dict(record or {})
        self.metrics = dict(metrics or {})

    def __repr__(self) -> str:
        """Names the properties, and the kinds of experts with their weights."""
        properties = ", ".join(prop.name for prop in self.properties)
        shares = ", ".join(
            f"{kind} {np.mean(list(weights.values())):.2f}" for kind, weights in self.expert_weights().items()
        )
        trained = f" trained on {self.record['networks']} networks" if "networks" in self.record else ""
        return f"<Predictor of {properties}{trained}; experts: {shares}>"

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return sum(expert.embedding_dim for expert in self.experts) or max(e.num_features for e in self.experts)

    @property
    def embeds_description(self) -> bool:
        """Whether embeddings are the descriptions of networks, because no expert with an embedding takes part."""
        return not any(expert.embedding_dim for expert in self.experts)

    @property
    def is_canonical(self) -> bool:
        """Whether networks are read at the canonical point of their orbit under scalings and sign flips."""
        return self.encoder.canonical

    def expert_weights(self) -> dict[str, dict[str, float]]:
        """Returns the weight of each kind of expert, all folds together, for each property."""
        names = {kind: name for name, kind in EXPERTS.items()}
        totals: dict[str, dict[str, float]] = {}
        for expert, row in zip(self.experts, self.weights, strict=True):
            total = totals.setdefault(names[type(expert)], dict.fromkeys((p.name for p in self.properties), 0.0))
            for prop, weight in zip(self.properties, row, strict=True):
                total[prop.name] += float(weight)
        return totals

    def find_property(self, name: str) -> Property:
        """Returns the property of that name.

        Raises:
            PredictorError: It predicts no such property.
        """
        for prop in self.properties:
            if prop.name == name:
                return prop
        raise PredictorError(f"predicts {', '.join(p.name for p in self.properties)}, not {name!r}")

    def to(self, device: str | torch.device) -> "Predictor":
        """Moves the experts to a device; networks follow by themselves."""
        for expert in self.experts:
            expert.to(torch.device(device))
        return self

    def predict(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        errors: OnError = "raise",
        memory: int | None = None,
        budget: int | None = None,
    ) -> list[Prediction]:
        """Predicts every property of every source.

        Args:
            sources: One source or several: whatever `sne.read_network` takes, globs, folders of checkpoints, or
                networks that were read before.
            batch_size: Number of networks per forward pass; it changes speed and memory only.
            errors: What to do with a source that cannot be read or predicted: "raise" stops, "skip" logs a warning
                and continues, a function is called with the name of the source and the error.
            memory: Largest resident size of the process, in bytes; None for the encoder's own bound. Larger networks
                are read piece by piece.
            budget: Largest number of weights that are read of a network; None for all. A network with more weights is
                represented by a sample, always the same one.

        Returns:
            One prediction per source and property, sources in the order given.

        Raises:
            sne.CheckpointError: A source cannot be read whole.
            PredictorError: A prediction is not finite.
        """
        predictions: list[Prediction] = []
        for block, outputs in self._outputs(sources, batch_size, errors, Limits(memory, budget)):
            for network, values in zip(block, outputs.values, strict=True):
                for prop, where in zip(self.properties, output_slices(self.properties), strict=True):
                    predictions.append(self._prediction(network.name, prop, values[where].numpy()))
        return predictions

    def values(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        memory: int | None = None,
        budget: int | None = None,
    ) -> dict[str, Float[np.ndarray, "networks ..."]]:
        """Predicts as arrays.

        Args:
            sources: As for `predict`.
            batch_size: As for `predict`.
            memory: As for `predict`.
            budget: As for `predict`.

        Returns:
            By name of the property: float64 [networks], or class probabilities [networks, classes].
        """
        return self.values_and_logits(sources, batch_size=batch_size, memory=memory, budget=budget)[0]

    def values_and_logits(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        memory: int | None = None,
        budget: int | None = None,
    ) -> tuple[dict[str, Float[np.ndarray, "networks ..."]], dict[str, Float[np.ndarray, "experts networks outputs"]]]:
        """Predicts as arrays, with the logits of the experts that have some.

        Args:
            sources: As for `predict`.
            batch_size: As for `predict`.
            memory: As for `predict`.
            budget: As for `predict`.

        Returns:
            The result of `values`; and by name of the property, the outputs before sigmoid, softmax or scale of each
            expert that has logits, float32.
        """
        limits = Limits(memory, budget)
        found = [outputs for _, outputs in self._outputs(sources, batch_size, "raise", limits)]
        width = num_outputs(self.properties)
        values = torch.cat([torch.zeros(0, width, dtype=torch.float64), *(one.values for one in found)]).numpy()
        with_logits = sum(bool(expert.embedding_dim) for expert in self.experts)
        logits = torch.cat([torch.zeros(with_logits, 0, width), *(one.logits for one in found)], dim=1).numpy()
        slices = dict(zip(self.properties, output_slices(self.properties), strict=True))
        return (
            {p.name: values[:, where] if p.kind == "class" else values[:, where.start] for p, where in slices.items()},
            {p.name: logits[:, :, where] for p, where in slices.items()},
        )

    def encode(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = 64,
        errors: OnError = "raise",
        memory: int | None = None,
        budget: int | None = None,
    ) -> Float[np.ndarray, "networks dim"]:
        """Encodes networks as vectors: the embeddings of the experts side by side.

        Where no expert that takes part has an embedding (see `embeds_description`), the vector is the description of
        the network that the experts read.

        Args:
            sources: As for `predict`.
            batch_size: As for `predict`.
            errors: As for `predict`; without "raise" there are rows for readable sources only.
            memory: As for `predict`.
            budget: As for `predict`.

        Returns:
            float32 [networks, dim], rows in the order given.
        """
        limits = Limits(memory, budget)
        rows = [outputs.embedding for _, outputs in self._outputs(sources, batch_size, errors, limits)]
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
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
            reason = str(error) if isinstance(error, PredictorError) else f"damaged, {type(error).__name__}: {error}"
            line = " ".join(reason.split())[:_MOST_REASON]
            raise PredictorError(f"{folder}: {CONFIG} and {MODEL} make no predictor: {line}") from None

    def _outputs(
        self, sources: Source | Iterable[Source], batch_size: int, errors: OnError, limits: Limits
    ) -> Iterator[tuple[list[Network], "_BlockOutputs"]]:
        """Reads sources and lets the experts predict them, block by block; bad networks are taken out."""
        for block in blocks(read_sources(sources, errors=errors), batch_size):
            yield from self._block_outputs(block, errors, limits)

    def _block_outputs(
        self, block: list[Network], errors: OnError, limits: Limits
    ) -> Iterator[tuple[list[Network], "_BlockOutputs"]]:
        try:
            reads_description = any(expert.reads_description for expert in self.experts)
            prepared = prepare(self.encoder, block, with_description=reads_description, limits=limits)
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
                yield from self._block_outputs([network], errors, limits)
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


def _build(files: PredictorFiles, encoders: Mapping[str, type[NetworkEncoder]]) -> Predictor:
    config = files.config
    properties = [Property.from_json(values) for values in config["properties"]]
    if not properties or not config["experts"]:
        raise PredictorError(f"{len(properties)} properties and {len(config['experts'])} experts")
    half_widths = {str(values["name"]): _half_width(values.get("half_width")) for values in config["properties"]}
    name = str(config["encoder"]["name"])
    if name not in encoders:
        raise PredictorError(f"unknown encoder {name!r}, expected one of {', '.join(sorted(encoders))}")
    settings = dict(config["encoder"]["settings"])
    check_settings(encoders[name], settings)

    def make_encoder() -> NetworkEncoder:
        return encoders[name](**settings)

    tensors: dict[int, dict[str, Tensor]] = {}
    for key, tensor in files.tensors.items():
        number, _, rest = key.partition(".")
        tensors.setdefault(int(number), {})[rest] = tensor
    if tensors.keys() - set(range(len(config["experts"]))):
        raise PredictorError(f"{MODEL} holds experts {sorted(tensors)}, {CONFIG} names {len(config['experts'])}")
    experts = [
        _expert_class(str(entry["kind"])).from_state(
            make_encoder, properties, dict(entry["settings"]), tensors.get(number, {})
        )
        for number, entry in enumerate(config["experts"])
    ]
    weights = np.array([entry["weights"] for entry in config["experts"]], dtype=np.float64)
    reader = without_memory(make_encoder)  # reading uses no parameter
    record = dict(config.get("training", {}))
    return Predictor(
        reader,
        properties,
        experts,
        weights,
        half_widths=half_widths,
        split=files.split,
        record=record,
        metrics=files.metrics,
    )


def _expert_class(kind: str) -> type[Expert]:
    if kind not in EXPERTS:
        raise PredictorError(f"unknown expert {kind!r}, expected one of {', '.join(EXPERTS)}")
    return EXPERTS[kind]


def _half_width(value: Any) -> float | None:
    if value is None:
        return None
    width = float(value)
    if not 0 <= width < float("inf"):
        raise PredictorError(f"half_width is {value}, expected 0 or more")
    return width
