"""How many fixed points permutations have by chance, and how many if agreement is favoured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.special import gammaincinv, gammaln

_TERMS = 40
_FACTORS = 100


@dataclass(frozen=True)
class Agreement:
    """Agreement of two matchings of the units of one group.

    Args:
        group: Name of the group.
        units: Number of units that were matched.
        fixed: Number of units that both matchings give the same partner.
        expected: Mean number of such units that is allowed for in independent networks.
    """

    group: str
    units: int
    fixed: int
    expected: float = 1.0


def fixed_points_p_value(agreements: Sequence[Agreement], *, favour: float | None = None) -> float:
    """Returns the probability that independent permutations have at least as many fixed points in all.

    Args:
        agreements: One per permutation. Where some units have no partner, the p-value is an upper bound.
        favour: As for `fixed_points_distribution`; without it, `expected` is not used.

    Example:
        >>> round(fixed_points_p_value([Agreement("hidden", 3, 3)]) * 6, 6)  # one of the 6 permutations of 3 units
        1.0
    """
    means = [found.expected for found in agreements]
    distribution = fixed_points_distribution([found.units for found in agreements], favour=favour, means=means)
    return min(1.0, float(distribution[sum(found.fixed for found in agreements) :].sum()))


def fixed_points_distribution(
    sizes: Sequence[int], *, favour: float | None = None, means: Sequence[float] | None = None
) -> Float[np.ndarray, " counts"]:
    """Returns the probability of each number of fixed points of independent permutations together.

    Args:
        sizes: Number of units of each permutation.
        favour: None for uniform permutations. Otherwise the probability of a permutation is multiplied by a factor per
            fixed point, which is drawn once per permutation from a gamma distribution. This is its shape if its mean
            is 1; for mean m, the shape is favour + m - 1.
        means: Mean of this factor for each permutation; 1 by default.

    Returns:
        Probabilities from no fixed point on; those above the last one are too small for double precision.

    Example:
        >>> fixed_points_distribution([2, 2]).round(6).tolist()
        [0.25, 0.0, 0.5, 0.0, 0.25]
    """
    distribution = np.ones(1)
    for size, mean in zip(sizes, means or [1.0] * len(sizes), strict=True):
        distribution = np.trim_zeros(np.convolve(distribution, _fixed_points(size, favour, mean)), "b")
    return distribution


@lru_cache(maxsize=1024)
def _fixed_points(units: int, favour: float | None, mean: float) -> Float[np.ndarray, " counts"]:
    """Returns the probability of each number of fixed points of one permutation."""
    counts = np.arange(units + 1)
    others = ((-1.0) ** np.arange(_TERMS) * np.exp(-gammaln(np.arange(_TERMS) + 1.0))).cumsum()
    others = others[np.minimum(units - counts, _TERMS - 1)]  # share of permutations of the others without fixed points
    with np.errstate(divide="ignore"):
        logs = np.log(others) - gammaln(counts + 1.0)
    if favour is None:
        return np.exp(logs)
    shape = favour + mean - 1
    factors = gammaincinv(shape, (np.arange(_FACTORS) + 0.5) / _FACTORS) / shape * mean
    logs = logs + np.log(factors)[:, None] * counts
    favoured = np.exp(logs - logs.max(1, keepdims=True))
    return (favoured / favoured.sum(1, keepdims=True)).mean(0)
