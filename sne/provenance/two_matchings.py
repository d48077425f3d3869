"""Do units match by their incoming weights as they match by their outgoing ones? The test of units in any order."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from jaxtyping import Bool, Float, Int
from scipy.special import pdtr
from torch import Tensor

from sne.provenance.alignment import align_signs, move_units
from sne.provenance.fixed_points import Agreement
from sne.provenance.units import (
    MOST_ASSIGNED,
    Block,
    UnitGroup,
    Units,
    best_match,
    features,
    matrix_rows,
    own_features,
    similarity,
)
from sne.symmetry.symmetry import Span

MOST_GROUPS = 3
"""Largest number of groups of units that are tested in any order in networks of many units: the largest ones and, of
equally large ones, those that are matched first from the outputs back."""

MOST_ROWS = 256
"""Largest number of units of the first network by which the resemblance of the two sides is measured."""

CHANCE = 3.0
"""Correlations up to so many standard deviations of independent values are taken for chance."""

PIECE = 256
"""Number of units whose similarities are copied at a time."""

EQUAL = 1e-6
"""Units are equal if sums of their similarities differ by at most this share of the range of all units."""

CHANCE_OF_FEWER = 0.99
"""Near misses of all groups count if random permutations have fewer with at least this probability."""

LEFT_OVER = 0.125
"""Share of the near misses that counts at least, once what one side foretells is removed."""


@dataclass(frozen=True)
class Side:
    """The units of two networks, described by what feeds them or by what reads them.

    Args:
        first: Tensors of the first network.
        second: Tensors of the second network, with the units on all other axes in the order of the first one.
        group: The units.
        spans: Where they are fed, or read.
        can_flip: Whether units may have other signs.
        seed: Seed of the order in which equal units are matched.
    """

    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    group: UnitGroup
    spans: Sequence[Span]
    can_flip: bool
    seed: int

    def blocks(self, without: Sequence[tuple[Tensor, Tensor]] = ()) -> list[Block]:
        """Returns the features of the units.

        Args:
            without: Directions that are removed from the features of each unit, for both networks (`matrix_rows`).
        """
        found = features(self.first, self.second, self.group, self.spans, without)
        return [replace(block, can_flip=block.can_flip and self.can_flip) for block in found]

    def matrices(self) -> list[tuple[Tensor, Tensor]]:
        """Returns the entries of the units of both networks in each matrix."""
        return matrix_rows(self.first, self.second, self.group, self.spans)

    def match(self, similar: Float[Tensor, "units units"]) -> Int[Tensor, " units"]:
        """Matches the units by their similarity."""
        return best_match(similar, self.seed)


@dataclass(frozen=True)
class _Matched:
    """A matching of units, and some rows of the similarities behind it.

    Args:
        match: The unit of the second network for each unit of the first one.
        rows: Similarities of some units of the first network (`_some_rows`) to all of the second one.
        single: Whether no other unit is equal, of these units of the first network and of all of the second one.
    """

    match: Int[Tensor, " units"]
    rows: Float[Tensor, "rows units"]
    single: tuple[Bool[Tensor, " rows"], Bool[Tensor, " units"]]


def agreements_in_any_order(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    units: Units,
    seed: int,
    *,
    can_flip: bool,
    has_many: bool,
) -> Iterator[Agreement]:
    """Matches units by incoming weights, going forward, and by outgoing weights, going back, and compares.

    The two matchings rest on different weights. In networks that map a space to itself, such as autoencoders, the
    incoming weights of a unit nevertheless foretell its outgoing ones, in independent networks, too. Units that neither
    matching joins show it. Where the similarities of these by the two sides are correlated beyond chance, what the
    incoming weights foretell is removed from the outgoing ones. As many agreements are expected (`Agreement.expected`)
    as there are near misses: pairs that are not joined and yet, of as many pairs as there are units, among the most
    similar by both sides. Descendants stay recognisable, because units of one network differ from each other.

    Args:
        first: Tensors of one network.
        second: Tensors of the other network.
        units: Their hidden units.
        seed: Seed of the order in which equal units are matched.
        can_flip: Whether units may have other signs.
        has_many: Whether at most `MOST_GROUPS` groups are tested.
    """
    read = [group.group.name for group, spans in units.in_order("reading") if spans[0] in group.reading]
    tested = [group.group.name for group, _ in units.in_order("feeding") if group.group.name in read]
    if has_many:
        sizes = {group.group.name: group.size for group in units.groups}
        tested = sorted(tested, key=lambda name: (-sizes[name], read.index(name)))[:MOST_GROUPS]

    def sides(side: str, names: Collection[str]) -> Iterator[tuple[str, Side, Sequence[Block]]]:
        first_seed = seed + 1000 * (side == "reading")
        return _sides(first, second, units, side, first_seed, names, can_flip=can_flip)

    forward = {name: _matched(side, blocks) for name, side, blocks in sides("feeding", tested)}
    backward = {name: _matched(side, blocks) for name, side, blocks in sides("reading", tested)}
    found = {name: _agreement(name, forward[name], backward[name]) for name in tested}
    foretold = [name for name in tested if _is_foretold(forward[name], backward[name])]
    # once more for these alone: to keep the similarities of all groups takes too much memory
    incoming = {name: (_own_similarity(blocks), side.matrices()) for name, side, blocks in sides("feeding", foretold)}
    for name, side, _ in sides("reading", foretold):
        similar, matrices = incoming.pop(name)
        left = _without_foretold(_own_similarity(side.blocks(matrices)), similar, forward[name].match, side)
        corrected = _agreement(name, forward[name], _with_rows(side.match(left), left))
        found[name] = Agreement(
            name,
            corrected.units,
            min(corrected.fixed, found[name].fixed),
            max(corrected.expected, LEFT_OVER * found[name].expected),
        )
    yield from _beyond_chance(found.values())


def _beyond_chance(agreements: Collection[Agreement]) -> Iterator[Agreement]:
    """Expects one agreement each, as in random permutations, unless near misses are more than chance explains."""
    total = sum(agreement.expected for agreement in agreements)
    is_chance = float(pdtr(ceil(total) - 1, len(agreements))) < CHANCE_OF_FEWER  # of a Poisson distribution
    for agreement in agreements:
        yield replace(agreement, expected=1.0 if is_chance else max(1.0, agreement.expected))


def _sides(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    units: Units,
    side: str,
    seed: int,
    names: Collection[str],
    *,
    can_flip: bool,
) -> Iterator[tuple[str, Side, Sequence[Block]]]:
    """Yields the groups of some names with their features, with the units of the groups before in a common order.

    A side has to be used before the next one is taken.
    """
    moved = dict(second)
    left = set(names)
    for number, (group, spans) in enumerate(units.in_order(side)):
        if not left:
            return
        here = Side(first, moved, group, spans, can_flip, seed + number)
        blocks = here.blocks()
        if group.group.name in left:
            yield group.group.name, here, blocks
            left.remove(group.group.name)
        move_units(moved, group.group, here.match(similarity(blocks)))
        if can_flip:
            align_signs(first, moved, group.group, spans)


def _own_similarity(blocks: Sequence[Block]) -> Float[Tensor, "units units"]:
    """Returns the similarity of each unit of one network to each of the other, by what goes beyond their types."""
    return similarity([own_features(block) for block in blocks])


def _matched(side: Side, blocks: Sequence[Block]) -> _Matched:
    similar = _own_similarity(blocks)
    return _with_rows(side.match(similar), similar)


def _with_rows(match: Int[Tensor, " units"], similar: Float[Tensor, "units units"]) -> _Matched:
    rows = _some_rows(len(similar))
    return _Matched(match, similar[rows].clone(), (_is_single(similar)[rows], _is_single(similar.T)))


def _is_single(similar: Float[Tensor, "units others"]) -> Bool[Tensor, " units"]:
    """Whether the similarities of a unit to the others differ from those of all units of its own network.

    Dead and repeated units are equal to each other: they are as similar to one unit as to another, whatever was
    learned.
    """
    weights = torch.randn(similar.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pieces = [piece.double() @ weights for piece in similar.split(PIECE)]  # a copy of all takes too much memory
    sums, order = torch.cat(pieces).sort()
    is_near = sums.diff() <= EQUAL * (sums[-1] - sums[0])
    single = torch.ones(len(similar), dtype=torch.bool)
    single[order[:-1][is_near]] = False
    single[order[1:][is_near]] = False
    return single


def _some_rows(size: int) -> Int[Tensor, " rows"]:
    """Returns at most `MOST_ROWS` units, at equal distances."""
    rows = min(size, MOST_ROWS)
    return torch.arange(rows) * size // rows


def _apart_rows(one: _Matched, other: _Matched) -> Bool[Tensor, "rows units"]:
    """Returns which units of one network, of some, and of the other neither matching joins, apart from equal ones."""
    rows = _some_rows(len(one.match))
    apart = _apart(len(rows), len(one.match), one.match[rows], other.match[rows])
    for matched in (one, other):
        apart &= matched.single[0][:, None] & matched.single[1]
    return apart


def _is_foretold(one: _Matched, other: _Matched) -> bool:
    """Whether similarities by the two sides are correlated beyond chance.

    Not of groups of more than `MOST_ASSIGNED` units, whose similarities would take too much memory until the other side
    is known; there only near misses are counted.
    """
    apart = _apart_rows(one, other)
    chance = CHANCE / apart.numel() ** 0.5
    return len(one.match) <= MOST_ASSIGNED and _correlation(one.rows[apart], other.rows[apart]) > chance


def _agreement(name: str, one: _Matched, other: _Matched) -> Agreement:
    """Compares two matchings of the units of a group."""
    size, rows = len(one.match), len(one.rows)
    apart = _apart_rows(one, other)
    nearest = [matched.rows[apart].topk(min(rows, int(apart.sum()))).indices for matched in (one, other)]
    near_misses = int(torch.isin(*nearest).sum()) * size / rows
    return Agreement(name, size, _num_fixed(one.match, other.match), near_misses)


def _num_fixed(one: Int[Tensor, " units"], other: Int[Tensor, " units"]) -> int:
    return int(((one == other) & (one >= 0)).sum())


def _apart(rows: int, size: int, *matches: Int[Tensor, " rows"]) -> Bool[Tensor, "rows size"]:
    """Returns which units of one network and of the other no matching joins."""
    apart = torch.ones(rows, size, dtype=torch.bool)
    for match in matches:
        joined = match >= 0
        apart[torch.arange(rows)[joined], match[joined]] = False
    return apart


def _correlation(one: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> float:
    if len(one) < 3:
        return 0.0
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / (one.norm() * other.norm()).clamp_min(1e-20))


def _without_foretold(
    similar: Float[Tensor, "units units"],
    foretelling: Float[Tensor, "units units"],
    match: Int[Tensor, " units"],
    side: Side,
) -> Float[Tensor, "units units"]:
    """Removes from similarities by one side what those by the other side foretell of units that are not matched."""
    size = len(similar)
    apart = _apart(size, size, match, side.match(similar))
    if int(apart.sum()) < 3:
        return similar
    given, values = foretelling[apart], similar[apart]
    given = given - given.mean()
    slope = float((given * values).sum() / given.square().sum().clamp_min(1e-20))
    return similar - max(slope, 0.0) * foretelling
