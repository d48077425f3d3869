"""The lineage of many networks: which was made from which."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

import networkx as nx
import numpy as np
from jaxtyping import Float

from sne.errors import ProvenanceError
from sne.networks import Network
from sne.provenance.comparison import relative
from sne.provenance.entries import entries, read_entry, stamp_of
from sne.provenance.fingerprint import LEAST_MARKS, Fingerprint, fingerprint
from sne.provenance.forest import Edge, ancestors, forest, parents_of
from sne.provenance.relation import Relation
from sne.provenance.steps import Kinship, Names, hubs_of, possible_steps
from sne.work import Answer, Executor, InThisProcess

NEAREST = 8
"""Number of networks near the sketch, and near the chain, that each network is compared with."""

MOST_SHARING = 16
"""Largest number of networks of other layouts that are looked at for each mark."""

MOST_HUBS = 3
"""Number of networks of each family that all its members are compared with."""

MOST_OPEN = 64
"""Largest number of networks that stay open between comparisons."""


MOST_DISTANCES = 10_000_000
"""Largest number of distances of fingerprints that are in memory at a time."""

MOST_NETWORKS = 20_000
"""Largest number of networks whose lineage is sought."""


@dataclass(frozen=True)
class Lineage:
    """Parents and children among networks.

    Args:
        networks: Names of all networks.
        edges: One per network that has a parent among the others.
        twins: Pairs of networks that were compared, started from the same weights, and neither of which is the other's
            ancestor: named `same initialisation`, or trained equally far.
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

    @cached_property
    def _by_parent(self) -> dict[str, list[Edge]]:
        found: dict[str, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.parent, []).append(edge)
        return found

    def children(self, name: str) -> list[Edge]:
        """Returns the edges from a network to its children."""
        return self._by_parent.get(name, [])

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

    def to_mermaid(self) -> str:
        """Returns a flow chart in the language of Mermaid, which Markdown viewers draw.

        Example:
            >>> found = Lineage(("a", "b"), (Edge("a", "b", Relation.PRUNED, None, 0.1, 1.0),), ())
            >>> print(found.to_mermaid(), end="")
            flowchart TD
                n0["a"]
                n1["b"]
                n0 -->|"pruned"| n1
        """
        numbers = {name: f"n{number}" for number, name in enumerate(self.networks)}
        lines = [f'    {numbers[name]}["{_plain(name)}"]' for name in self.networks]
        for one, other, relation in self.to_graph().edges(data="relation"):
            lines.append(f'    {numbers[one]} -->|"{relation}"| {numbers[other]}')
        return "\n".join(["flowchart TD", *lines]) + "\n"

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


def _plain(name: str) -> str:
    """Returns a name with the characters that have a meaning in labels of Mermaid as numbers."""
    return "".join(char if char.isprintable() and char not in '#&"<>`' else f"#{ord(char)};" for char in name)


