"""Which of two networks was trained further: the direction of a fine-tune, with its probability, or neither."""

import math
from collections.abc import Sequence
from statistics import median

from sne.networks import Role
from sne.provenance.evidence import Change, Evidence, mean_cosine

WEIGHTS = (3.7, 3.0)
"""Weights of the features in the logarithm of the odds; fitted by benchmarks/direction.py."""

LARGEST = 2.0
"""Largest size of a feature."""

LEAST_CONFIDENCE = 0.6
"""Least probability for a direction to be stated."""

MOST_CONFIDENCE = 0.97
"""Largest probability that is stated; what is likelier than that by the features was right as often."""

MOST_GROWTH = 0.25
"""Largest growth of networks of which neither was trained further, see `growth`."""

MEDIAN_WEIGHT = 0.25
"""Weight of the median of the matrices' own growths in `growth`: with `MOST_GROWTH`, half of the matrices of networks
that `are_even` have a growth below 1."""

LEAST_EVEN_COSINE = 0.5
"""Least mean cosine of the matrices of two networks that `are_even`."""

MOST_ODDS = 1.5
"""Largest absolute logarithm of the odds of a direction of two networks that `are_even`."""


def departures(found: Sequence[Evidence]) -> tuple[float, float]:
    """Returns two features that are positive if the second network looks trained further.

    Biases usually start at zero and the scales of norms at one, and training moves them away. The features are the
    logarithms of the ratios of the squared distances. Only tensors that changed count.

    Args:
        found: Evidence of every pair of tensors.
    """
    changed = [one for one in found if one.change is not Change.EQUAL]
    logs = []
    for is_scale in (False, True):
        some = [one.moved for one in changed if (one.pair.first.part.role is Role.SCALE) == is_scale]
        squares = [sum(moved[number] ** 2 for moved in some) for number in (0, 1)]
        logs.append(math.log((squares[1] + 1e-12) / (squares[0] + 1e-12)))
    biases, scales = (min(LARGEST, max(-LARGEST, value)) for value in logs)
    return biases, scales


def odds_of_training(found: Sequence[Evidence]) -> float:
    """Returns the logarithm of the odds that the second network was trained further than the first one.

    It is positive if the second network looks trained further, and never more certain than `MOST_CONFIDENCE`.

    Args:
        found: Evidence of every pair of tensors.
    """
    odds = sum(weight * value for weight, value in zip(WEIGHTS, departures(found), strict=True))
    most = math.log(MOST_CONFIDENCE / (1 - MOST_CONFIDENCE))
    return min(most, max(-most, odds))


def growth(found: Sequence[Evidence]) -> float:
    """Returns the differences of the squared norms of matrices, whatever their signs, over the squared distance.

    What training adds is nearly at a right angle to the weights that it starts from, so that the squared norm of a
    child is that of its parent plus the squared distance, and the growth is 1. Weight decay, and training along the
    weights, make it larger. It is near 0 where both networks were trained equally far from a common start.

    A matrix whose units are in another order in the two networks has equal norms and a large distance; the median keeps
    it from lowering the growth.

    Args:
        found: Evidence of every pair of tensors.

    Returns:
        The growth of all matrices together or, where that is larger, `MEDIAN_WEIGHT` times the median of theirs.
    """
    changed = [one for one in found if one.is_random_matrix and one.change is not Change.EQUAL]
    squares = [one.norm_of_change**2 for one in changed]
    if sum(squares) == 0:
        return math.inf
    differences = [abs(one.norms[1] ** 2 - one.norms[0] ** 2) for one in changed]
    each = [difference / square for difference, square in zip(differences, squares, strict=True) if square > 0]
    return max(sum(differences) / sum(squares), MEDIAN_WEIGHT * median(each))


def are_even(found: Sequence[Evidence]) -> bool:
    """Whether neither of two networks looks trained further, so that neither was made from the other by training.

    Networks with a mean cosine up to `LEAST_EVEN_COSINE` are never even: alignment has not brought their units into one
    order.

    Args:
        found: Evidence of every pair of tensors.
    """
    return (
        mean_cosine(found) > LEAST_EVEN_COSINE
        and growth(found) < MOST_GROWTH
        and abs(odds_of_training(found)) < MOST_ODDS
    )


def direction_of_training(found: Sequence[Evidence]) -> tuple[int, float]:
    """Returns which network was trained further, and the probability that this is right.

    Args:
        found: Evidence of every pair of tensors.

    Returns:
        1 and a probability if the second network is the child, -1 if the first one is; 0 and 0.0 if neither is likelier
        than `LEAST_CONFIDENCE`.

    Source: Horwitz et al., "Unsupervised Model Tree Heritage Recovery", arXiv 2405.18432, where a change of kurtosis
        gives directions.
    Differs: the distance of biases and scales from where they start, whose weights were fitted to zoos of other image
        sets and hyper-parameters; probabilities.
    """
    odds = odds_of_training(found)
    probability = 1 / (1 + math.exp(-abs(odds)))
    if probability < LEAST_CONFIDENCE:
        return 0, 0.0
    return (1 if odds > 0 else -1), probability
