"""Which tensor of one network corresponds to which tensor of another: by name, by prefix, or by order."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

from sne.errors import counted
from sne.networks import LayerType, Network
from sne.provenance.blocks import Removed, removed_blocks, renumbered_pairs
from sne.provenance.places import Place, places_of

MOST_PREFIX = 4
"""Largest number of modules at the start of names that may differ between two networks."""

_TABLES_AND_MATRICES = (LayerType.EMBEDDING, LayerType.LINEAR, LayerType.POSITION, LayerType.OTHER)


class MatchedBy(StrEnum):
    """What made two parts a pair."""

    NAME = "name"
    PREFIX = "name without prefix"
    ORDER = "order of layers"
    BLOCK = "name in the block of equal values"
    SIZE = "name, with another number of rows or columns"


@dataclass(frozen=True)
class Pair:
    """Two parts that correspond to each other.

    Args:
        first: Part of the first network.
        second: Part of the second network.
        matched_by: What made them a pair.
    """

    first: Place
    second: Place
    matched_by: MatchedBy

    @property
    def is_whole(self) -> bool:
        """Whether both have the same size. Otherwise what both have is compared."""
        return self.first.shape == self.second.shape

    @property
    def size_difference(self) -> str:
        """The axes of different sizes, with both sizes, in words; empty if both have the same size."""
        axes = zip(("row", "column", "kernel position"), self.first.shape, self.second.shape, strict=True)
        sizes = [
            f"{counted(one, noun)} in the first, {other:,} in the second" for noun, one, other in axes if one != other
        ]
        return "; ".join(sizes)


@dataclass(frozen=True)
class Matching:
    """The pairs of two networks, and what has no counterpart.

    Args:
        pairs: Pairs in the order of the first network.
        only_first: Parts of the first network without a counterpart.
        only_second: Parts of the second network without a counterpart.
    """

    pairs: tuple[Pair, ...]
    only_first: tuple[Place, ...]
    only_second: tuple[Place, ...]

    @property
    def removed(self) -> Removed | None:
        """Blocks that one network has in addition to those that both have; None if that is not the difference."""
        return removed_blocks([(pair.first, pair.second) for pair in self.pairs], self.only_first, self.only_second)

    @property
    def share(self) -> float:
        """Share of the weights of the smaller network that have a counterpart."""
        matched = sum(min(pair.first.part.num_entries, pair.second.part.num_entries) for pair in self.pairs)
        sizes = [
            sum(place.part.num_entries for place in places)
            for places in (
                [*self.only_first, *(pair.first for pair in self.pairs)],
                [*self.only_second, *(pair.second for pair in self.pairs)],
            )
        ]
        return matched / max(1, min(sizes))


def match(first: Network, second: Network) -> Matching:
    """Finds the tensors of two networks that correspond to each other.

    Tensors are matched by name; then by name without the first modules of the path, as in "model.encoder.layer.0" and
    "encoder.layer.0"; then by type, role, size and the order of the layers, which finds renamed keys. What is left is
    matched by name if only one side differs, as in vocabularies that were cut or extended. Where one network has more
    blocks of a kind than the other, blocks are matched by their values first, because they may have new numbers.

    Args:
        first: A network.
        second: Another network.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> state = {"net.fc1.weight": torch.ones(4, 3), "net.fc2.weight": torch.ones(2, 4)}
        >>> renamed = {"body.weight": torch.ones(4, 3), "head.weight": torch.ones(2, 4)}
        >>> pairs = match(read_network(state), read_network(renamed)).pairs
        >>> [(pair.first.name, pair.second.name, pair.matched_by.value) for pair in pairs]
        [('net.fc1.weight', 'body.weight', 'order of layers'), ('net.fc2.weight', 'head.weight', 'order of layers')]
    """
    left, right = list(places_of(first)), list(places_of(second))
    pairs: list[Pair] = []

    def take(found: Iterator[tuple[Place, Place]], matched_by: MatchedBy) -> None:
        taken = [Pair(one, other, matched_by) for one, other in found]
        pairs.extend(taken)
        ids = {id(place) for pair in taken for place in (pair.first, pair.second)}
        left[:] = [place for place in left if id(place) not in ids]
        right[:] = [place for place in right if id(place) not in ids]

    if len(left) != len(right):
        take(renumbered_pairs(left, right, first, second), MatchedBy.BLOCK)
    cuts = _best_cuts(left, right)
    if cuts == (0, 0):
        take(_by_name(left, right, cuts), MatchedBy.NAME)
    else:
        take(_by_name(left, right, cuts), MatchedBy.PREFIX)
        take(_by_name(left, right, (0, 0)), MatchedBy.NAME)
    take(_by_order(left, right), MatchedBy.ORDER)
    take(_by_name_alone(left, right, cuts), MatchedBy.SIZE)
    order = {_key_of(place): number for number, place in enumerate(places_of(first))}
    pairs.sort(key=lambda pair: order[_key_of(pair.first)])
    return Matching(tuple(pairs), tuple(left), tuple(right))


def _key_of(place: Place) -> tuple[str, str, str, str]:
    return place.layer.name, place.part.tensor, place.part.label, place.part.role


def _cut(name: str, modules: int) -> str:
    """Returns a name without its first modules."""
    return ".".join(name.split(".")[modules:])


def _by_cut_name(places: Sequence[Place], modules: int) -> dict[str, Place]:
    """Returns the places whose shortened name occurs once, by that name."""
    names = [_cut(place.name, modules) for place in places]
    counts = Counter(names)
    return {name: place for name, place in zip(names, places, strict=True) if name and counts[name] == 1}


def _best_cuts(left: Sequence[Place], right: Sequence[Place]) -> tuple[int, int]:
    """Returns the numbers of modules without which most names agree; (0, 0) where no cut is better."""
    best, most = (0, 0), -1
    for total in range(MOST_PREFIX + 1):
        if most == min(len(left), len(right)):
            break  # no cut makes more names agree
        for cuts in ((total, 0), (0, total)) if total else ((0, 0),):
            found = sum(1 for _ in _by_name(left, right, cuts))
            if found > most:
                best, most = cuts, found
    return best


def _by_name(left: Sequence[Place], right: Sequence[Place], cuts: tuple[int, int]) -> Iterator[tuple[Place, Place]]:
    """Yields places of the same size and shortened name."""
    others = _by_cut_name(right, cuts[1])
    for name, place in _by_cut_name(left, cuts[0]).items():
        other = others.get(name)
        if other is not None and other.shape == place.shape and other.part.role == place.part.role:
            yield place, other


def _by_order(left: Sequence[Place], right: Sequence[Place]) -> Iterator[tuple[Place, Place]]:
    """Yields places of the same type, role and size in runs that follow one another in both networks."""
    keys = [[(place.layer.type, place.part.role, place.shape) for place in places] for places in (left, right)]
    for start, other, length in SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks():
        yield from zip(left[start : start + length], right[other : other + length], strict=True)


def _by_name_alone(
    left: Sequence[Place], right: Sequence[Place], cuts: tuple[int, int]
) -> Iterator[tuple[Place, Place]]:
    """Yields tables and matrices of the same name of which one side differs."""
    others = _by_cut_name(right, cuts[1])
    for name, place in _by_cut_name(left, cuts[0]).items():
        other = others.get(name)
        if other is None or place.layer.type not in _TABLES_AND_MATRICES or other.part.role != place.part.role:
            continue
        if sum(one != two for one, two in zip(place.shape, other.shape, strict=True)) == 1:
            yield place, other
