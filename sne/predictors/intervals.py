"""Intervals around predictions: wide where the experts are in doubt, calibrated on networks that they had not seen.

An expert may give a range of its values (`Outputs.low` and `high`), such as the values of most trees of a forest. The
ends of an interval are as far from the value as the ends of that range, plus a share of the local spread of the
training labels, plus a constant, all multiplied by one factor. Where training labels are sparse, predictions that are
wrong by as many ranks are wrong by more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float

from sne.errors import PredictorError
from sne.predictors.properties import Property

LEVEL = 0.9
"""Share of measured values that an interval is meant to hold."""
LOCAL_SHARE = 0.5
"""Share of the local spread that is added to the distances to the ends of a range."""
LEAST = 0.05
"""What is added to these distances as well, in standard deviations of the training labels."""
LOCAL_REACH = 0.05
"""Share of the training labels, on either side of a value, whose distance is the local spread."""
PARTS_OF_RUNS = 10
"""Number of parts into which runs are dealt where the intervals themselves are judged."""
LEAST_RUNS = 9
"""Least number of runs with labels from which intervals can be calibrated: one of ten, with the new one, is outside."""
WIDEST = 1e6
"""Multiple of the range of the training labels beyond which an interval cannot come from training."""


@dataclass(frozen=True)
class Ranges:
    """One property of some networks, as the experts predict it.

    Args:
        values: Predicted values.
        low: Lower end of the range of each value, see `Outputs.low`.
        high: Upper end.
    """

    values: Float[np.ndarray, " networks"]
    low: Float[np.ndarray, " networks"]
    high: Float[np.ndarray, " networks"]

    def take(self, chosen: np.ndarray) -> "Ranges":
        """Selects networks by their places, or by a mask."""
        return Ranges(self.values[chosen], self.low[chosen], self.high[chosen])

    def below(self) -> Float[np.ndarray, " networks"]:
        """Distance from the value down to the lower end; 0 where the range lies above the value."""
        return np.maximum(self.values - self.low, 0)

    def above(self) -> Float[np.ndarray, " networks"]:
        """Distance from the value up to the upper end; 0 where the range lies below the value."""
        return np.maximum(self.high - self.values, 0)


@final
@dataclass(frozen=True)
class Interval:
    """How 90% intervals are made from ranges.

    Args:
        factor: Multiple of the distance from the value to an end of its range.
        local: Multiple of the local spread that is added to it; intervals have one width where both are 0.
        margin: What is added to both, in the unit of the property.
    """

    factor: float
    local: float
    margin: float

    def ends(
        self, prop: Property, ranges: Ranges
    ) -> tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]]:
        """Computes low and high ends; those of fractions stay in [0, 1], and no end is negative if no label was.

        Example:
            >>> ranges = Ranges(np.array([0.5, 0.9]), np.array([0.4, 0.9]), np.array([0.5, 0.95]))
            >>> low, high = Interval(2.0, 0.0, 0.05).ends(Property("accuracy", "fraction"), ranges)
            >>> low.round(2).tolist(), high.round(2).tolist()
            ([0.25, 0.85], [0.55, 1.0])
        """
        least = self.local * local_spread(prop, ranges.values) + self.margin
        low = ranges.values - self.factor * ranges.below() - least
        high = ranges.values + self.factor * ranges.above() + least
        least, most = prop.bounds
        return low.clip(least, most), high.clip(least, most)

    def to_json(self) -> dict[str, float]:
        """Returns plain JSON values. Inverse: `from_json`."""
        return {"factor": self.factor, "local": self.local, "margin": self.margin}

    @classmethod
    def from_json(cls, values: Any, prop: Property) -> "Interval":
        """Rebuilds what `to_json` wrote, from values that may come from a damaged file.

        Args:
            values: The values.
            prop: The property that the interval is for.

        Raises:
            PredictorError: The values make no interval.
        """
        if not isinstance(values, Mapping) or values.keys() != {"factor", "local", "margin"}:
            raise PredictorError(f"interval is {values!r}, expected factor, local and margin")
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise PredictorError(f"interval has {name} {value!r}, expected a number from 0")
            unit = max(prop.label_range, prop.std) if name == "margin" else 1.0
            if value > WIDEST * unit:
                raise PredictorError(f"interval has {name} {value!r}, expected at most {WIDEST * unit:,.10g}")
        return cls(**{name: float(value) for name, value in values.items()})


def local_spread(prop: Property, values: Float[np.ndarray, " networks"]) -> Float[np.ndarray, " networks"]:
    """Computes half the width of the range in which a tenth of the training labels lie, around each value."""
    ranks = prop.ranks(torch.from_numpy(values).double())
    low, high = (prop.at_ranks((ranks + step).clamp(0, 1)).numpy() for step in (-LOCAL_REACH, LOCAL_REACH))
    return (high - low) / 2


def ends_by_domain(
    prop: Property,
    ranges: Ranges,
    is_outside: Bool[np.ndarray, " networks"],
    inside: Interval | None,
    outside: Interval | None,
) -> Float[np.ndarray, "2 networks"]:
    """Computes the ends of intervals of networks inside and outside the known domain.

    Args:
        prop: The property.
        ranges: Predictions of the networks.
        is_outside: Whether each network is outside the known domain.
        inside: How intervals are made; None for none.
        outside: How intervals are made outside, where they also hold those of `inside`; None: all of [0, 1] for
            fractions, and none for other numbers.

    Returns:
        Low and high ends; nan where there are none.
    """
    ends = np.full((2, len(is_outside)), np.nan)
    if inside is not None:
        ends[:] = inside.ends(prop, ranges)
    if outside is None and prop.kind == "fraction":
        outside = Interval(0.0, 0.0, 1.0)
    if outside is None:
        ends[:, is_outside] = np.nan
    elif is_outside.any():
        low, high = outside.ends(prop, ranges.take(is_outside))
        own = ends[:, is_outside]
        ends[:, is_outside] = np.fmin(low, own[0]), np.fmax(high, own[1])
    return ends


def calibrate(
    prop: Property,
    measured: Float[np.ndarray, " networks"],
    ranges: Ranges,
    runs: Sequence[str],
    level: float = LEVEL,
) -> Interval | None:
    """Chooses the factor at which intervals hold at least `level` of the labels of networks of new training runs.

    Each label has a score: the smallest factor at which its interval holds it. The chosen factor is the smallest one
    below which lies a share of `level` of all scores, where each run counts once, however many of its networks have
    labels, and one more run counts as infinite. With one network per run it is the k-th smallest score with
    k = ceil((n + 1) level), n the number of labels.

    Args:
        prop: The property.
        measured: Labels of networks that the predictions were not trained on; nan where missing.
        ranges: Predictions of these networks.
        runs: Training run of each network. Runs have to be exchangeable, the networks of a run need not be.
        level: Share of values that intervals are to hold, in (0, 1).

    Returns:
        The intervals, or None where so few runs have labels that none would be finite: fewer than `LEAST_RUNS` for 0.9.

    Source: Lei et al., "Distribution-free predictive inference for regression", arXiv 1604.04173, sec. 5.2, for scores
        relative to a width; Romano et al., "Conformalized quantile regression", arXiv 1905.03222, for widths from
        quantiles; Lee et al., "Distribution-free inference with hierarchical data", arXiv 2306.06342, for runs.
    Differs: The predictions are those of folds on which training epochs and weights of experts were chosen, so the
        share is met closely rather than guaranteed. The quantiles are those of single trees and only set the width.
    """
    known = ~np.isnan(measured)
    if not known.any():
        return None
    ranges, labels = ranges.take(known), measured[known]
    least = LOCAL_SHARE * local_spread(prop, ranges.values) + LEAST * prop.std
    distances = np.where(labels < ranges.values, ranges.below(), ranges.above()) + least
    scores = np.abs(labels - ranges.values) / distances
    _, run_of, counts = np.unique(np.asarray(runs)[known], return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    shares = np.cumsum(1 / counts[run_of[order]]) / (len(counts) + 1)
    place = int(np.searchsorted(shares, level * (1 - 1e-9)))
    if place == len(scores):
        return None
    factor = float(scores[order[place]])
    return Interval(factor, factor * LOCAL_SHARE, factor * LEAST * prop.std)


def conformal_half_width(
    measured: Float[np.ndarray, " rows"], predicted: Float[np.ndarray, " rows"], level: float = LEVEL
) -> float | None:
    """Computes half the width of intervals of one width that hold at least `level` of exchangeable new values.

    It is the k-th smallest absolute residual with k = ceil((n + 1) level), n the number of labels.

    Args:
        measured: Labels of networks that the predictions were not trained on; nan where missing.
        predicted: Predictions of these networks.
        level: Share of values that the interval is to hold, in (0, 1).

    Returns:
        The half width, or None where so few labels allow no finite interval (fewer than 9 for 0.9).

    Source: Lei et al., "Distribution-free predictive inference for regression", arXiv 1604.04173, sec. 2.2.
    Differs: The residuals are those of folds on which the training epoch was chosen, and checkpoints of one
        training run are not exchangeable, so the share is met closely rather than guaranteed.

    Example:
        >>> conformal_half_width(np.arange(10.0), np.arange(10.0) + 0.5)
        0.5
    """
    residuals = np.sort(np.abs(measured - predicted)[~np.isnan(measured)])
    rank = math.ceil((len(residuals) + 1) * level)
    return None if rank > len(residuals) or rank < 1 else float(residuals[rank - 1])


def cross_fitted_ends(
    prop: Property,
    measured: Float[np.ndarray, " networks"],
    ranges: Ranges,
    runs: Sequence[str],
    parts: int = PARTS_OF_RUNS,
) -> tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]]:
    """Computes the ends of intervals that are calibrated without the run of the network that they are for.

    Runs are dealt into parts; the intervals of each part are calibrated on the others.

    Args:
        prop: The property.
        measured: As for `calibrate`.
        ranges: As for `calibrate`.
        runs: As for `calibrate`.
        parts: Number of parts.

    Returns:
        Low and high ends; nan where the other parts have too few labels.
    """
    names, run_of = np.unique(np.asarray(runs), return_inverse=True)
    part_of = (np.random.default_rng(0).permutation(len(names)) % parts)[run_of]
    low, high = np.full((2, len(measured)), np.nan)
    for part in range(parts):
        inside, others = part_of == part, np.flatnonzero(part_of != part)
        found = calibrate(prop, measured[others], ranges.take(others), names[run_of[others]].tolist())
        if found is not None:
            low[inside], high[inside] = found.ends(prop, ranges.take(inside))
    return low, high


def coverage_figures(
    measured: Float[np.ndarray, " networks"],
    predicted: Float[np.ndarray, " networks"],
    ends: tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]],
    families: Sequence[str],
) -> dict[str, Any]:
    """Computes coverage and mean width by family and by decile of the prediction.

    Args:
        measured: Labels; nan where missing.
        predicted: Predictions.
        ends: Low and high ends of the intervals; nan where there are none.
        families: Family of each network.

    Returns:
        "by_family" and "by_decile" (lowest predictions first), each a list of groups with coverage, mean_width and n.
        Networks without label or interval are left out, and so are empty groups.
    """
    low, high = ends
    known = np.flatnonzero(~np.isnan(measured) & ~np.isnan(low))
    names = np.asarray(families, dtype=object)[known]
    by_value = np.array_split(known[np.argsort(predicted[known], kind="stable")], 10)

    def group(rows: np.ndarray) -> dict[str, float | int]:
        is_inside = (measured[rows] >= low[rows]) & (measured[rows] <= high[rows])
        width = float((high - low)[rows].mean())
        return {"coverage": float(is_inside.mean()), "mean_width": width, "n": len(rows)}

    return {
        "by_family": [{"family": name, **group(known[names == name])} for name in sorted(set(names))],
        "by_decile": [
            {"from": float(predicted[rows[0]]), "to": float(predicted[rows[-1]]), **group(rows)}
            for rows in by_value
            if len(rows)
        ],
    }
