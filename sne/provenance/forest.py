"""The forest of least cost among networks whose relations are known."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch

from sne.errors import SneError
from sne.networks import Network
from sne.provenance.arborescence import minimum_arborescence
from sne.provenance.merging import Merge, merged_from
from sne.provenance.relation import Relation
from sne.provenance.steps import COSTS, SIBLING, Kinship, Names, Step, hubs_of, possible_steps

MOST_PARENTS = 24
"""Number of the nearest relatives of a network among which parents of a merge are sought."""

MOST_SAMPLED = 20_000
"""Largest number of weights of a network that are searched for merges."""

MOST_SAMPLED_TOGETHER = 50_000_000
"""Largest number of such weights of all networks together."""

COLLINEAR = 1e-3
"""Largest squared distance of a merge from the line through its parents, over their squared distance."""

LONGEST_BRANCH = 0.5
"""Longest branch on which a parent may lie off the way to its child, over the shorter part of the way."""

ADAPTED = 6.0
"""Further cost of training that starts from a merge, or from a network with an update of low rank."""

NEW_ROOT = 1000.0
"""Cost of a further root; larger than that of any step between related networks."""

FEW = 2
"""Largest number of networks whose cheapest parent a network may be without being a hub."""

HUB = 0.4
"""By how much less a hub costs as a parent, for each doubling of the number of networks whose cheapest parent it is."""

HUB_AS_ROOT = 3.0
"""The same as a root. Checkpoints of one run are no hubs, so that their directions alone tell the root."""


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
    ways = _without_twins(_without_detours(_arborescence(names, steps), steps), steps)
    edges = [_edge(*pair, steps[pair]) for pair in ways]
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
    doublings = {name: math.log2(max(1.0, count / FEW)) for name, count in hubs_of(steps).items()}
    numbers = {name: number for number, name in enumerate(names, 1)}
    arcs = [(0, numbers[name], NEW_ROOT - HUB_AS_ROOT * doublings.get(name, 0.0)) for name in names]
    arcs += [
        (numbers[one], numbers[other], step.cost - HUB * doublings.get(one, 0.0))
        for (one, other), step in steps.items()
    ]
    chosen = minimum_arborescence(1 + len(names), 0, arcs)
    ends = [arcs[number][:2] for number in chosen[1:]]
    return [(names[parent - 1], names[child - 1]) for parent, child in ends if parent]


def _without_detours(edges: Sequence[Names], steps: Mapping[Names, Step]) -> list[Names]:
    """Gives trained networks the parent of their parent, where the parent does not lie between the two.

    Steps of training are nearly at right angles to those before, so that squared distances add up along the edges of a
    tree. Three of them then give the length of the branch on which the parent lies off the way from its own parent to
    the child (the Gromov product); 0 if it lies on the way, and all of its own step if the two are siblings.
    """
    parents = {child: parent for parent, child in edges}

    def length(parent: str, child: str) -> float:
        step = steps.get((parent, child))
        return math.nan if step is None or step.found.is_exact or step.confidence == 0 else step.found.distance

    for child in parents:
        while (parent := parents[child]) in parents and steps[parent, child].merge is None:
            above = parents[parent]
            direct, ways = length(above, child), (length(above, parent), length(parent, child))
            branch = (sum(ways) - direct) / 2
            if not branch > LONGEST_BRANCH * min(ways):
                break
            parents[child] = above
    return [(parent, child) for child, parent in parents.items()]


def _without_twins(edges: Sequence[Names], steps: Mapping[Names, Step]) -> list[Names]:
    """Gives networks that were trained as far as their parent the parent of that one, or none."""
    parents = {child: parent for parent, child in edges}
    for child in list(parents):
        while (parent := parents.get(child)) is not None:
            step = steps[parent, child]
            if step.merge is not None or not step.found.is_even:
                break
            del parents[child]
            if (above := parents.get(parent)) is not None and (above, child) in steps:
                parents[child] = above
    return [(parent, child) for child, parent in parents.items()]


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
