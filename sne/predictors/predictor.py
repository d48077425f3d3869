"""The predictor: members that are averaged, properties in their own units, intervals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sne.encoders import NetworkEncoder
from sne.errors import PredictorError
from sne.networks import Network
from sne.predictors.calibration import interval
from sne.predictors.member import Member
from sne.predictors.properties import Property
from sne.predictors.sources import Source, blocks, read_sources


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of one property of one network.

    Args:
        source: the network's name: a path, a zoo's id, a module's class.
        property: the property's name.
        value: a number, or the most probable class.
        low: lower end of the 90% interval; None for classes, and where too few labels gave none.
        high: upper end of the interval.
        probabilities: of each class; None for numbers.
    """

    source: str
    property: str
    value: float | str
    low: float | None = None
    high: float | None = None
    probabilities: Mapping[str, float] | None = None


class Predictor:
    """Predicts properties of networks from their weights.

    Args:
        members: encoders with heads, and trees beside them, of one kind of encoder, one list of properties; predictions
            are averaged over them as fractions, real values and probabilities.
        half_widths: of the 90% interval of each property that has one.
        record: how it was trained (zoo, split, settings, versions), plain JSON values.
        metrics: its validation figures, plain JSON values.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        half_widths: Mapping[str, float | None] | None = None,
        record: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ):
        if not members:
            raise PredictorError("a predictor needs at least one member")
        first = members[0]
        for member in members[1:]:
            if (
                type(member.encoder) is not type(first.encoder)
                or member.encoder.settings() != first.encoder.settings()
                or member.heads.properties != first.heads.properties
                or len(member.forests) != len(first.forests)
            ):
                raise PredictorError(
                    "the members of a predictor share encoder settings and properties, and have trees or none"
                )
        self.members = torch.nn.ModuleList(members).eval()
        self.half_widths = dict(half_widths or {})
        self.record = dict(record or {})
        self.metrics = dict(metrics or {})

    @property
    def properties(self) -> tuple[Property, ...]:
        """What it predicts."""
        return self._first.heads.properties

    @property
    def dim(self) -> int:
        """Length of an embedding: that of each member, side by side."""
        return len(self.members) * self._first.encoder.dim

    @property
    def is_canonical(self) -> bool:
        """Whether networks are read at the canonical point of their orbit under scalings and sign flips."""
        return self._first.encoder.canonical

    @property
    def _first(self) -> Member:
        first = self.members[0]
        assert isinstance(first, Member)
        return first

    def find_property(self, name: str) -> Property:
        """The property of that name.

        Raises:
            PredictorError: it predicts no such property.
        """
        for prop in self.properties:
            if prop.name == name:
                return prop
        raise PredictorError(f"predicts {', '.join(p.name for p in self.properties)}, not {name!r}")

    def to(self, device: str | torch.device) -> "Predictor":
        """Moves the parameters; networks follow by themselves."""
        self.members.to(device)
        return self

    def predict(self, sources: Source | Iterable[Source], *, batch_size: int = 64) -> list[Prediction]:
        """Predicts every property of every source.

        Args:
            sources: whatever `sne.read_network` takes, or networks already read; one or several.
            batch_size: networks a forward pass; it changes speed and memory alone.

        Returns:
            One prediction a source and property, sources in the order given.

        Raises:
            sne.CheckpointError: a source that cannot be read whole.
            PredictorError: a source whose prediction is not finite.
        """
        predictions: list[Prediction] = []
        for block in blocks(read_sources(sources), batch_size):
            values, _ = self._block_values(block)
            for row, network in enumerate(block):
                for prop, where in zip(self.properties, self._first.heads.slices, strict=True):
                    predictions.append(self._prediction(network.name, prop, values[row, where]))
        return predictions

    def values(
        self, sources: Source | Iterable[Source], *, batch_size: int = 64
    ) -> dict[str, Float[np.ndarray, "networks ..."]]:
        """Predictions as arrays.

        Args:
            sources: as for `predict`.
            batch_size: as for `predict`.

        Returns:
            Of each property: float64 [networks], or class probabilities [networks, classes].
        """
        return self.values_and_logits(sources, batch_size=batch_size)[0]

    def values_and_logits(
        self, sources: Source | Iterable[Source], *, batch_size: int = 64
    ) -> tuple[dict[str, Float[np.ndarray, "networks ..."]], dict[str, Float[np.ndarray, "members networks outputs"]]]:
        """Predictions as arrays, and what they are made of.

        Args:
            sources: as for `predict`.
            batch_size: as for `predict`.

        Returns:
            Of each property: as `values` gives it; and the outputs of each member's head before sigmoid, softmax or
            scale, float32. Trees, where there are any, have a part in the values alone.
        """
        pairs = [self._block_values(block) for block in blocks(read_sources(sources), batch_size)]
        first, num_outputs = self._first.heads, sum(p.num_outputs for p in self.properties)
        values = np.concatenate([v for v, _ in pairs]) if pairs else np.zeros((0, num_outputs))
        empty = np.zeros((len(self.members), 0, num_outputs), dtype=np.float32)
        logits = np.concatenate([empty, *(part for _, part in pairs)], axis=1)
        named = list(zip(self.properties, first.slices, strict=True))
        return {
            prop.name: values[:, where] if prop.kind == "class" else values[:, where.start] for prop, where in named
        }, {prop.name: logits[:, :, where] for prop, where in named}

    def embed(self, sources: Source | Iterable[Source], *, batch_size: int = 64) -> Float[np.ndarray, "networks dim"]:
        """Embeddings of networks, the members' side by side.

        Args:
            sources: as for `predict`.
            batch_size: as for `predict`.

        Returns:
            float32 [networks, dim], rows in the order given.
        """
        rows = []
        for block in blocks(read_sources(sources), batch_size):
            prepared = self._first.encoder.prepare(block)
            parts = [self._member(k).embed(prepared) for k in range(len(self.members))]
            rows.append(torch.cat(parts, dim=1).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), dtype=np.float32)

    def save(self, folder: str | Path) -> None:
        """Writes config.json, model.safetensors and metrics.json, nothing pickled. Inverse: `load`.

        A crash while writing leaves either the old predictor, a folder that `load` refuses, or the new one.
        """
        from sne.predictors.folder import save_predictor

        save_predictor(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, encoders: Mapping[str, type[NetworkEncoder]] | None = None) -> "Predictor":
        """Reads a predictor folder. Inverse: `save`.

        Args:
            folder: what `save` or `sne train --out` wrote.
            encoders: encoder classes by name, beside those of `sne.encoders.ENCODERS`.

        Returns:
            The predictor, on the CPU.

        Raises:
            PredictorError: a missing or damaged file, an unknown encoder, a newer format.
        """
        from sne.predictors.folder import load_predictor

        return load_predictor(Path(folder), encoders=encoders)

    def _member(self, index: int) -> Member:
        member = self.members[index]
        assert isinstance(member, Member)
        return member

    def _block_values(
        self, block: Sequence[Network]
    ) -> tuple[Float[np.ndarray, "networks outputs"], Float[np.ndarray, "members networks outputs"]]:
        """Values, averaged over the members, and each member's logits."""
        prepared = self._first.encoder.prepare(block)
        rows = self._first.summarize(prepared)
        pairs = [self._member(k).values_and_logits(prepared, rows) for k in range(len(self.members))]
        values = torch.stack([own.double() for own, _ in pairs]).mean(dim=0)
        for network, row in zip(block, values, strict=True):
            if not row.isfinite().all():
                raise PredictorError(f"{network.name}: gives no finite prediction; are its weights of a sane size?")
        return values.numpy(), torch.stack([logits for _, logits in pairs]).numpy()

    def _prediction(self, source: str, prop: Property, values: np.ndarray) -> Prediction:
        if prop.kind == "class":
            probabilities = dict(zip(prop.classes, values.tolist(), strict=True))
            return Prediction(source, prop.name, prop.classes[int(values.argmax())], probabilities=probabilities)
        value = float(values[0])
        low, high = interval(value, self.half_widths.get(prop.name), prop.kind == "fraction")
        return Prediction(source, prop.name, value, low, high)
