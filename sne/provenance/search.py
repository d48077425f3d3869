"""Search: the relatives of a network in an index."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sne.errors import SneError, reason_of
from sne.networks import Network
from sne.predictors import Predictor
from sne.provenance.comparison import Comparison, relative
from sne.provenance.entries import full_path, read_entry, stamp_of
from sne.provenance.fingerprint import fingerprint
from sne.provenance.index import Index
from sne.provenance.relation import SIGNIFICANT, Relation
from sne.provenance.unmerged import find_adapter

CANDIDATES = 20
"""Least number of networks near the sketch, and near the chain, that are compared one by one."""

EXACT_KINDS = (
    Relation.IDENTICAL,
    Relation.SAME_FUNCTION,
    Relation.PRECISION,
    Relation.PRUNED,
    Relation.LOW_RANK,
)


@dataclass(frozen=True)
class Hit:
    """A relative of a network in an index.

    Args:
        path: Path of the relative.
        rank: Place in the order of relatives, from 1.
        relation: What the two are to each other; None where properties were searched.
        p_value: Probability of such an agreement with any network of the index, if all were independent; None where
            none can be given.
        direction: "relative from file" or "file from relative"; None if unknown.
        score: Cosine of the sketches, or of the embeddings where properties were searched.
    """

    path: str
    rank: int
    relation: Relation | None
    p_value: float | None
    direction: str | None
    score: float


def search(
    network: Network,
    index: Index,
    *,
    most: int = 10,
    where: str | None = None,
    warn: Callable[[str], None],
) -> list[Hit]:
    """Finds the relatives of a network in an index.

    The networks that are nearest by fingerprint, or that have most marks in common, are compared with it one by one
    (`sne.compare`). p-values are multiplied by the number of networks in the index, because each of them could have
    agreed by chance.

    Args:
        network: The network.
        index: The index.
        most: Largest number of relatives.
        where: Condition on the columns of the index, in SQL.
        warn: Called with one line for every candidate that has moved, changed or cannot be read; and if the network is
            an adapter, of which only other adapters are relatives.

    Returns:
        Relatives, closest first; none where nothing in the index is related.

    Raises:
        ProvenanceError: The condition cannot be understood.
    """
    found, itself = fingerprint(network), _entries_of(network)
    if (adapter := find_adapter(network)) is not None:
        warn(
            f"{network.name}: {adapter}; its base is not sought. Search for the relatives of the merged network instead"
        )
    count = max(CANDIDATES, 2 * most)
    scores: dict[str, float] = {}
    stamps: dict[str, str] = {}
    near = index.nearest(found.sketch, "sketch", count, where)
    farther = [*index.same_content(found.content, where), *index.nearest(found.chain, "chain", count, where)]
    for row in (*near, *farther, *index.sharing(found.marks, count, where)):
        scores.setdefault(row["path"], 0.0)
        stamps[row["path"]] = row["stamp"]
    for row in near:
        scores[row["path"]] = 1 - row["_distance"]
    hits: list[tuple[tuple[int, float], Hit]] = []
    num_networks = len(index)
    for path, score in scores.items():
        if path in itself:
            continue
        comparison = compare_known(network, path, stamps[path], warn)
        if comparison is None:
            continue
        corrected = comparison.p_value
        if corrected is not None:
            corrected = min(1.0, corrected * num_networks)
        if _is_only_by_chance(comparison, corrected):
            continue
        direction = {"second from first": "relative from file", "first from second": "file from relative"}
        hit = Hit(path, 0, comparison.relation, corrected, direction.get(comparison.direction or ""), score)
        hits.append((_closeness(comparison), hit))
    hits.sort(key=lambda pair: (pair[0], pair[1].path))
    return [replace(hit, rank=rank) for rank, (_, hit) in enumerate(hits[:most], 1)]


def _entries_of(network: Network) -> set[str]:
    """Returns the paths under which an index may have a network itself: its name, its file, or the folder of that."""
    file = full_path(network.source.name)
    return {full_path(network.name), file, os.path.dirname(file)}  # noqa: PTH120 (an address may stand there)


def _closeness(found: Comparison) -> tuple[int, float]:
    """Orders relatives: operations that the values show in the order of their kinds, then the others by distance."""
    return (EXACT_KINDS.index(found.relation) if found.is_exact else len(EXACT_KINDS)), found.distance


def _is_only_by_chance(found: Comparison, corrected: float | None) -> bool:
    """Whether a relation rests on a p-value that is not significant among so many candidates."""
    rests_on_units = found.relation in (Relation.FINE_TUNE, Relation.SAME_START) or (
        found.relation is Relation.PRUNED and not found.is_exact
    )
    return rests_on_units and corrected is not None and corrected > SIGNIFICANT


def compare_known(network: Network, path: str, mark: str, warn: Callable[[str], None]) -> Comparison | None:
    """Compares a network with one of an index.

    Args:
        network: The network.
        path: Path of the row of the other one.
        mark: Stamp of its row.
        warn: Called with one line if it has moved, has changed or cannot be read.

    Returns:
        What the other one is to the network; None if they are not related, or if it cannot be read.
    """
    other = read_known(path, mark, warn)
    try:
        return None if other is None else relative(network, other)
    except (SneError, OSError) as error:
        warn(f"{path}: {reason_of(error)}")
        return None


def read_known(path: str, mark: str, warn: Callable[[str], None]) -> Network | None:
    """Reads a network of an index.

    Args:
        path: Path of its row.
        mark: Stamp of its row.
        warn: Called with one line if it has moved, has changed or cannot be read.

    Returns:
        The network; None if it cannot be read.
    """
    try:
        now = stamp_of(path)
        if not now:
            warn(f"{path}: in the index, but not there any more; run sne index again")
            return None
        if now != mark:
            warn(f"{path}: changed since it was indexed; run sne index again")
        return read_entry(path)
    except (SneError, OSError) as error:
        warn(f"{path}: {reason_of(error)}")
        return None


def search_properties(
    network: Network, index: Index, predictor: Predictor, *, most: int = 10, where: str | None = None
) -> list[Hit]:
    """Finds the networks of an index whose embeddings are most alike, related or not."""
    embedding: np.ndarray = predictor.encode([network])[0]
    rows = index.nearest(embedding, "embedding", most + 1, where)
    itself = _entries_of(network)
    rows = [row for row in rows if row["path"] not in itself][:most]
    return [Hit(row["path"], rank, None, None, None, 1 - row["_distance"]) for rank, row in enumerate(rows, 1)]
