"""Tests of whether the entries of a matrix are independent draws from one distribution, as initial values are.

Each test returns the probability of a deviation as large as the one found if the entries are such draws. Training
leaves all five kinds of deviations: a changed distribution, neurons of different norms and means, and directions that
stand out.
"""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

SIDE = 256
"""Largest number of rows and of columns of the sample whose largest singular value is tested."""

MOST_SORTED = 1 << 14
"""Number of entries whose distribution is compared, evenly chosen."""

LEAST = 1e-2
"""P-value below which the tests end early."""

SMALLEST_SIDE = 8
"""Least number of rows and columns for the tests of norms, means and singular values."""

FARTHEST = 6.0
"""Largest deviation of the second and the fourth moment, in standard deviations, for which the tests are made."""

TESTS = 6
"""Number of tests; p-values are multiplied by it, so that the smallest one counts (Bonferroni)."""

_TW = (46.446, 0.186054, 9.84801)  # gamma distribution close to that of Tracy and Widom of order 1

CUMULATIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: torch.special.ndtr(x),
    "uniform": lambda x: ((x / math.sqrt(3) + 1) / 2).clamp(0, 1),
    "truncated": lambda x: ((torch.special.ndtr(x * 0.8796256610342398) - 0.022750131948) / 0.9544997361).clamp(0, 1),
}
"""Distribution functions of variance 1. The truncated normal one ends at two standard deviations before truncation."""

KURTOSIS = {"normal": 3.0, "uniform": 1.8, "truncated": 2.3656}
"""Fourth moments of these distributions."""


def randomness(values: Float[Tensor, "rows columns"], kind: str, std: float) -> float:
    """Returns how well the entries of a matrix agree with independent draws from a distribution.

    Args:
        values: The matrix, or a piece of it.
        kind: A key of `CUMULATIVE`.
        std: Standard deviation of the distribution, about the mean 0.

    Returns:
        The p-value of six tests together: of the distribution (Kolmogorov and Smirnov), of the norms and of the means
        of rows and of columns (chi squared), and of the largest singular value (Tracy and Widom). Below 0.01 for one
        matrix of a hundred whose entries are such draws, or fewer.

    Example:
        >>> drawn = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
        >>> randomness(drawn, "normal", 1.0) > 0.01, randomness(drawn + torch.ones(64), "normal", 1.41) > 0.01
        (True, False)
    """
    if std <= 0:
        return 0.0
    scaled = values.float() / std
    if _is_far(scaled, kind):
        return 0.0
    least = 1.0
    for test in _tests(scaled, kind):
        least = min(least, TESTS * test)
        if least < LEAST:  # no later test can raise it
            break
    return least


def _is_far(scaled: Float[Tensor, "rows columns"], kind: str) -> bool:
    """Whether the second or the fourth moment is another one, which the other tests would find more slowly."""
    squares = scaled.square()
    count = scaled.numel()
    second = float(squares.mean()) - 1
    if abs(second) > FARTHEST * math.sqrt((KURTOSIS[kind] - 1) / count):
        return True
    fourth = float(torch.linalg.vecdot(squares.flatten(), squares.flatten())) / count - KURTOSIS[kind]
    return abs(fourth) > FARTHEST * math.sqrt(96 / count)  # of normal values; the others have less


def _tests(scaled: Float[Tensor, "rows columns"], kind: str) -> Iterator[float]:
    """Yields the p-value of each test, the quicker ones first."""
    excess = KURTOSIS[kind] - 1
    squares = scaled.square() - 1
    for axis in (1, 0):
        count = scaled.shape[axis]
        if min(count, scaled.shape[1 - axis]) < 2:
            continue
        yield _chi_squared(scaled.mean(axis) * math.sqrt(count), 3 + (excess - 2) / count)
        # squares are skewed: the fourth moment of their mean is that of a chi-squared variable
        yield _chi_squared(squares.mean(axis) * math.sqrt(count / excess), 3 + 6 * excess / count)
    flat = scaled.flatten()
    yield kolmogorov(flat[:: -(-len(flat) // MOST_SORTED)], kind)
    if min(scaled.shape) >= SMALLEST_SIDE:
        yield tracy_widom(scaled[:SIDE, :SIDE])


def crop(values: Float[Tensor, "rows columns"], rows: int, columns: int) -> Float[Tensor, "some_rows some_columns"]:
    """Returns a copy of the middle of a matrix, at most of this size: the first rows of a table may not be used.

    Example:
        >>> crop(torch.arange(12).reshape(3, 4).float(), 1, 2)
        tensor([[5., 6.]])
    """
    starts = [max(0, (size - most) // 2) for size, most in zip(values.shape, (rows, columns), strict=True)]
    return values[starts[0] : starts[0] + rows, starts[1] : starts[1] + columns].clone()


def kolmogorov(values: Float[Tensor, " values"], kind: str) -> float:
    """Returns the p-value of the test of Kolmogorov and Smirnov against a distribution of variance 1."""
    ordered = values.sort().values.double()
    count = len(ordered)
    expected = CUMULATIVE[kind](ordered)
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = float(torch.maximum(expected - steps[:-1], steps[1:] - expected).max())
    root = math.sqrt(count)
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.3:
        return 1.0
    terms = (math.copysign(math.exp(-2 * k * k * scaled * scaled), k % 2 - 0.5) for k in range(1, 20))
    return min(1.0, max(0.0, 2 * sum(terms)))


def tracy_widom(values: Float[Tensor, "rows columns"]) -> float:
    """Returns the p-value of the largest singular value of a matrix whose entries have variance 1.

    Source: Johnstone, "On the distribution of the largest eigenvalue in principal components analysis", Annals of
    Statistics 29 (2001), theorem 1.1; the gamma distribution after Chiani, arXiv 1209.3394, section 3.
    Differs: nothing.
    """
    rows, columns = values.shape
    values = values.double()
    gram = values @ values.T if rows <= columns else values.T @ values
    largest = float(torch.linalg.eigvalsh(gram)[-1])
    roots = math.sqrt(max(rows, columns) - 1), math.sqrt(min(rows, columns))
    centre = sum(roots) ** 2
    spread = sum(roots) * (1 / roots[0] + 1 / roots[1]) ** (1 / 3)
    shape, scale, shift = _TW
    at = ((largest - centre) / spread + shift) / scale
    return float(torch.special.gammaincc(*torch.tensor([shape, max(at, 0.0)], dtype=torch.float32)))


def _chi_squared(deviations: Tensor, fourth: float) -> float:
    """Returns the p-value of a sum of squares, of which each has mean 1 and the given fourth moment of its root.

    The sum is compared with a gamma distribution of its mean and variance.
    """
    count = len(deviations)
    variance = count * (fourth - 1)
    shape, scale = count**2 / variance, variance / count
    at = float(deviations.double().square().sum()) / scale
    upper = float(torch.special.gammaincc(*torch.tensor([shape, at], dtype=torch.float64)))
    return min(1.0, 2 * min(upper, 1 - upper)) if math.isfinite(upper) else 0.0
