"""What is predicted of a network: its properties, their kinds and their scales."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from sne.errors import PredictorError
from sne.metrics import is_missing

Kind = Literal["fraction", "real", "class"]

MAX_KNOTS = 512


@dataclass(frozen=True)
class Property:
    """A property of networks, and how its values become targets.

    Args:
        name: the zoo's column.
        kind: "fraction" for numbers in [0, 1], "real" for other numbers, "class" for names.
        classes: the class names in order of their numbers; empty unless `kind` is "class".
        mean: mean of the labels, the zero of the standardised scale of "real".
        std: standard deviation of the labels, its unit; 1 where all labels are equal.
        knots: for numbers, some of the labels in rising order; see `ranks`.
        knot_ranks: the share of labels below each knot, equal ones counted half.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    knots: tuple[float, ...] = ()
    knot_ranks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "class") != bool(self.classes):
            raise PredictorError(f"property {self.name!r} of kind {self.kind}: {len(self.classes)} classes")
        if len(self.knots) != len(self.knot_ranks) or any(a >= b for a, b in pairwise(self.knots)):
            raise PredictorError(f"property {self.name!r}: knots must rise, with one rank each")
        if not (np.isfinite(self.mean) and np.isfinite(self.std) and self.std > 0):
            raise PredictorError(f"property {self.name!r}: mean {self.mean} and std {self.std} give no scale")

    @property
    def num_outputs(self) -> int:
        """Numbers a head puts out for this property."""
        return len(self.classes) if self.kind == "class" else 1

    @classmethod
    def infer(cls, name: str, labels: ArrayLike) -> "Property":
        """Reads kind, classes and scale off the labels.

        Args:
            name: the zoo's column.
            labels: numbers (nan where missing) or strings (None where missing).

        Returns:
            A class property for strings, a fraction where every number lies in [0, 1], else a real one. A column
            `config.*` is never a fraction: a learning rate lies in [0, 1] but its scale is its own.

        Raises:
            PredictorError: no label at all, one class only, or an infinite label.
        """
        present = [label for label in np.asarray(labels, dtype=object) if not is_missing(label)]
        if not present:
            raise PredictorError(f"property {name!r} has no labels to learn from")
        if any(isinstance(label, str) for label in present):
            classes: tuple[str, ...] = tuple(sorted({str(label) for label in present}))
            if len(classes) == 1:
                raise PredictorError(f"property {name!r} is {classes[0]!r} everywhere: nothing to tell apart")
            return cls(name, "class", classes)
        values = np.asarray(present, dtype=np.float64)
        if not np.isfinite(values).all():
            raise PredictorError(f"property {name!r} has {int(np.isinf(values).sum())} infinite labels")
        is_share = values.min() >= 0 and values.max() <= 1 and not name.startswith("config.")
        kind = "fraction" if is_share else "real"
        knots, counts = np.unique(values, return_counts=True)
        below = (np.cumsum(counts) - 0.5 * counts) / len(values)
        kept = np.unique(np.linspace(0, len(knots) - 1, min(len(knots), MAX_KNOTS)).round().astype(int))
        return cls(
            name,
            kind,
            mean=float(values.mean()),
            std=float(values.std()) or 1.0,
            knots=tuple(knots[kept].tolist()),
            knot_ranks=tuple(below[kept].tolist()),
        )

    def ranks(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The share of training labels below each value, in [0, 1], interpolated between knots.

        Args:
            values: labels in their own unit; finite.

        Returns:
            Ranks: a scale on which every label has as much room as there are networks near it.
        """
        if len(self.knots) < 2:
            return torch.full_like(values, 0.5)
        knots = torch.tensor(self.knots, dtype=torch.float64, device=values.device)
        ranks = torch.tensor(self.knot_ranks, dtype=torch.float64, device=values.device)
        wide = values.double().clamp(knots[0], knots[-1])
        right = torch.searchsorted(knots, wide).clamp(1, len(knots) - 1)
        share = (wide - knots[right - 1]) / (knots[right] - knots[right - 1])
        return torch.lerp(ranks[right - 1], ranks[right], share).to(values.dtype)

    def at_ranks(self, ranks: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The values at shares of the training labels, interpolated between knots. Inverse: `ranks`."""
        if len(self.knots) < 2:
            return torch.full_like(ranks, self.knots[0] if self.knots else self.mean)
        values = np.interp(ranks.double().cpu().numpy(), self.knot_ranks, self.knots)
        return torch.as_tensor(values).to(ranks)

    def encode(self, labels: ArrayLike) -> np.ndarray:
        """Labels as float64 numbers: values as they are, class numbers for names, nan where missing.

        Raises:
            PredictorError: a class not among `classes`, a fraction outside [0, 1], or text for a number.
        """
        column = np.asarray(labels, dtype=object)
        if self.kind == "class":
            numbers = {name: float(number) for number, name in enumerate(self.classes)}
            unknown = sorted({str(v) for v in column if not is_missing(v)} - set(self.classes))
            if unknown:
                raise PredictorError(
                    f"property {self.name!r}: class {unknown[0]!r} is none of {', '.join(self.classes)}"
                )
            return np.array([np.nan if is_missing(v) else numbers[str(v)] for v in column], dtype=np.float64)
        try:
            values = np.array([np.nan if is_missing(v) else float(v) for v in column], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise PredictorError(f"property {self.name!r} ({self.kind}): {error}") from None
        if self.kind == "fraction" and ((values < 0) | (values > 1)).any():
            raise PredictorError(f"property {self.name!r} is a fraction, got labels outside [0, 1]")
        return values

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values. Inverse: `from_json`."""
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "mean": self.mean,
            "std": self.std,
            "knots": list(self.knots),
            "knot_ranks": list(self.knot_ranks),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Property":
        """The property that `to_json` wrote.

        Raises:
            PredictorError: values that make no property.
        """
        if values["kind"] not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise PredictorError(f"property {values['name']!r}: kind {values['kind']!r}, expected one of {kinds}")
        classes = cast(Sequence[str], values.get("classes", ()))
        return cls(
            str(values["name"]),
            values["kind"],
            tuple(str(name) for name in classes),
            float(values["mean"]),
            float(values["std"]),
            tuple(float(knot) for knot in values.get("knots", ())),
            tuple(float(rank) for rank in values.get("knot_ranks", ())),
        )


def num_outputs(properties: Sequence[Property]) -> int:
    """Counts the numbers that are predicted for all properties together."""
    return sum(prop.num_outputs for prop in properties)


def output_slices(properties: Sequence[Property]) -> list[slice]:
    """Returns the places of each property where the outputs of all properties stand side by side.

    Example:
        >>> output_slices([Property("accuracy", "fraction"), Property("optimizer", "class", ("adam", "sgd"))])
        [slice(0, 1, None), slice(1, 3, None)]
    """
    ends = list(accumulate((prop.num_outputs for prop in properties), initial=0))
    return [slice(start, end) for start, end in pairwise(ends)]
