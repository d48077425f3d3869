"""The forest of parents and children among many networks."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import networkx as nx
import numpy as np
import torch

from sne.errors import SneError
from sne.networks import Network
from sne.provenance.comparison import Comparison, compare
from sne.provenance.entries import entries, read_entry
from sne.provenance.fingerprint import Fingerprint, fingerprint
from sne.provenance.merging import merged_from
from sne.provenance.relation import Relation

NEAREST = 8
"""Number of networks near the sketch, and near the chain, that each network is compared with."""

MOST_KEPT = 64
"""Largest number of networks that stay open between comparisons."""

MOST_SAMPLED = 20_000
"""Largest number of weights of a network that are searched for merges."""

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

ALIGNED = 0.03
"""Further cost where units have another order, signs or scales."""

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

NEW_ROOT = 2.0
"""Cost of a further root; larger than that of any step between related networks."""

HUB = 0.004
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
        confidence: Probability that the direction is right; 0.5 where nothing tells.
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
class Lineage:
    """Parents and children among networks.

    Args:
        networks: Names of all networks.
        edges: One per network that has a parent among the others.
        twins: Pairs of networks that started from the same weights, and neither of which is the other's ancestor.
    """

    networks: tuple[str, ...]
    edges: tuple[Edge, ...]
    twins: tuple[tuple[str, str], ...]

    @property
    def roots(self) -> tuple[str, ...]:
        """Networks without a parent among the others, those with the most descendants first."""
        children = {edge.child for edge in self.edges}
        roots = [name for name in self.networks if name not in children]
        return tuple(sorted(roots, key=lambda name: -len(self.descendants(name))))

    def children(self, name: str) -> list[Edge]:
        """Returns the edges from a network to its children."""
        return [edge for edge in self.edges if edge.parent == name]

    def descendants(self, name: str) -> list[str]:
        """Returns the names of all networks below one, parents before children."""
        found = [edge.child for edge in self.children(name)]
        for child in found:  # grows while it is read
            found += [edge.child for edge in self.children(child)]
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        return {
            "networks": list(self.networks),
            "roots": list(self.roots),
            "edges": [edge.to_json() for edge in self.edges],
            "twins": [list(pair) for pair in self.twins],
        }

    def to_graph(self) -> nx.DiGraph:
        """Returns a directed graph, from parents to children, which networkx writes in many formats.

        Example:
            >>> found = Lineage(("a", "b"), (Edge("a", "b", Relation.PRUNED, None, 0.1, 1.0),), ())
            >>> sorted(found.to_graph().edges(data="relation"))
            [('a', 'b', 'pruned')]
        """
        graph = nx.DiGraph()
        graph.add_nodes_from(self.networks)
        for edge in self.edges:
            values = {"relation": edge.relation.value, "distance": edge.distance, "confidence": edge.confidence}
            graph.add_edge(edge.parent, edge.child, **values)
            if edge.merged_with is not None:
                graph.add_edge(edge.merged_with[0], edge.child, relation=Relation.MERGE.value)
        return graph


class _Networks:
    """Networks by name; small ones stay in memory for a while."""

    def __init__(self, read: Callable[[str], Network]) -> None:
        self._read = read
        self._kept: dict[str, Network] = {}

    def __getitem__(self, name: str) -> Network:
        if name not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[name] = self._read(name)
        return self._kept[name]


def lineage(
    sources: Iterable[str],
    *,
    errors: Callable[[str, Exception], None],
    on_progress: Callable[[int, int], None] | None = None,
) -> Lineage:
    """Finds parents and children among checkpoints and the networks of zoos.

    Networks that are near each other by fingerprint are compared (`sne.compare`). Related ones form a graph, in which a
    step costs more the less likely it is. The forest is the one of least total cost.

    Args:
        sources: Paths of checkpoints, folders of zoos, and paths of networks of zoos.
        errors: Called with name and error of every network that cannot be read; it is left out.
        on_progress: Called with the number of steps done and their number, first of fingerprints, then of comparisons.

    Returns:
        The forest.

    Source: Horwitz et al., "Unsupervised Model Tree Heritage Recovery", arXiv 2405.18432: a minimum directed spanning
        tree over distances of weights, with directions from a statistic.
    Differs: only related networks are joined, so that the result is a forest; relations and directions are those of
        `sne.compare`, exact where the values tell; copies with permuted and rescaled units; merges.
    """
    prints: dict[str, Fingerprint] = {}
    names = list(entries(sources))
    networks = _Networks(read_entry)
    for number, name in enumerate(names, 1):
        try:
            prints[name] = fingerprint(networks[name])
        except (SneError, OSError) as error:
            errors(name, error)
        if on_progress is not None:
            on_progress(number, len(names))
    return lineage_of(prints, networks.__getitem__, errors=errors, on_progress=on_progress)


def lineage_of(
    prints: Mapping[str, Fingerprint],
    read: Callable[[str], Network],
    *,
    errors: Callable[[str, Exception], None],
    on_progress: Callable[[int, int], None] | None = None,
) -> Lineage:
    """Finds parents and children among networks with known fingerprints.

    Args:
        prints: Fingerprints by name.
        read: Returns the network of a name.
        errors: Called with name and error of every network that cannot be read.
        on_progress: Called with the number of comparisons done and their number.
    """
    names = list(prints)
    pairs = _near_pairs([prints[name] for name in names])
    found: dict[tuple[str, str], Comparison] = {}
    for number, (one, other) in enumerate(pairs, 1):
        pair = names[one], names[other]
        try:
            comparison = compare(read(pair[0]), read(pair[1]))
        except (SneError, OSError) as error:
            errors(" and ".join(pair), error)
            continue
        finally:
            if on_progress is not None:
                on_progress(number, len(pairs))
        if comparison.related:
            found[pair] = comparison
    return forest(names, found, read)


def _near_pairs(prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Returns the pairs of networks that are compared, each with the nearest others by sketch and by chain."""
    count = min(NEAREST, len(prints) - 1)
    if count < 1:
        return []
    sketches = np.stack([found.sketch for found in prints])
    chains = np.stack([found.chain for found in prints])
    pairs = set()
    for one in range(len(prints)):
        for distances in (-(sketches @ sketches[one]), np.square(chains - chains[one]).sum(1)):
            distances[one] = np.inf
            pairs.update((min(one, int(other)), max(one, int(other))) for other in distances.argsort()[:count])
    contents: dict[str, list[int]] = {}
    for number, found in enumerate(prints):
        contents.setdefault(found.content, []).append(number)
    for same in contents.values():
        pairs.update(combinations(same[:NEAREST], 2))
    return sorted(pairs)


