"""The forest of least cost among networks whose relations are known."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import torch

from sne.errors import SneError
from sne.networks import Network
from sne.provenance.arborescence import minimum_arborescence
from sne.provenance.comparison import Comparison
from sne.provenance.evidence import Change
from sne.provenance.merging import Merge, merged_from
from sne.provenance.relation import Relation

Names: TypeAlias = tuple[str, str]

MOST_PARENTS = 24
"""Number of the nearest relatives of a network among which parents of a merge are sought."""

MOST_SAMPLED = 20_000
"""Largest number of weights of a network that are searched for merges."""

MOST_SAMPLED_TOGETHER = 50_000_000
"""Largest number of such weights of all networks together."""

NEAR = 1e-4
"""Squared relative distances below this one are alike."""

COLLINEAR = 1e-3
"""Largest squared distance of a merge from the line through its parents, over their squared distance."""

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

MOST_DETOUR = 1.0
"""Largest ratio of the squared distances by way of a parent and directly from its own parent. Steps of training are
nearly at right angles, so that the ratio is near 1 where the parent lies between."""

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

ADAPTED = 0.3
"""Further cost of training that starts from a merge, or from a network with an update of low rank."""

NEW_ROOT = 2.0
"""Cost of a further root; larger than that of any step between related networks."""

HUB = 0.02
"""By how much less a parent costs, and five times as much a root, for each doubling of the number of networks whose
cheapest parent it is."""


@dataclass(frozen=True)
class Edge:
    """A parent and its child.

    Args:
        parent: Name of the parent.
        child: Name of the child.
        relation: How the child was made.
        p_value: Probability of such an agreement of independent networks; None where none can be given.
        distance: Squared norm of the change over the mean squared norm of the two, after alignment.
        confidence: Probability that the direction is right; 0.5 where nothing tells, or where it has no meaning.
        merged_with: Name of the other parent of a merge, and its weight.
    """

    parent: str
    child: str
    relation: Relation
    p_value: float | None
    distance: float
    confidence: float
    merged_with: tuple[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        return {**vars(self), "relation": self.relation.value}


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


def forest(names: Sequence[str], found: Mapping[Names, Kinship], read: Callable[[str], Network]) -> list[Edge]:
    """Chooses a parent for each network: the minimum spanning arborescence of the related pairs.

    Args:
        names: Names of all networks.
        found: What related pairs are to each other, by names.
        read: Returns the network of a name; it is used to test for merges.
    """
    steps = possible_steps(found)
    merges = _merges(found, steps, read)
    # a merge lies between its parents, so that it cannot be a parent of theirs
    impossible = {(child, parent) for parent, child in merges} - merges.keys()
    steps = {pair: step for pair, step in {**steps, **merges}.items() if pair not in impossible}
    edges = _arborescence(names, steps)
    adapted = {child for parent, child in edges if steps[parent, child].relation in (Relation.LOW_RANK, Relation.MERGE)}
    steps = {
        pair: replace(step, cost=step.cost + ADAPTED) if pair[0] in adapted and not step.found.is_exact else step
        for pair, step in steps.items()
    }
    edges = [_edge(*pair, steps[pair]) for pair in _without_detours(_arborescence(names, steps), steps)]
    order = {name: number for number, name in enumerate(names)}
    return sorted(_without_circles(edges), key=lambda edge: order[edge.child])


def _without_circles(edges: Sequence[Edge]) -> list[Edge]:
    """Removes the second parents of merges that descend from the merge."""
    parents = parents_of(edge for edge in edges if edge.merged_with is None)
    for edge in edges:
        parents.setdefault(edge.child, [edge.parent])
    kept = []
    for edge in edges:
        if edge.merged_with is not None and edge.child in ancestors(edge.merged_with[0], parents):
            edge = replace(edge, relation=Relation.FINE_TUNE, confidence=0.5, merged_with=None)
        elif edge.merged_with is not None:
            parents[edge.child].append(edge.merged_with[0])
        kept.append(edge)
    return kept


def parents_of(edges: Iterable[Edge]) -> dict[str, list[str]]:
    """Returns the parents of each network that has any; those of a merge are two."""
    return {edge.child: [edge.parent, *([edge.merged_with[0]] if edge.merged_with else [])] for edge in edges}


def ancestors(name: str, parents: Mapping[str, Sequence[str]]) -> set[str]:
    """Returns a network and all networks above it.

    Example:
        >>> sorted(ancestors("c", {"c": ["b"], "b": ["a"]}))
        ['a', 'b', 'c']
    """
    found, waiting = {name}, [name]
    while waiting:
        above = set(parents.get(waiting.pop(), ())) - found
        found |= above
        waiting += above
    return found


def _arborescence(names: Sequence[str], steps: Mapping[Names, Step]) -> list[Names]:
    """Returns the edges of the minimum spanning arborescence, whose root is the parent of all roots."""
    hubs = hubs_of(steps)
    less = {name: HUB * math.log2(1 + hubs[name]) for name in names}
    numbers = {name: number for number, name in enumerate(names, 1)}
    arcs = [(0, numbers[name], NEW_ROOT - 5 * less[name]) for name in names]
    arcs += [(numbers[one], numbers[other], step.cost - less[one]) for (one, other), step in steps.items()]
    chosen = minimum_arborescence(1 + len(names), 0, arcs)
    ends = [arcs[number][:2] for number in chosen[1:]]
    return [(names[parent - 1], names[child - 1]) for parent, child in ends if parent]


def _without_detours(edges: Sequence[Names], steps: Mapping[Names, Step]) -> list[Names]:
    """Gives trained networks the parent of their parent, where the parent does not lie between the two."""
    parents = {child: parent for parent, child in edges}

    def length(parent: str, child: str) -> float:
        step = steps.get((parent, child))
        return math.nan if step is None or step.found.is_exact or step.confidence == 0 else step.found.distance

    for child in parents:
        while (parent := parents[child]) in parents:
            above = parents[parent]
            direct, ways = length(above, child), (length(above, parent), length(parent, child))
            if steps[parent, child].merge is not None or not sum(ways) > MOST_DETOUR * direct:
                break
            parents[child] = above
    return [(parent, child) for child, parent in parents.items()]


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


def _merges(
    found: Mapping[Names, Kinship],
    steps: Mapping[Names, Step],
    read: Callable[[str], Network],
) -> dict[Names, Step]:
    """Returns steps from both parents to each network that is a weighted mean of two others."""
    near: dict[str, list[tuple[float, str]]] = {}
    for pair, one in found.items():
        if one.relation in (Relation.FINE_TUNE, Relation.SAME_START) and not one.is_aligned:
            for name, other in (pair, pair[::-1]):
                near.setdefault(name, []).append((one.distance, other))
    most = min(MOST_SAMPLED, MOST_SAMPLED_TOGETHER // max(1, len(near)))
    samples = {name: sample for name in near if (sample := _sample(name, read, most)) is not None}
    merges: dict[Names, Step] = {}
    for child in samples:
        nearest = [name for _, name in sorted(near[child])[:MOST_PARENTS] if name in samples]
        for one, other in combinations(sorted(nearest), 2):
            if not _is_between(samples[child], samples[one], samples[other]):
                continue
            merge = _merged(child, one, other, read)
            if merge is None:
                continue
            for (parent, rest), weight in zip(((one, other), (other, one)), merge.weights[::-1], strict=True):
                step = steps.get((parent, child))
                if step is None:  # twins give no step
                    continue
                new = Step(step.found, COSTS[Relation.MERGE] + SIBLING * weight, 1.0, (rest, weight))
                if (parent, child) not in merges or new.cost < merges[parent, child].cost:
                    merges[parent, child] = new
    return merges


def _sample(name: str, read: Callable[[str], Network], most: int) -> np.ndarray | None:
    """Returns some weights of a network, the same ones for networks of one layout; None if it cannot be read now."""
    values, left = [], most
    try:
        network = read(name)
        for _, part in network.parts():
            if left <= 0:
                break
            rows, columns, kernel = part.arranged_shape
            height = max(1, min(rows, left // max(1, columns * kernel)))
            values.append(network.read_sample(part, torch.arange(height), None).flatten()[:left].numpy())
            left -= len(values[-1])
    except (SneError, OSError):
        return None
    return np.concatenate(values) if values else None


def _merged(child: str, one: str, other: str, read: Callable[[str], Network]) -> Merge | None:
    """Tests whether a network is a mean of two others; None also if one of them cannot be read now."""
    try:
        return merged_from(read(child), read(one), read(other))
    except (SneError, OSError):
        return None


def _is_between(child: np.ndarray, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether weights lie on the line between those of two others."""
    if not len(child) == len(one) == len(other):
        return False
    one, other, child = (values.astype(np.float64) for values in (one, other, child))
    line = other - one
    length = float(line @ line)
    if length == 0:
        return False
    weight = float((child - one) @ line) / length
    rest = child - one - weight * line
    return 0 < weight < 1 and float(rest @ rest) <= COLLINEAR * length


def _edge(parent: str, child: str, step: Step) -> Edge:
    return Edge(parent, child, step.relation, step.found.p_value, step.found.distance, step.confidence, step.merge)
