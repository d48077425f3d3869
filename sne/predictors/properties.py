"""Properties of networks that are predicted: their kinds and scales."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from sne.errors import PredictorError
from sne.metrics import is_missing

Kind = Literal["fraction", "real", "class"]

MAX_KNOTS = 512
LEAST_LABELS = 10
"""Number of text labels from which on most of them have to repeat to be taken for classes."""


@dataclass(frozen=True)
class Property:
    """A property of networks, and how its values become targets.

    Args:
        name: Name of the column in the zoo.
        kind: "fraction" for numbers in [0, 1], "real" for other numbers, "class" for names.
        classes: Class names in the order of their numbers; empty unless `kind` is "class".
        mean: Mean of the labels, the zero of the standardised scale of "real".
        std: Standard deviation of the labels, the unit of that scale; 1 where all labels are equal.
        knots: Some of the labels in ascending order, for numbers; see `ranks`.
        knot_ranks: Share of labels below each knot, with equal labels counted half.
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
        rises = all(a < b for numbers in (self.knots, self.knot_ranks) for a, b in pairwise(numbers))
        if len(self.knots) != len(self.knot_ranks) or not rises or not np.isfinite(self.knots + self.knot_ranks).all():
            raise PredictorError(f"property {self.name!r}: knots must be finite and rise, with one rank each")
        if not (np.isfinite(self.mean) and np.isfinite(self.std) and self.std > 0):
            raise PredictorError(f"property {self.name!r}: mean {self.mean} and std {self.std} give no scale")
        if self.knots:
            self._check_knots()

    def _check_knots(self) -> None:
        """Raises PredictorError where knots, their ranks, mean and standard deviation are not of the same labels."""
        low, high = self.knots[0], self.knots[-1]
        if not 0 <= self.knot_ranks[0] <= self.knot_ranks[-1] <= 1:
            raise PredictorError(f"property {self.name!r}: ranks of knots are shares, got some outside [0, 1]")
        if self.kind == "fraction" and not 0 <= low <= high <= 1:
            raise PredictorError(f"property {self.name!r} is a fraction, got knots from {low:g} to {high:g}")
        rounding = 1e-6 * max(high - low, abs(low), abs(high))
        widest = 1.0 if low == high else (high - low) / 2  # of any numbers between both
        if not low - rounding <= self.mean <= high + rounding or self.std > widest + rounding:
            raise PredictorError(
                f"property {self.name!r}: labels from {low:g} to {high:g} cannot have mean {self.mean:g} and "
                f"std {self.std:g}"
            )

    @property
    def num_outputs(self) -> int:
        """Number of outputs of an expert for this property."""
        return len(self.classes) if self.kind == "class" else 1

    @property
    def label_range(self) -> float:
        """Difference between the largest and the smallest label; 0 without knots."""
        return self.knots[-1] - self.knots[0] if self.knots else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of its values: 0 and 1 for fractions, 0 and infinity for other numbers of which none was negative."""
        if self.kind == "fraction":
            return 0.0, 1.0
        return (0.0 if self.knots and self.knots[0] >= 0 else -math.inf), math.inf

    @classmethod
    def infer(cls, name: str, labels: ArrayLike) -> "Property":
        """Infers kind, classes and scale from the labels.

        Args:
            name: Name of the column in the zoo.
            labels: Numbers (nan where missing) or strings (None where missing).

        Returns:
            A class property for strings, a fraction if every number is in [0, 1], otherwise a real property. A column
            `config.*` is never a fraction: a learning rate is in [0, 1], but not a share of anything.

        Raises:
            PredictorError: There is no label, only one class, an infinite label, text among numbers, or text
                that hardly repeats.

        Example:
            >>> Property.infer("accuracy", [0.1, 0.9]).kind, Property.infer("optimizer", ["adam", "sgd"]).classes
            ('fraction', ('adam', 'sgd'))
        """
        present = [label for label in np.asarray(labels, dtype=object) if not is_missing(label)]
        if not present:
            raise PredictorError(f"property {name!r} has no labels to learn from")
        if any(isinstance(label, str) for label in present):
            _check_text(name, present)
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
        """Computes the share of training labels below each value, interpolated between knots. Inverse: `at_ranks`.

        Args:
            values: Finite labels in their own unit.

        Returns:
            Ranks in [0, 1], a scale on which labels that many networks share have more room.
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
        """Computes the values at ranks among the training labels, interpolated between knots. Inverse: `ranks`."""
        if len(self.knots) < 2:
            return torch.full_like(ranks, self.knots[0] if self.knots else self.mean)
        values = np.interp(ranks.double().cpu().numpy(), self.knot_ranks, self.knots)
        return torch.as_tensor(values).to(ranks)

    def encode(self, labels: ArrayLike) -> np.ndarray:
        """Converts labels to float64 numbers: values unchanged, class numbers for names, nan where missing.

        Raises:
            PredictorError: A class is not in `classes`, a fraction is outside [0, 1], or a number is text.
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
        """Returns plain JSON values. Inverse: `from_json`."""
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
        """Rebuilds the property that `to_json` wrote.

        Raises:
            PredictorError: The values make no property.
        """
        if values["kind"] not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise PredictorError(f"property {values['name']!r}: kind {values['kind']!r}, expected one of {kinds}")
        name, classes, knots = str(values["name"]), values["classes"], values["knots"]
        if not isinstance(classes, list) or len({str(one) for one in classes}) < len(classes):
            raise PredictorError(f"property {name!r}: classes are {classes!r}, expected a list of different names")
        if values["kind"] != "class" and not knots:
            raise PredictorError(f"property {name!r}: no knots, which numbers are predicted from")
        return cls(
            name,
            values["kind"],
            tuple(str(one) for one in classes),
            float(values["mean"]),
            float(values["std"]),
            tuple(float(knot) for knot in knots),
            tuple(float(rank) for rank in values["knot_ranks"]),
        )


def _check_text(name: str, labels: Sequence[Any]) -> None:
    """Raises PredictorError where text labels cannot be meant as classes: most are numbers, or hardly any repeats."""
    others = [str(label) for label in labels if not _is_number(label)]
    if others and 2 * len(others) < len(labels):
        raise PredictorError(
            f"property {name!r}: {len(labels) - len(others)} labels are numbers, {len(others)} text "
            f"({others[0]!r}); expected numbers or names only"
        )
    different = len(set(map(str, labels)))
    if len(labels) >= LEAST_LABELS and 2 * different > len(labels):
        raise PredictorError(
            f"property {name!r}: {different} different texts among {len(labels)} labels ({labels[0]!r}); "
            "expected numbers, or names of classes that repeat"
        )


def _is_number(label: Any) -> bool:
    try:
        float(label)
    except (TypeError, ValueError):
        return False
    return True


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
