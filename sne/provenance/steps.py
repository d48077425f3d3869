"""Possible steps from parent to child, with their costs: the less likely a step is, the more it costs."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from sne.provenance.comparison import Comparison
from sne.provenance.evidence import Change
from sne.provenance.relation import Relation

Names: TypeAlias = tuple[str, str]

NEAR = 1e-4
"""Squared relative distances below this one are alike."""

COSTS: Mapping[Relation, float] = {
    Relation.IDENTICAL: 0.001,
    Relation.SAME_FUNCTION: 0.01,
    Relation.PRECISION: 0.02,
    Relation.PRUNED: 0.03,
    Relation.LOW_RANK: 0.04,
    Relation.MERGE: 0.02,
    Relation.PARTIAL: 0.05,
    Relation.FINE_TUNE: 0.06,
}
"""Cost of one step of each relation: simple operations are likelier than training."""

MADE = (Relation.PRECISION, Relation.PRUNED)
"""Relations whose child bears the mark of an operation: rounded values, or zeros."""

SIBLING = 0.02
"""Further cost of an operation on a marked parent: each of several pruned copies was made from the original."""

MOVED = 0.3
"""Further cost of training where units have another order, signs or scales: a copy that was moved may be the parent."""

FARTHER = 0.1
"""Further cost for each doubling of the distance, from a parent that is farther than the nearest possible one."""

MOST_FARTHER = 0.4
"""Largest such cost."""

UNMARKED = 0.3
"""Further cost of a step in which a mark vanishes."""

REVERSED = 0.5
"""Further cost of a step against a direction that follows from the values."""

DOUBT = 0.05
"""Further cost of a step for each bit of the improbability of its direction."""


@dataclass(frozen=True)
class Kinship:
    """What the forest has to know of the comparison of two related networks; far less than the whole comparison.

    Args:
        relation: What the two are to each other.
        direction: "second from first", "first from second", or None.
        confidence: Probability that the direction is right.
        p_value: Probability of such an agreement of independent networks; None where none can be given.
        distance: Squared norm of the change over the mean squared norm of the two, after alignment.
        is_exact: Whether the values of one network follow from those of the other without training.
        is_aligned: Whether units of one were moved, rescaled or flipped.
        is_rounded: Whether tensors of one are those of the other with fewer bits.
    """

    relation: Relation
    direction: str | None
    confidence: float
    p_value: float | None
    distance: float
    is_exact: bool
    is_aligned: bool
    is_rounded: bool

    @classmethod
    def of(cls, found: Comparison) -> "Kinship":
        """Takes from a comparison what the forest has to know."""
        is_rounded = any(layer.change in (Change.ROUNDED, Change.QUANTISED) for layer in found.layers)
        return cls(
            found.relation, found.direction, found.confidence, found.p_value, found.distance, found.is_exact,
            bool(found.aligned), is_rounded,
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

    def farther(self, nearest: float) -> "Step":
        """Returns the step with the cost of its length, compared to that of the nearest possible parent."""
        doublings = math.log2(max(self.found.distance, NEAR) / max(nearest, NEAR))
        return replace(self, cost=self.cost + min(MOST_FARTHER, FARTHER * doublings))


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
        for parent, child, direction in ((*pair, "second from first"), (*pair[::-1], "first from second")):
            confidence = 0.5
            if one.direction is not None:
                confidence = one.confidence if one.direction == direction else 1 - one.confidence
            cost = _cost_of_kind(one) + (REVERSED if confidence == 0 else -DOUBT * math.log2(2 * confidence))
            if parent in marked:
                cost += SIBLING if child in marked else UNMARKED
            if one.is_aligned and one.relation is not Relation.SAME_FUNCTION:
                cost += MOVED
            steps[parent, child] = Step(one, cost, confidence)
    nearest: dict[str, float] = {}
    for (_, child), step in steps.items():
        if not step.found.is_exact:
            nearest[child] = min(nearest.get(child, math.inf), step.found.distance)
    return {pair: step if step.found.is_exact else step.farther(nearest[pair[1]]) for pair, step in steps.items()}


def _cost_of_kind(found: Kinship) -> float:
    """Returns the cost of a relation; of pruned and rounded copies, the costs of both."""
    is_both = found.relation is Relation.PRUNED and found.is_rounded
    return COSTS[found.relation] + (COSTS[Relation.PRECISION] + SIBLING) * is_both
