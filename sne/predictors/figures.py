"""Intervals around predictions, and the figures that say how good predictions are."""

import math

import numpy as np
from jaxtyping import Float

from sne import metrics
from sne.predictors.properties import Property

LEVEL = 0.9
"""Share of measured values that an interval is meant to hold."""

Figures = dict[str, float | int | None]
"""Metrics by name; None where a metric is not defined."""


def conformal_half_width(
    measured: Float[np.ndarray, " rows"], predicted: Float[np.ndarray, " rows"], level: float = LEVEL
) -> float | None:
    """Computes half the width of an interval that holds at least `level` of exchangeable new values.

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


def interval(value: float, half_width: float | None, is_fraction: bool) -> tuple[float | None, float | None]:
    """Computes low and high end around a prediction; fractions are clipped to [0, 1]; None without a half width."""
    if half_width is None:
        return None, None
    low, high = value - half_width, value + half_width
    return (max(low, 0.0), min(high, 1.0)) if is_fraction else (low, high)


def scores(prop: Property, measured: np.ndarray, predicted: np.ndarray, half_width: float | None = None) -> Figures:
    """Computes every metric that fits a property's kind.

    Args:
        prop: The property.
        measured: Labels as a column of a zoo holds them; missing ones (nan, None) are left out.
        predicted: One value per label, or one class name per label for a class property.
        half_width: Half width of the predictor's intervals; None where it gives none.

    Returns:
        kendall_tau, tau_ceiling, r2, mae, coverage and n, or accuracy and n for classes. A figure that is not
        defined (coverage without intervals, R2 of equal labels, any figure of fewer than two labels) is None.
    """
    known = np.array([not metrics.is_missing(label) for label in measured], dtype=bool)
    num = int(known.sum())
    if prop.kind == "class":
        return {"accuracy": metrics.accuracy(measured, predicted) if num > 1 else None, "n": num}
    names = ("kendall_tau", "tau_ceiling", "r2", "mae", "coverage")
    figures: Figures = dict.fromkeys(names)
    if num > 1:
        labels, values = measured[known].astype(np.float64), predicted[known].astype(np.float64)
        r2 = metrics.r2(labels, values)
        figures["kendall_tau"] = metrics.kendall_tau(labels, values)
        figures["tau_ceiling"] = metrics.tau_ceiling(labels)
        figures["r2"] = None if math.isnan(r2) else r2
        figures["mae"] = metrics.mae(labels, values)
        if half_width is not None:
            ends = [interval(float(v), half_width, prop.kind == "fraction") for v in values]
            low, high = (np.array(end, dtype=np.float64) for end in zip(*ends, strict=True))
            figures["coverage"] = metrics.coverage(labels, low, high)
    return {**figures, "n": num}


def selection_score(prop: Property, figures: Figures) -> float | None:
    """Returns the figure by which epochs are compared: tau, or accuracy for classes."""
    return figures["accuracy" if prop.kind == "class" else "kendall_tau"]


def decide(prop: Property, values: np.ndarray) -> np.ndarray:
    """Reduces predictions to one value per network: numbers as they are, the most probable class by name."""
    if prop.kind != "class":
        return values
    return np.array(prop.classes, dtype=object)[values.argmax(axis=1)]
