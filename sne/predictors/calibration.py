"""Intervals around predictions that hold the measured value with a stated frequency."""

import math

import numpy as np
from jaxtyping import Float

LEVEL = 0.9
"""Share of measured values that an interval is meant to hold."""


def conformal_half_width(
    measured: Float[np.ndarray, " rows"], predicted: Float[np.ndarray, " rows"], level: float = LEVEL
) -> float | None:
    """Half the width of an interval that holds at least `level` of exchangeable new values.

    The k-th smallest absolute residual with k = ceil((n + 1) level), n the number of labels.

    Args:
        measured: labels of networks that the predictions were not trained on; nan where missing.
        predicted: their predictions.
        level: share of values the interval shall hold, in (0, 1).

    Returns:
        The half width, or None where so few labels allow no finite interval (fewer than 9 for 0.9).

    Source: Lei et al., "Distribution-free predictive inference for regression", arXiv 1604.04173, sec. 2.2.
    Differs: the residuals are those of folds on which the training epoch was chosen, and checkpoints of one
        training run are not exchangeable, so the share is met closely rather than guaranteed.
    """
    residuals = np.sort(np.abs(measured - predicted)[~np.isnan(measured)])
    rank = math.ceil((len(residuals) + 1) * level)
    return None if rank > len(residuals) or rank < 1 else float(residuals[rank - 1])


def interval(value: float, half_width: float | None, is_fraction: bool) -> tuple[float | None, float | None]:
    """Low and high end around a prediction; fractions are clipped to [0, 1]; None without a half width."""
    if half_width is None:
        return None, None
    low, high = value - half_width, value + half_width
    return (max(low, 0.0), min(high, 1.0)) if is_fraction else (low, high)
