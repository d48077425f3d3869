"""The forest of parents and children among many networks."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import networkx as nx
import numpy as np

from sne.errors import SneError
from sne.networks import Network
from sne.provenance.comparison import Comparison, compare
from sne.provenance.entries import entries, read_entry
from sne.provenance.fingerprint import Fingerprint, fingerprint
from sne.provenance.merging import Merge, merged_from
from sne.provenance.relation import Relation

NEAREST = 8
"""Number of networks near the sketch, and near the chain, that each network is compared with."""

MOST_KEPT = 64
"""Largest number of small networks that stay in memory between comparisons."""

COSTS: Mapping[Relation, float] = {
    Relation.IDENTICAL: 0.001,
    Relation.SAME_FUNCTION: 0.01,
    Relation.PRECISION: 0.02,
    Relation.PRUNED: 0.03,
    Relation.LOW_RANK: 0.04,
    Relation.PARTIAL: 0.05,
    Relation.FINE_TUNE: 0.06,
}
"""Cost of one step of each relation: simple operations are likelier than training."""

EXACT = (Relation.IDENTICAL, Relation.SAME_FUNCTION, Relation.PRECISION, Relation.PRUNED, Relation.LOW_RANK)
"""Relations that follow from the values, so that the size of the change does not count."""

MADE = (Relation.PRECISION, Relation.PRUNED, Relation.LOW_RANK)
"""Relations whose child bears the mark of an operation."""

MARKED = 0.005
"""Further cost of a parent that bears such a mark: of several levels of pruning, each was made from the original."""

REVERSED = 0.5
"""Cost of a step against a direction that follows from the values, and factor of doubt for other directions."""

NEW_ROOT = 2.0
"""Cost of a further root; larger than that of any step between related networks."""

HUB = 0.02
"""By how much less a root costs for each doubling of its number of relatives."""


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


def forest(
    names: Sequence[str], found: Mapping[tuple[str, str], Comparison], read: Callable[[str], Network]
) -> Lineage:
    """Chooses a parent for each network: the minimum spanning arborescence of the related pairs.

    Args:
        names: Names of all networks.
        found: Comparisons of related pairs, by names.
        read: Returns the network of a name; it is used to test for merges.
    """
    steps = {pair: one for pair, one in found.items() if one.relation in COSTS}
    marked = {child for pair, one in steps.items() if (child := _child_of(pair, one)) and one.relation in MADE}
    graph = nx.DiGraph()
    degree = dict.fromkeys(names, 0)
    for pair, one in steps.items():
        degree[pair[0]] += 1
        degree[pair[1]] += 1
        for parent, child in (pair, pair[::-1]):
            graph.add_edge(parent, child, cost=_cost(parent, child, pair, one, parent in marked))
    start = object()  # the parent of all roots
    for name in names:
        graph.add_edge(start, name, cost=NEW_ROOT - HUB * math.log2(1 + degree[name]))
    tree = nx.minimum_spanning_arborescence(graph, attr="cost")
    edges = []
    for parent, child in tree.edges:
        if parent is not start:
            one = found.get((parent, child)) or found[child, parent]
            edges.append(_edge(parent, child, one, found, read))
    order = {name: number for number, name in enumerate(names)}
    edges.sort(key=lambda edge: order[edge.child])
    kin = {frozenset((edge.parent, edge.child)) for edge in edges}
    twins = [pair for pair, one in found.items() if one.relation is Relation.SAME_START and frozenset(pair) not in kin]
    return Lineage(tuple(names), tuple(edges), tuple(sorted(twins)))


def _child_of(pair: tuple[str, str], found: Comparison) -> str | None:
    return {"second from first": pair[1], "first from second": pair[0], None: None}[found.direction]


def _cost(parent: str, child: str, pair: tuple[str, str], found: Comparison, is_marked: bool) -> float:
    """Returns the cost of a step from parent to child."""
    cost = COSTS[found.relation] + MARKED * is_marked
    if found.relation not in EXACT or found.direction is None:
        cost += distance_of(found)
    if "units moved" in found.aligned:
        cost += MARKED
    made = _child_of(pair, found)
    if made is not None:
        agrees = found.confidence if made == child else 1 - found.confidence
        cost += REVERSED if agrees == 0 else -0.05 * math.log2(agrees)
    return cost


def _edge(
    parent: str,
    child: str,
    one: Comparison,
    found: Mapping[tuple[str, str], Comparison],
    read: Callable[[str], Network],
) -> Edge:
    merge = _merge(parent, child, found, read) if one.relation is Relation.FINE_TUNE else None
    if merge is not None:
        other, weights = merge
        return Edge(parent, child, Relation.MERGE, one.p_value, distance_of(one), 1.0, (other, weights.weights[1]))
    pair = (parent, child) if (parent, child) in found else (child, parent)
    made = _child_of(pair, one)
    confidence = 0.5 if made is None else one.confidence if made == child else 1 - one.confidence
    return Edge(parent, child, one.relation, one.p_value, distance_of(one), confidence)


def _merge(
    parent: str, child: str, found: Mapping[tuple[str, str], Comparison], read: Callable[[str], Network]
) -> tuple[str, Merge] | None:
    """Returns the second parent of a merge, among the relatives of the child."""
    for pair, one in found.items():
        if child in pair and parent not in pair and one.relation in (Relation.FINE_TUNE, Relation.SAME_START):
            other = pair[0] if pair[1] == child else pair[1]
            merge = merged_from(read(child), read(parent), read(other))
            if merge is not None:
                return other, merge
    return None
