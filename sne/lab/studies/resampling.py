"""How sure a figure is: bootstrap over the training runs of held-out networks, and intervals over seeds."""

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
    """How often each run is drawn, with replacement; the same for the same runs, so that figures can be paired.

    Args:
        runs: the distinct runs, in order.
    """
    rng = np.random.default_rng(zlib.crc32("\n".join(runs).encode()))
    return rng.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=DRAWS).astype(np.float64)


def seed_draws(method: str, num_seeds: int) -> Int[np.ndarray, "draws seeds"]:
    """Which seeds are drawn, with replacement; the same for a method wherever it is judged.

    Args:
        method: its name: methods are trained apart, so their seeds are drawn apart.
        num_seeds: seeds that there are.
    """
    return np.random.default_rng(zlib.crc32(method.encode())).integers(num_seeds, size=(DRAWS, num_seeds))


def resampled_metric(
    metric: str,
    measured: np.ndarray,
    predicted: np.ndarray,
    run_of: Int[np.ndarray, " rows"],
    weights: Float[np.ndarray, "draws runs"],
) -> Float[np.ndarray, " draws"]:
    """A metric as it would be had other runs been drawn: all checkpoints of a run come or go together.

    Args:
        metric: "kendall_tau", "mse" or "accuracy".
        measured: labels.
        predicted: one prediction a label.
        run_of: number of each row's run.
        weights: how often each run is drawn.
    """
    if metric == "kendall_tau":
        return _tau(measured, predicted, run_of, weights)
    errors = (measured - predicted) ** 2 if metric == "mse" else (measured == predicted).astype(np.float64)
    num_runs = weights.shape[1]
    sums = np.bincount(run_of, errors.astype(np.float64), minlength=num_runs)
    return weights @ sums / (weights @ np.bincount(run_of, minlength=num_runs))


def _tau(measured: np.ndarray, predicted: np.ndarray, run_of: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Tau_b of every draw: sums over pairs of rows are quadratic forms in the weights of their runs."""
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
    """The mean over seeds, with runs and seeds both drawn anew.

    Args:
        by_seed: the resampled metric of each seed's training.
        method: its name.
    """
    draws = seed_draws(method, len(by_seed))
    return by_seed[draws, np.arange(by_seed.shape[1])[:, None]].mean(1)


def interval_of(values: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """Where the middle 95% of draws lie."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def seed_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95% t interval of a mean over seeds; None of fewer than two."""
    if len(values) < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    student: Any = stats.t
    reach = error * float(student.ppf(0.975, len(values) - 1))
    return mean - reach, mean + reach
