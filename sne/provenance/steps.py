"""Possible steps from parent to child, with their costs in bits: the less likely a step is, the more it costs."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sne.provenance.comparison import Comparison
from sne.provenance.direction import are_even, odds_of_training
from sne.provenance.evidence import Change
from sne.provenance.relation import Relation

Names: TypeAlias = tuple[str, str]

COSTS: Mapping[Relation, float] = {
    Relation.IDENTICAL: 0.02,
    Relation.SAME_FUNCTION: 0.2,
    Relation.PRECISION: 0.4,
    Relation.PRUNED: 0.6,
    Relation.LOW_RANK: 0.8,
    Relation.MERGE: 0.4,
    Relation.PARTIAL: 1.0,
    Relation.FINE_TUNE: 1.2,
    Relation.SAME_START: 4.0,
}
"""Cost of one step of each relation: simple operations are likelier than training."""

MADE = (Relation.PRECISION, Relation.PRUNED)
"""Relations whose child bears the mark of an operation: rounded values, or zeros."""

BY_TRAINING = (Relation.FINE_TUNE, Relation.PARTIAL, Relation.SAME_START)
"""Relations of networks that training alone tells apart. Networks that learn much in one step share no more than their
start."""

SIBLING = 0.4
"""Further cost of an operation on a marked parent: each of several pruned copies was made from the original."""

MOVED = 6.0
"""Further cost of training where units have another order, signs or scales: a copy that was moved may be the parent."""

LENGTH = 2.0
"""Further cost of training for each doubling of the squared distance.

It is the same in both directions, so that it says which networks are neighbours, and nothing of which is the parent."""

NEAR = 1e-7
"""Squared relative distances below this one are alike."""

UNMARKED = 6.0
"""Further cost of a step in which a mark vanishes."""

REVERSED = 10.0
"""Further cost of a step against a direction that follows from the values."""


@dataclass(frozen=True)
class Kinship:
    """What the forest has to know of the comparison of two related networks; far less than the whole comparison.

    Args:
        relation: What the two are to each other.
        direction: "second from first", "first from second", or None.
        confidence: Probability that the direction is right.
        p_value: Probability of such an agreement of independent networks; None where none can be given.
        distance: Squared norm of the change over the mean squared norm of the two, after alignment.
        is_exact: Whether the values show how the two are related, by operations without training on one or on both of
            them.
        is_aligned: Whether units of one were moved, rescaled or flipped.
        is_rounded: Whether tensors of one are those of the other with fewer bits.
        odds: Logarithm of the odds that the second network was trained further than the first one.
        is_even: Whether neither was made from the other: training alone tells the two apart, and neither looks trained
            further; or each was changed without training as the other one was not, such as by zeros of its own, and all
            else is equal, but for rounding.
    """

    relation: Relation
    direction: str | None
    confidence: float
    p_value: float | None
    distance: float
    is_exact: bool
    is_aligned: bool
    is_rounded: bool
    odds: float
    is_even: bool

    @classmethod
    def of(cls, found: Comparison) -> "Kinship":
        """Takes from a comparison what the forest has to know."""
        is_even = found.relation is Relation.PRUNED and found.direction is None
        is_rounded = any(layer.change in (Change.ROUNDED, Change.QUANTISED) for layer in found.layers)
        return cls(
            found.relation, found.direction, found.confidence, found.p_value, found.distance, found.is_exact,
            bool(found.aligned), is_rounded, odds_of_training(found.layers),
            is_even or (found.relation in BY_TRAINING and are_even(found.layers)),
        )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A possible step from parent to child.

    Args:
        found: What the two are to each other.
        cost: Cost of the step.
        confidence: Probability that the direction is right.
        merge: The other parent and its weight, where the child is a mean of two.
    """

    found: Kinship
    cost: float
    confidence: float
    merge: tuple[str, float] | None = None

    @property
    def relation(self) -> Relation:
        """How the child was made."""
        return self.found.relation if self.merge is None else Relation.MERGE


def hubs_of(steps: Mapping[Names, Step]) -> Counter[str]:
    """Counts for each network those whose cheapest parent it is."""
    cheapest: dict[str, tuple[float, str]] = {}
    for (parent, child), step in steps.items():
        cheapest[child] = min(cheapest.get(child, (math.inf, "")), (step.cost, parent))
    return Counter(parent for _, parent in cheapest.values())


def possible_steps(found: Mapping[Names, Kinship]) -> dict[Names, Step]:
    """Returns the possible steps by parent and child, with their costs."""
    marked = {
        pair[number]
        for pair, one in found.items()
        for number, direction in enumerate(("first from second", "second from first"))
        if one.relation in MADE and one.direction == direction and one.confidence == 1
    }
    steps = {}
    for pair, one in found.items():
        if one.relation not in COSTS:
            continue
        for parent, child, sign in ((*pair, 1), (*pair[::-1], -1)):
            cost = _cost_of_kind(one) + _cost_of_length(one) + _cost_of_direction(one, sign)
            if parent in marked:
                cost += SIBLING if child in marked else UNMARKED
            if one.is_aligned and one.relation is not Relation.SAME_FUNCTION:
                cost += MOVED
            steps[parent, child] = Step(one, cost, _confidence(one, sign))
    return steps


def _confidence(found: Kinship, sign: int) -> float:
    """Returns the probability that the second network is the child, or with a negative sign the first one."""
    if found.relation is Relation.SAME_START:  # `compare` states no direction, since neither may be the child
        return 1 / (1 + math.exp(-sign * found.odds))
    if found.direction is None:
        return 0.5
    is_so = found.direction == ("second from first" if sign > 0 else "first from second")
    return found.confidence if is_so else 1 - found.confidence


def _cost_of_direction(found: Kinship, sign: int) -> float:
    """Returns the bits of a direction, 0 where both are as likely."""
    if found.relation in BY_TRAINING:
        return math.log2(1 + math.exp(-sign * found.odds)) - 1
    probability = _confidence(found, sign)
    return -math.log2(2 * probability) if probability > 0 else REVERSED


def _cost_of_length(found: Kinship) -> float:
    """Returns the bits of the distance of trained networks: they are likelier to be neighbours the nearer they are."""
    return 0.0 if found.is_exact else LENGTH * math.log2(max(found.distance, NEAR) / NEAR)


def _cost_of_kind(found: Kinship) -> float:
    """Returns the cost of a relation; of pruned and rounded copies, the costs of both.

    `same initialisation` of which neither network looks trained further costs what a fine-tune does: `_without_twins`
    of the forest removes such steps afterwards.
    """
    is_both = found.relation is Relation.PRUNED and found.is_rounded
    relation = Relation.FINE_TUNE if found.is_even and found.relation is Relation.SAME_START else found.relation
    return COSTS[relation] + (COSTS[Relation.PRECISION] + SIBLING) * is_both
