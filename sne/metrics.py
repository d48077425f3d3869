"""How well predictions order and match what was measured; missing labels are left out."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def kendall_tau(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Kendall's tau_b between labels and predictions.

    Args:
        measured: labels; entries that are nan are left out.
        predicted: one finite prediction a label.

    Returns:
        tau_b in [-1, 1]; 0 where one side is constant, since then nothing is ranked.

    Raises:
        ValueError: fewer than two labels, lengths that differ, or a prediction that is not finite.
    """
    labels, guesses = _labelled(measured, predicted)
    if np.all(labels == labels[0]) or np.all(guesses == guesses[0]):
        return 0.0
    result: Any = stats.kendalltau(labels, guesses, variant="b")
    return float(result.statistic)


def tau_ceiling(measured: ArrayLike) -> float:
    """The most that tau_b can reach with these labels by predictions without ties.

    A strict ranking that agrees with the labels has tau_b = sqrt(1 - tied pairs / all pairs).

    Args:
        measured: labels; entries that are nan are left out.

    Returns:
        The ceiling in [0, 1]: 1 without ties, 0 where all labels are equal.

    Raises:
        ValueError: fewer than two labels.
    """
    labels, _ = _labelled(measured, np.zeros(np.shape(measured)))
    counts = np.unique(labels, return_counts=True)[1].astype(np.float64)
    pairs = len(labels) * (len(labels) - 1) / 2
    return math.sqrt(1 - float((counts * (counts - 1) / 2).sum()) / pairs)


def r2(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the labels' variance that the predictions explain; nan where all labels are equal.

    Args:
        measured: labels; entries that are nan are left out.
        predicted: one finite prediction a label.

    Returns:
        1 - squared error / squared deviation from the mean of these labels.

    Raises:
        ValueError: as `kendall_tau`.
    """
    labels, guesses = _labelled(measured, predicted)
    spread = float(((labels - labels.mean()) ** 2).sum())
    return math.nan if spread == 0 else 1 - float(((labels - guesses) ** 2).sum()) / spread


def mae(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error.

    Args:
        measured: labels; entries that are nan are left out.
        predicted: one finite prediction a label.

    Returns:
        The mean of |label - prediction|.

    Raises:
        ValueError: as `kendall_tau`.
    """
    labels, guesses = _labelled(measured, predicted)
    return float(np.abs(labels - guesses).mean())


def coverage(measured: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of labels that lie inside their intervals, ends included.

    Args:
        measured: labels; entries that are nan are left out.
        low: lower end, one a label.
        high: upper end, one a label.

    Returns:
        A fraction in [0, 1].

    Raises:
        ValueError: as `kendall_tau`, for either end.
    """
    labels, lower = _labelled(measured, low)
    _, upper = _labelled(measured, high)
    return float(((lower <= labels) & (labels <= upper)).mean())


def accuracy(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Share of predicted classes that are right.

    Args:
        measured: class names or numbers; None and nan are left out.
        predicted: one class a label.

    Returns:
        A fraction in [0, 1].

    Raises:
        ValueError: fewer than two labels, or lengths that differ.
    """
    labels, guesses = np.asarray(measured, dtype=object), np.asarray(predicted, dtype=object)
    _check_shapes(labels, guesses)
    known = np.array([not is_missing(label) for label in labels], dtype=bool)
    _check_count(int(known.sum()), len(labels))
    return float(np.mean([a == b for a, b in zip(labels[known], guesses[known], strict=True)]))


def is_missing(label: object) -> bool:
    """Whether a label stands for "not measured": None or nan."""
    return label is None or (isinstance(label, float) and math.isnan(label))


def _labelled(measured: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(measured, dtype=np.float64)
    guesses = np.asarray(predicted, dtype=np.float64)
    _check_shapes(labels, guesses)
    known = ~np.isnan(labels)
    _check_count(int(known.sum()), len(labels))
    labels, guesses = labels[known], guesses[known]
    if not np.isfinite(guesses).all():
        raise ValueError(f"{int((~np.isfinite(guesses)).sum())} of {len(guesses)} predictions are not finite")
    return labels, guesses


def _check_shapes(labels: np.ndarray, guesses: np.ndarray) -> None:
    if labels.ndim != 1 or labels.shape != guesses.shape:
        raise ValueError(f"expected two lists of one length, got shapes {labels.shape} and {guesses.shape}")


def _check_count(known: int, total: int) -> None:
    if known < 2:
        raise ValueError(f"a metric needs at least 2 labels, got {known} (of {total} rows)")
