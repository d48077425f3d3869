"""Which of two networks was trained further, as far as weights tell."""

from collections.abc import Sequence
from math import exp, log

from sne.provenance.evidence import Evidence

PER_LOG_NORM = 40.0
"""Log odds per unit of the logarithm of the ratio of norms."""


def guess_child(found: Sequence[Evidence]) -> tuple[int, float]:
    """Guesses which of two networks was made from the other by training.

    Norms of weights grow in training, unless weight decay is strong: the network with the larger matrices is taken for
    the child.

    Args:
        found: Evidence of the pairs of tensors that changed.

    Returns:
        1 if the second network is the child, -1 if the first one is; and the probability that this is right.
    """
    matrices = [one for one in found if one.is_random_matrix and one.relative_change > 0]
    if not matrices:
        return 0, 0.0
    squares = [sum(one.norms[number] ** 2 for one in matrices) for number in (0, 1)]
    growth = log(squares[1] / squares[0]) / 2
    odds = min(PER_LOG_NORM * abs(growth), 3.0)
    return (1 if growth > 0 else -1), 1 / (1 + exp(-odds))
