"""The figures that say how good predictions of one property are."""

import math

import numpy as np

from sne import metrics
from sne.predictors.calibration import interval
from sne.predictors.properties import Property


def scores(
    prop: Property, measured: np.ndarray, predicted: np.ndarray, half_width: float | None = None
) -> dict[str, float | int | None]:
    """Every metric that fits a property's kind.

    Args:
        prop: the property.
        measured: labels, as a zoo's column holds them: missing ones (nan, None) are left out.
        predicted: values, or class names for a class property; one a label.
        half_width: of the predictor's intervals; None where it gives none.

    Returns:
        kendall_tau, tau_ceiling, r2, mae, coverage and n, or accuracy and n for classes. A figure that is not
        defined (coverage without intervals, R2 of equal labels, anything of fewer than two labels) is None.
    """
    known = np.array([not metrics.is_missing(label) for label in measured], dtype=bool)
    num = int(known.sum())
    if prop.kind == "class":
        return {"accuracy": metrics.accuracy(measured, predicted) if num > 1 else None, "n": num}
    names = ("kendall_tau", "tau_ceiling", "r2", "mae", "coverage")
    figures: dict[str, float | int | None] = dict.fromkeys(names)
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


def selection_score(prop: Property, figures: dict[str, float | int | None]) -> float | None:
    """The one figure by which epochs are compared: tau, or accuracy for classes."""
    return figures["accuracy" if prop.kind == "class" else "kendall_tau"]
