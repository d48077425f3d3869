"""Measures of how well predictions order and match labels. Missing labels are left out."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sne.errors import SneError


def kendall_tau(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Computes Kendall's tau_b between labels and predictions.

    Args:
        measured: Labels. Entries that are nan are left out.
        predicted: Finite predictions, one per label.

    Returns:
        tau_b in [-1, 1]; 0 if all labels or all predictions are equal, because then nothing is ranked.

    Raises:
        SneError: If there are fewer than two labels, if lengths differ, or if a prediction is not finite.

    Example:
        >>> round(kendall_tau([0.1, 0.5, 0.9], [1, 3, 2]), 3)
        0.333
    """
    labels, guesses = _labelled(measured, predicted)
    if np.all(labels == labels[0]) or np.all(guesses == guesses[0]):
        return 0.0
    from scipy import stats  # slow to import

    result: Any = stats.kendalltau(labels, guesses, variant="b")
    return float(result.statistic)


def tau_ceiling(measured: ArrayLike) -> float:
    """Computes the largest tau_b that predictions without ties can reach with these labels.

    A strict ranking that agrees with the labels has tau_b = sqrt(1 - tied pairs / all pairs).

    Args:
        measured: Labels. Entries that are nan are left out.

    Returns:
        The ceiling in [0, 1]: 1 if no labels are tied, 0 if all labels are equal.

    Raises:
        SneError: If there are fewer than two labels.

    Example:
        >>> round(tau_ceiling([0.1, 0.1, 0.5, 0.9]), 3)
        0.913
    """
    labels, _ = _labelled(measured, np.zeros(np.shape(measured)))
    counts = np.unique(labels, return_counts=True)[1].astype(np.float64)
    pairs = len(labels) * (len(labels) - 1) / 2
    return math.sqrt(1 - float((counts * (counts - 1) / 2).sum()) / pairs)


def r2(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Computes the coefficient of determination, the share of the labels' variance that predictions explain.

    Args:
        measured: Labels. Entries that are nan are left out.
        predicted: Finite predictions, one per label.

    Returns:
        1 - squared error / squared deviation from the mean of these labels; nan if all labels are equal.

    Raises:
        SneError: As in `kendall_tau`.

    Example:
        >>> r2([0.0, 1.0, 2.0], [0.0, 1.0, 1.0])
        0.5
    """
    labels, guesses = _labelled(measured, predicted)
    spread = float(((labels - labels.mean()) ** 2).sum())
    return math.nan if spread == 0 else 1 - float(((labels - guesses) ** 2).sum()) / spread


def mae(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Computes the mean absolute error.

    Args:
        measured: Labels. Entries that are nan are left out.
        predicted: Finite predictions, one per label.

    Returns:
        The mean of |label - prediction|.

    Raises:
        SneError: As in `kendall_tau`.

    Example:
        >>> mae([0.0, 1.0], [0.5, 1.0])
        0.25
    """
    labels, guesses = _labelled(measured, predicted)
    return float(np.abs(labels - guesses).mean())


def coverage(measured: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Computes the share of labels that lie inside their intervals, end points included.

    Args:
        measured: Labels. Entries that are nan are left out.
        low: Lower end of the interval of each label.
        high: Upper end of the interval of each label.

    Returns:
        A fraction in [0, 1].

    Raises:
        SneError: As in `kendall_tau`, for either end.

    Example:
        >>> coverage([0.1, 0.5], [0.0, 0.6], [0.2, 0.8])
        0.5
    """
    labels, lower = _labelled(measured, low)
    _, upper = _labelled(measured, high)
    return float(((lower <= labels) & (labels <= upper)).mean())


def accuracy(measured: ArrayLike, predicted: ArrayLike) -> float:
    """Computes the share of predicted classes that are correct.

    Args:
        measured: Class names or numbers. None and nan are left out.
        predicted: Classes, one per label.

    Returns:
        A fraction in [0, 1].

    Raises:
        SneError: If there are fewer than two labels, or if lengths differ.

    Example:
        >>> accuracy(["mlp", "cnn", None], ["mlp", "mlp", "cnn"])
        0.5
    """
    labels, guesses = np.asarray(measured, dtype=object), np.asarray(predicted, dtype=object)
    _check_shapes(labels, guesses)
    known = np.array([not is_missing(label) for label in labels], dtype=bool)
    _check_count(int(known.sum()), len(labels))
    return float(np.mean([a == b for a, b in zip(labels[known], guesses[known], strict=True)]))


def is_missing(label: object) -> bool:
    """Whether a label means "not measured": None or nan.

    Example:
        >>> is_missing(None), is_missing(math.nan), is_missing("nan")
        (True, True, False)
    """
    return label is None or (isinstance(label, float) and math.isnan(label))


def _labelled(measured: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels that are not missing, and their predictions."""
    labels = np.asarray(measured, dtype=np.float64)
    guesses = np.asarray(predicted, dtype=np.float64)
    _check_shapes(labels, guesses)
    known = ~np.isnan(labels)
    _check_count(int(known.sum()), len(labels))
    labels, guesses = labels[known], guesses[known]
    if not np.isfinite(guesses).all():
        raise SneError(f"{int((~np.isfinite(guesses)).sum())} of {len(guesses)} predictions are not finite")
    return labels, guesses


def _check_shapes(labels: np.ndarray, guesses: np.ndarray) -> None:
    if labels.ndim != 1 or labels.shape != guesses.shape:
        raise SneError(f"expected two lists of one length, got shapes {labels.shape} and {guesses.shape}")


def _check_count(known: int, total: int) -> None:
    if known < 2:
        raise SneError(f"a metric needs at least 2 labels, got {known} (of {total} rows)")