def lineage(
    sources: Iterable[str],
    *,
    errors: Callable[[str, Exception], None],
    executor: Executor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Lineage:
    """Finds parents and children among checkpoints and the networks of zoos.

    Networks that are near each other by fingerprint are compared (`sne.compare`). Related ones form a graph, in which a
    step costs more the less likely it is. The forest is the one of least total cost.

    Args:
        sources: Paths of checkpoints, folders of zoos, and paths of networks of zoos.
        errors: Called with name and error of every network that cannot be read; it is left out.
        executor: What reads and compares networks; this process if None.
        on_progress: Called with the number of steps done and their number, first of fingerprints, then of comparisons.

    Returns:
        The forest.

    Raises:
        WorkError: No worker can be started or reached.
        ProvenanceError: There are more than `MOST_NETWORKS` networks.

    Source: Horwitz et al., "Unsupervised Model Tree Heritage Recovery", arXiv 2405.18432: a minimum directed spanning
        tree over distances of weights, with directions from a statistic.
    Differs: only related networks are joined, so that the result is a forest; relations and directions are those of
        `sne.compare`, exact where the values tell; copies with permuted and rescaled units; merges.
    """
    names = list(entries(sources))
    _check_number(names)
    prints: dict[str, Fingerprint] = {}
    for answer in _done(executor, _fingerprint, names, errors, on_progress):
        prints[answer.item] = answer.result
    return lineage_of(
        {name: prints[name] for name in names if name in prints},
        errors=errors,
        executor=executor,
        on_progress=on_progress,
    )


def lineage_of(
    prints: Mapping[str, Fingerprint],
    *,
    errors: Callable[[str, Exception], None],
    executor: Executor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Lineage:
    """Finds parents and children among networks whose fingerprints are known.

    Args:
        prints: Fingerprints by path.
        errors: Called with path and error of every network that cannot be read; it is left out.
        executor: What reads and compares networks; this process if None.
        on_progress: Called with the number of comparisons done and their number.

    Raises:
        ProvenanceError: There are more than `MOST_NETWORKS` networks.
    """
    names = list(prints)
    _check_number(names)
    found: dict[Names, Kinship] = {}
    failed: set[str] = set()

    def fail(path: str, error: Exception) -> None:
        if path not in failed:
            errors(path, error)
        failed.add(path)

    def add(pairs: Sequence[Names]) -> None:
        for answer in _done(executor, _compared, pairs, fail, on_progress):
            if answer.result is not None:
                found[answer.item] = answer.result

    near = [(names[one], names[other]) for one, other in _near_pairs([prints[name] for name in names])]
    add(near)
    add(_pairs_with_hubs(names, found, set(near)))
    names = [name for name in names if name not in failed]
    ordered = {pair: found[pair] for pair in sorted(found) if not failed & set(pair)}
    whole = Lineage(tuple(names), tuple(forest(names, ordered, _open)), ())
    above = parents_of(whole.edges)
    twins = [
        pair
        for pair, one in ordered.items()
        if (one.relation is Relation.SAME_START or one.is_even)
        and pair[0] not in ancestors(pair[1], above)
        and pair[1] not in ancestors(pair[0], above)
    ]
    return replace(whole, twins=tuple(twins))


def _check_number(names: Sequence[str]) -> None:
    if len(names) > MOST_NETWORKS:
        raise ProvenanceError(
            f"{len(names):,} networks, expected at most {MOST_NETWORKS:,}; sne search finds the relatives of one "
            "network in an index of any size"
        )


def _done(
    executor: Executor | None,
    function: Callable[..., Any],
    items: Sequence[Any],
    errors: Callable[[str, Exception], None],
    on_progress: Callable[[int, int], None] | None,
) -> Iterator[Answer[Any]]:
    """Yields the answers with a result, and reports the others."""
    for number, answer in enumerate((executor or InThisProcess()).run(function, items), 1):
        if answer.failure is None:
            yield answer
        else:
            paths = [answer.item] if isinstance(answer.item, str) else list(answer.item)
            gone = next((path for path in paths if not stamp_of(path)), None)
            guilty = gone or next((path for path in paths if path in answer.failure.reason), paths[0])
            errors(guilty, answer.failure.error or ProvenanceError(answer.failure.reason))
        if on_progress is not None:
            on_progress(number, len(items))


def _fingerprint(path: str) -> Fingerprint:
    return fingerprint(read_entry(path))


def _compared(pair: Names) -> Kinship | None:
    """Compares two networks; None if they are not related."""
    found = relative(_open(pair[0]), _open(pair[1]))
    return None if found is None else Kinship.of(found)


def _open(path: str) -> Network:
    return _opened(path, stamp_of(path))


@lru_cache(maxsize=MOST_OPEN)
def _opened(path: str, mark: str) -> Network:
    """Opens a network; `mark` makes a changed file another one."""
    return read_entry(path)


def _pairs_with_hubs(names: Sequence[str], found: Mapping[Names, Kinship], done: set[Names]) -> list[Names]:
    """Returns further pairs: each network with those of its relatives that most others may have been made from."""
    graph = nx.Graph()
    graph.add_edges_from(found)
    order = {name: number for number, name in enumerate(names)}
    hubs = hubs_of(possible_steps(found))
    pairs = set()
    for relatives in nx.connected_components(graph):
        for hub in sorted(relatives, key=lambda name: (-hubs[name], order[name]))[:MOST_HUBS]:
            for name in relatives - {hub}:
                first, second = sorted((hub, name), key=order.__getitem__)
                pairs.add((first, second))
    return sorted(pairs - done)


def _near_pairs(prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Returns the pairs of networks that are compared, each with the nearest others by sketch and by chain."""
    count = min(NEAREST, len(prints) - 1)
    if count < 1:
        return []
    pairs = set()
    for is_cosine, vectors in ((True, [found.sketch for found in prints]), (False, [found.chain for found in prints])):
        for one, others in enumerate(_nearest(np.stack(vectors), count, is_cosine=is_cosine)):
            pairs.update((min(one, other), max(one, other)) for other in others)
    pairs.update(_sharing_pairs(prints))
    contents: dict[str, list[int]] = {}
    for number, found in enumerate(prints):
        contents.setdefault(found.content, []).append(number)
    for same in contents.values():
        pairs.update((same[0], other) for other in same[1:])
    return sorted(pairs)


def _sharing_pairs(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Yields the pairs of networks of other layouts that have most marks in common, a few per network."""
    having: dict[int, list[int]] = {}
    for number, found in enumerate(prints):
        for mark in found.marks[found.marks != 0].tolist():
            having.setdefault(mark, []).append(number)
    for number, found in enumerate(prints):
        shared: Counter[int] = Counter()
        for mark in found.marks[found.marks != 0].tolist():
            others = (other for other in having[mark] if prints[other].layout != found.layout)
            shared.update(islice(others, MOST_SHARING))
        for other, count in shared.most_common(NEAREST):
            if count >= LEAST_MARKS:
                yield min(number, other), max(number, other)


def _nearest(vectors: Float[np.ndarray, "rows numbers"], count: int, *, is_cosine: bool) -> Iterator[list[int]]:
    """Yields the nearest other rows of each row, in blocks of rows, so that the distances fit in memory."""
    squares = np.zeros(len(vectors), np.float32) if is_cosine else np.square(vectors).sum(1)
    height = max(1, MOST_DISTANCES // len(vectors))
    for start in range(0, len(vectors), height):
        some = vectors[start : start + height]
        distances = squares - (1 if is_cosine else 2) * (some @ vectors.T)
        distances[np.arange(len(some)), start + np.arange(len(some))] = np.inf
        rows = np.argpartition(distances, count - 1, axis=1)[:, :count]
        yield from rows.tolist()
