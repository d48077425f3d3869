"""Uncertainty of a metric: bootstrap over the training runs of held-out networks, and intervals over seeds."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

DRAWS = 1000
_BLOCK = 1024


def run_weights(runs: Sequence[str]) -> Float[np.ndarray, "draws runs"]:
    """Draws runs with replacement and returns how often each is drawn.

    Equal runs give equal draws, so that metrics of different methods can be paired.

    Args:
        runs: The distinct runs, in order.
    """
    rng = np.random.default_rng(zlib.crc32("\n".join(runs).encode()))
    return rng.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=DRAWS).astype(np.float64)


def seed_draws(method: str, num_seeds: int) -> Int[np.ndarray, "draws seeds"]:
    """Draws training seeds with replacement; a method has the same draws on all held-out sets.

    Args:
        method: Name of the method. Methods are trained independently, so their seeds are drawn independently.
        num_seeds: Number of training seeds.
    """
    return np.random.default_rng(zlib.crc32(method.encode())).integers(num_seeds, size=(DRAWS, num_seeds))


def resampled_metric(
    metric: str,
    measured: np.ndarray,
    predicted: np.ndarray,
    run_of: Int[np.ndarray, " rows"],
    weights: Float[np.ndarray, "draws runs"],
) -> Float[np.ndarray, " draws"]:
    """Computes a metric on resampled runs. All checkpoints of a run are drawn together.

    Args:
        metric: "kendall_tau", "mse" or "accuracy".
        measured: Labels.
        predicted: Predictions, one per label.
        run_of: Number of each row's run.
        weights: How often each run is drawn.
    """
    if metric == "kendall_tau":
        return _tau(measured, predicted, run_of, weights)
    errors = (measured - predicted) ** 2 if metric == "mse" else (measured == predicted).astype(np.float64)
    num_runs = weights.shape[1]
    sums = np.bincount(run_of, errors.astype(np.float64), minlength=num_runs)
    return weights @ sums / (weights @ np.bincount(run_of, minlength=num_runs))


def _tau(measured: np.ndarray, predicted: np.ndarray, run_of: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Computes tau_b of every draw. Sums over pairs of rows are quadratic forms in the weights of their runs."""
    num_runs = weights.shape[1]
    forms = np.zeros((3, num_runs, num_runs))
    group = np.zeros((len(run_of), num_runs))
    group[np.arange(len(run_of)), run_of] = 1
    for start in range(0, len(run_of), _BLOCK):
        rows = slice(start, start + _BLOCK)
        a, b = (np.sign(values[rows, None] - values[None, :]) for values in (measured, predicted))
        for form, pairs in zip(forms, (a * b, a * a, b * b), strict=True):
            form += group[rows].T @ pairs @ group
    agreeing, untied_a, untied_b = (((weights @ form) * weights).sum(1) for form in forms)
    untied = np.sqrt(untied_a * untied_b)
    return np.divide(agreeing, untied, out=np.zeros_like(agreeing), where=untied > 0)


def over_seeds(by_seed: Float[np.ndarray, "seeds draws"], method: str) -> Float[np.ndarray, " draws"]:
    """Averages over resampled seeds, so that both runs and seeds are resampled.

    Args:
        by_seed: Resampled metric of each training seed.
        method: Name of the method.
    """
    draws = seed_draws(method, len(by_seed))
    return by_seed[draws, np.arange(by_seed.shape[1])[:, None]].mean(1)


def interval_of(values: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """Returns the interval that contains the middle 95% of the draws.

    Example:
        >>> interval_of(np.arange(1001.0))
        (25.0, 975.0)
    """
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def seed_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns the 95% t interval of a mean over seeds; None for fewer than two seeds.

    Example:
        >>> low, high = seed_interval([0.5, 0.6, 0.55])
        >>> round(low, 3), round(high, 3)
        (0.426, 0.674)
    """
    if len(values) < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    student: Any = stats.t
    reach = error * float(student.ppf(0.975, len(values) - 1))
    return mean - reach, mean + reach
