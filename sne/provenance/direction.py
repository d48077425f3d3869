"""Which of two networks was trained further, as far as weights tell."""

from collections.abc import Sequence
from math import exp

from sne.provenance.evidence import Evidence, mean_retained

PER_DIFFERENCE = 12.0
"""Log odds per difference of the two shares that are retained."""

MOST_ODDS = 3.0
"""Largest log odds, which is a confidence of .95."""


def guess_child(found: Sequence[Evidence]) -> tuple[int, float]:
    """Guesses which of two networks was made from the other by training.

    What a network has learned is in its child, but what the child has learned is not in its parent: the network whose
    largest directions the other one has more fully is taken for the parent.

    Args:
        found: Evidence of the pairs of tensors.

    Returns:
        1 if the second network is the child, -1 if the first one is, 0 if nothing tells; and the probability that this
        is right.
    """
    first, second = mean_retained(found)
    if first == second:
        return 0, 0.0
    odds = min(PER_DIFFERENCE * abs(first - second), MOST_ODDS)
    return (1 if first > second else -1), 1 / (1 + exp(-odds))
