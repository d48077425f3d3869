"""The figures that say how good predictions are."""

import math

import numpy as np
from jaxtyping import Float

from sne import metrics
from sne.predictors.properties import Property

Figures = dict[str, float | int | None]
"""Metrics by name; None where a metric is not defined."""


def scores(
    prop: Property,
    measured: np.ndarray,
    predicted: np.ndarray,
    ends: tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]] | None = None,
) -> Figures:
    """Computes every metric that fits a property's kind.

    Args:
        prop: The property.
        measured: Labels as a column of a zoo holds them; missing ones (nan, None) are left out.
        predicted: One value per label, or one class name per label for a class property.
        ends: Low and high ends of the predictor's intervals, nan where it gives none; None where it gives none at all.

    Returns:
        kendall_tau, tau_ceiling, r2, mae, coverage, mean_width and n, or accuracy and n for classes. Coverage and mean
        width are those of the intervals of labelled networks. A figure that is not defined (coverage without
        intervals, R2 of equal labels, any figure of fewer than two labels) is None.
    """
    known = np.array([not metrics.is_missing(label) for label in measured], dtype=bool)
    num = int(known.sum())
    if prop.kind == "class":
        return {"accuracy": metrics.accuracy(measured, predicted) if num > 1 else None, "n": num}
    names = ("kendall_tau", "tau_ceiling", "r2", "mae", "coverage", "mean_width")
    figures: Figures = dict.fromkeys(names)
    if num > 1:
        labels, values = measured[known].astype(np.float64), predicted[known].astype(np.float64)
        r2 = metrics.r2(labels, values)
        figures["kendall_tau"] = metrics.kendall_tau(labels, values)
        figures["tau_ceiling"] = metrics.tau_ceiling(labels)
        figures["r2"] = None if math.isnan(r2) else r2
        figures["mae"] = metrics.mae(labels, values)
        if ends is not None:
            low, high = (end[known] for end in ends)
            has_interval = ~np.isnan(low)
            if has_interval.any():
                low, high = low[has_interval], high[has_interval]
                figures["coverage"] = metrics.coverage(labels[has_interval], low, high)
                figures["mean_width"] = float((high - low).mean())
    return {**figures, "n": num}


def selection_score(prop: Property, figures: Figures) -> float | None:
    """Returns the figure by which epochs are compared: tau, or accuracy for classes."""
    return figures["accuracy" if prop.kind == "class" else "kendall_tau"]


def decide(prop: Property, values: np.ndarray) -> np.ndarray:
    """Reduces predictions to one value per network: numbers as they are, the most probable class by name."""
    if prop.kind != "class":
        return values
    return np.array(prop.classes, dtype=object)[values.argmax(axis=1)]