def distance_of(found: Comparison) -> float:
    """Returns the squared norm of the change over the mean squared norm of both networks."""
    change = sum((layer.relative_change * layer.norms[0]) ** 2 for layer in found.layers)
    size = sum(layer.norms[0] ** 2 + layer.norms[1] ** 2 for layer in found.layers) / 2
    return change / size if size else 0.0


@dataclass(frozen=True)
class _Step:
    """A possible step from parent to child.

    Args:
        found: Comparison of the two.
        cost: Cost of the step.
        confidence: Probability that the direction is right.
        merge: The other parent and its weight, where the child is a mean of two.
    """

    found: Comparison
    cost: float
    confidence: float
    merge: tuple[str, float] | None = None

    @property
    def is_told(self) -> bool:
        """Whether the values of the parent tell those of the child, so that the size of the change does not count."""
        is_made = self.found.relation in MADE and self.found.confidence == 1
        return is_made or self.found.relation in (Relation.IDENTICAL, Relation.SAME_FUNCTION)

    def farther(self, nearest: float) -> "_Step":
        """Returns the step with the cost of its length, compared to that of the nearest possible parent."""
        doublings = math.log2(max(distance_of(self.found), NEAR) / max(nearest, NEAR))
        return replace(self, cost=self.cost + min(MOST_FARTHER, FARTHER * doublings))


