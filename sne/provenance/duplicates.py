"""Duplicates in an index: networks of equal values, and copies that compute the same function."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sne.provenance.index import Index
from sne.provenance.relation import Relation
from sne.provenance.search import compare_known, read_known

NEAR = 5e-4
"""Largest distance of the chains of copies, as a share of their length: chains are stored in half precision."""

DIRECTIONS = 8
"""Number of directions along which chains are compared first."""

MOST_SAMPLED = 2000
"""Number of chains from which the directions are chosen."""

MOST_COMPARED = 20
"""Largest number of networks that are compared with one network without being copies of it."""


@dataclass(frozen=True)
class Duplicate:
    """One of a group of networks that compute the same function.

    Args:
        path: Path of the network.
        relation: What it is to the first network of the group: identical or same function; None for the first one.
    """

    path: str
    relation: Relation | None


def duplicates(
    index: Index, *, warn: Callable[[str], None], on_progress: Callable[[int, int], None] | None = None
) -> list[list[Duplicate]]:
    """Finds the groups of networks that are copies of each other, whatever their names, formats and order of units.

    Networks of equal values are known from the index. Networks of one layout whose chains are equal up to rounding are
    compared (`sne.compare`), which tells copies whose units were permuted, rescaled or flipped.

    Args:
        index: The index.
        warn: Called with one line for every network that has moved, changed or cannot be read.
        on_progress: Called with the number of pairs that have been judged and their number.

    Returns:
        Groups of two networks or more, each in the order of paths.

    Raises:
        ProvenanceError: The table is damaged.
    """
    rows = index.rows(["path", "stamp", "content", "layout", "chain"])
    if not len(rows):
        return []
    rows = rows.sort_by("path")
    paths, stamps, layouts = (rows[name].to_pylist() for name in ("path", "stamp", "layout"))
    equal: dict[str, list[int]] = {}
    for row, content in enumerate(rows["content"].to_pylist()):
        equal.setdefault(content, []).append(row)
    by_layout: dict[str, list[int]] = {}
    for same in equal.values():
        by_layout.setdefault(layouts[same[0]], []).append(same[0])
    chains = rows["chain"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    pairs = [pair for some in by_layout.values() for pair in _near_pairs(chains, np.array(some))]
    copies = _Copies(paths, stamps, warn)
    for number, (one, other) in enumerate(pairs):
        copies.judge(one, other)
        if on_progress is not None:
            on_progress(number + 1, len(pairs))
    groups: dict[int, list[tuple[int, bool]]] = {}
    for same in equal.values():
        first = copies.first_of(same[0])
        groups.setdefault(first, []).extend((row, same[0] == first) for row in same)
    return [
        [
            Duplicate(paths[row], None if row == first else Relation.IDENTICAL if is_equal else Relation.SAME_FUNCTION)
            for row, is_equal in sorted(members)
        ]
        for first, members in sorted(groups.items())
        if len(members) > 1
    ]


class _Copies:
    """Groups of copies, which are known by their first row.

    Args:
        paths: Path of each row.
        stamps: Stamp of each row.
        warn: As for `duplicates`.
    """

    def __init__(self, paths: Sequence[str], stamps: Sequence[str], warn: Callable[[str], None]) -> None:
        self._paths, self._stamps = paths, stamps
        self._warn = warn
        self._first: dict[int, int] = {}
        self._failed: Counter[int] = Counter()

    def first_of(self, row: int) -> int:
        """Returns the first row of a row's group."""
        while row in self._first:
            row = self._first[row]
        return row

    def judge(self, one: int, other: int) -> None:
        """Compares two rows, unless they are known to be in one group; joins their groups if they are copies."""
        first, second = sorted((self.first_of(one), self.first_of(other)))
        if first == second or max(self._failed[one], self._failed[other]) >= MOST_COMPARED:
            return
        network = read_known(self._paths[one], self._stamps[one], self._warn)
        if network is None:
            return
        found = compare_known(network, self._paths[other], self._stamps[other], self._warn)
        if found is not None and found.relation in (Relation.IDENTICAL, Relation.SAME_FUNCTION):
            self._first[second] = first
        else:
            self._failed.update((one, other))


def _near_pairs(chains: Float[np.ndarray, "rows chain"], rows: Int[np.ndarray, " some"]) -> Iterator[tuple[int, int]]:
    """Yields the pairs of rows whose chains are equal up to rounding.

    Rows are sorted along the direction in which chains differ most, and each is compared with those that follow until
    they are too far along that direction.
    """
    chains = chains[rows].astype(np.float32)
    lengths = np.linalg.norm(chains, axis=1)
    chains, rows, lengths = (values[lengths > 0] for values in (chains, rows, lengths))  # no matrices, no chain
    if len(rows) < 2:
        return
    sample = chains[:: -(-len(chains) // MOST_SAMPLED)]
    directions = np.linalg.svd(sample - sample.mean(0), full_matrices=False)[2][:DIRECTIONS]
    along = chains @ directions.T
    order = np.argsort(along[:, 0], kind="stable")
    chains, rows, along, limits = chains[order], rows[order], along[order], NEAR * lengths[order]
    here = np.arange(len(rows) - 1)
    for step in range(1, len(rows)):
        here = here[here + step < len(rows)]
        here = here[along[here + step, 0] - along[here, 0] <= limits[here]]
        if not len(here):
            return
        near = here[(np.abs(along[here + step] - along[here]) <= limits[here, None]).all(1)]
        near = near[np.linalg.norm(chains[near + step] - chains[near], axis=1) <= limits[near]]
        yield from zip(rows[near].tolist(), rows[near + step].tolist(), strict=True)