def forest(
    names: Sequence[str], found: Mapping[tuple[str, str], Comparison], read: Callable[[str], Network]
) -> Lineage:
    """Chooses a parent for each network: the minimum spanning arborescence of the related pairs.

    Args:
        names: Names of all networks.
        found: Comparisons of related pairs, by names.
        read: Returns the network of a name; it is used to test for merges.
    """
    steps = _steps(found)
    steps |= _merges(found, steps, read)
    hubs = dict.fromkeys(names, 0)
    for child in names:
        costs = {parent: step.cost for (parent, other), step in steps.items() if other == child}
        if costs:
            hubs[min(costs, key=costs.__getitem__)] += 1
    less = {name: HUB * math.log2(1 + count) for name, count in hubs.items()}
    start = object()  # the parent of all roots
    graph = nx.DiGraph()
    graph.add_edges_from((start, name, {"cost": NEW_ROOT - 5 * less[name]}) for name in names)
    graph.add_edges_from((*pair, {"cost": step.cost - less[pair[0]]}) for pair, step in steps.items())
    tree = nx.minimum_spanning_arborescence(graph, attr="cost")
    edges = [_edge(*pair, steps[pair]) for pair in tree.edges if pair[0] is not start]
    order = {name: number for number, name in enumerate(names)}
    edges.sort(key=lambda edge: order[edge.child])
    twins = [pair for pair, one in found.items() if one.relation is Relation.SAME_START]
    return Lineage(tuple(names), tuple(edges), tuple(sorted(twins)))


def _steps(found: Mapping[tuple[str, str], Comparison]) -> dict[tuple[str, str], _Step]:
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
            cost = COSTS[one.relation] + (REVERSED if confidence == 0 else -DOUBT * math.log2(2 * confidence))
            if parent in marked:
                cost += SIBLING if child in marked else UNMARKED
            if one.aligned:
                cost += ALIGNED
            steps[parent, child] = _Step(one, cost, confidence)
    nearest: dict[str, float] = {}
    for (_, child), step in steps.items():
        if not step.is_told:
            nearest[child] = min(nearest.get(child, math.inf), distance_of(step.found))
    return {pair: step if step.is_told else step.farther(nearest[pair[1]]) for pair, step in steps.items()}


def _merges(
    found: Mapping[tuple[str, str], Comparison],
    steps: Mapping[tuple[str, str], _Step],
    read: Callable[[str], Network],
) -> dict[tuple[str, str], _Step]:
    """Returns steps from both parents to each network that is a weighted mean of two others."""
    near: dict[str, set[str]] = {}
    for pair, one in found.items():
        if one.relation in (Relation.FINE_TUNE, Relation.SAME_START) and not one.aligned:
            for name, other in (pair, pair[::-1]):
                near.setdefault(name, set()).add(other)
    samples = {name: _sample(read(name)) for name, others in near.items() if len(others) > 1}
    merges = {}
    for child, others in near.items():
        for one, other in combinations(sorted(others & samples.keys()), 2):
            if child not in samples or not _is_between(samples[child], samples[one], samples[other]):
                continue
            merge = merged_from(read(child), read(one), read(other))
            if merge is None:
                continue
            for (parent, rest), weight in zip(((one, other), (other, one)), merge.weights[::-1], strict=True):
                step = steps.get((parent, child))
                if step is not None:  # twins give no step
                    cost = COSTS[Relation.MERGE] + SIBLING * weight
                    merges[parent, child] = _Step(step.found, cost, 1.0, (rest, weight))
                back = steps.get((child, parent))
                if back is not None:
                    merges[child, parent] = _Step(back.found, back.cost + REVERSED, 0.0)
    return merges


def _sample(network: Network) -> np.ndarray:
    """Returns some weights of a network, the same ones for networks of one layout."""
    values, left = [], MOST_SAMPLED
    for _, part in network.parts():
        if left <= 0:
            break
        rows, columns, kernel = part.arranged_shape
        height = max(1, min(rows, left // max(1, columns * kernel)))
        values.append(network.read_sample(part, torch.arange(height), None).flatten()[:left].double().numpy())
        left -= len(values[-1])
    return np.concatenate(values)


def _is_between(child: np.ndarray, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether weights lie on the line between those of two others."""
    if not len(child) == len(one) == len(other):
        return False
    line = other - one
    length = float(line @ line)
    if length == 0:
        return False
    weight = float((child - one) @ line) / length
    rest = child - one - weight * line
    return 0 < weight < 1 and float(rest @ rest) <= COLLINEAR * length


def _edge(parent: str, child: str, step: _Step) -> Edge:
    relation = step.found.relation if step.merge is None else Relation.MERGE
    return Edge(parent, child, relation, step.found.p_value, distance_of(step.found), step.confidence, step.merge)
