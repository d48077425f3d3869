"""What two corresponding tensors have in common: equal values, angles, zeros, levels, and the rank of the change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from sne.networks import LayerType, Network, Part, Role
from sne.provenance.changed_lines import ChangedLines
from sne.provenance.entry_sums import CASTS, EntrySums
from sne.provenance.lattice import find_levels, may_be_made_from
from sne.provenance.matching import Pair
from sne.provenance.patterns import (
    has_common_waves,
    has_diagonal,
    have_common_peaks,
    is_smooth,
    is_table,
    own_cosine,
)
from sne.provenance.places import Place, spaced
from sne.provenance.spectra import SIDE, SMALL_SIDE, low_rank, low_rank_child, rank_of_change, retained

BLOCK = 4_000_000
"""Largest number of entries of a tensor that are compared at a time."""

LINES = 64
"""Largest number of rows that are searched for levels."""

LONGEST = 4096
"""Largest number of entries of these rows; a row's scale follows from its largest entry, which has to be among them."""

LEAST_NEAR = 0.5
"""Least cosine of a tensor and its quantised version; levels are sought only above."""

LEAST_PRUNED = 0.05
"""Least share of entries that are zero in one network alone for the change to count as pruning, if these are in few
rows or columns."""

LEAST_LEFT = 0.005
"""Least share of entries that pruning leaves; a tensor that is zero was reset."""

LEAST_SHARED = 0.3
"""Least own cosine of matrices of which one is the other with a change of low rank."""

LEAST_COMMON = 0.5
"""Least cosine of two matrices that have a pattern in common."""

PROPORTIONAL = 1e-6
"""Largest distance of a cosine from 1 that is due to rounding."""

LEAST_FACTOR = 1e-3
"""Least relative change of a tensor that is a multiple of another one."""

_Corners: TypeAlias = tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]]
_Lines: TypeAlias = tuple[Float[Tensor, "lines entries"], Float[Tensor, "lines entries"]]
_STARTS = {Role.BIAS: 0.0, Role.RECURRENT_BIAS: 0.0, Role.SCALE: 1.0}


class Change(StrEnum):
    """The change between two corresponding tensors."""

    EQUAL = "equal"
    ROUNDED = "rounded"
    QUANTISED = "quantised"
    PRUNED = "pruned"
    LOW_RANK = "low rank"
    LINES = "some rows or columns"
    OTHER = "other"


@dataclass(frozen=True)
class Evidence:
    """What two corresponding tensors have in common.

    Args:
        pair: The tensors.
        entries: Number of entries that were compared.
        equal: Share of entries that are equal.
        cosine: Cosine of the angle between the two, as vectors; 0 if one of them is zero.
        relative_change: Norm of the difference over the norm of the first tensor.
        norms: Norms of both tensors.
        zeros: Shares of zeros in both tensors.
        pruned: Share of the entries that are zero in the second tensor alone, and in the first one alone.
        kept: Share of equal entries among those that are not zero in either tensor.
        change: Kind of the change.
        child: 1 if the second tensor was made from the first one by this change, -1 if the first one was made from the
            second one, 0 if that is not known or both were made from a third one, as where each has zeros that the
            other lacks.
        detail: Type of numbers ("float16", "int8", "nf4"), rank of the change ("rank 4"), or the rows or columns that
            changed, as they are stored ("row 7").
        rank: Number of singular values that hold 99% of the change's energy; 0 if there is no change, or no matrix.
        looks_random: Whether either tensor has many values that do not follow from their places, as initial and trained
            weights have, and unlike identities, constants and tables of waves.
        own_cosine: The cosine without what all entries of a row or a column have in common, and with large entries
            clipped; about 0 for independent tensors near the same constant or identity.
        pattern: What tells units apart before any training, in both tensors: "table" if they are the same table or near
            the same one, or equal and smooth, "diagonal" if a diagonal stands out, "peaks" if other entries of one size
            stand out at the same places; empty otherwise.
        retained: How much of the first tensor's largest singular directions is in the second one, and the reverse; 1
            where they are there in full. What a parent has learned is in its child, while twins that only start alike
            learn different things.
        moved: How far both tensors are from where training usually starts, which is zero for biases and one for the
            scales of norms; 0 for other tensors.
    """

    pair: Pair
    entries: int
    equal: float
    cosine: float
    relative_change: float
    norms: tuple[float, float]
    zeros: tuple[float, float]
    pruned: tuple[float, float]
    kept: float
    change: Change
    child: int = 0
    detail: str = ""
    rank: int = 0
    looks_random: tuple[bool, bool] = (True, True)
    own_cosine: float = 0.0
    pattern: str = ""
    retained: tuple[float, float] = (0.0, 0.0)
    moved: tuple[float, float] = (0.0, 0.0)

    @property
    def likeness(self) -> float:
        """The cosine, made smaller where the norms differ; 1 for equal tensors."""
        one, other = self.norms
        return self.cosine * (2 / (one / other + other / one)) if min(self.norms) > 0 else 0.0

    @property
    def is_multiple(self) -> bool:
        """Whether one tensor is a multiple of the other one, but for rounding, and not equal to it."""
        return self.cosine > 1 - PROPORTIONAL and self.relative_change > LEAST_FACTOR

    @property
    def differs_in_zeroed_lines(self) -> bool:
        """Whether the tensors differ in zeros alone, and these are in few rows or columns."""
        return self.change is Change.LINES and self.kept == 1

    @property
    def is_random(self) -> bool:
        """Whether these are weights and one has random values, so that what they share shows common descent."""
        is_weight = self.pair.first.layer.type not in (LayerType.POSITION, LayerType.OTHER)
        return is_weight and min(self.norms) > 0 and any(self.looks_random) and self.pattern != "table"

    @property
    def is_random_matrix(self) -> bool:
        """The same of matrices alone, which start from random values."""
        rows, columns, kernel = self.pair.first.shape
        return self.is_random and rows > 1 and columns * kernel > 1

    @property
    def norm_of_change(self) -> float:
        """Norm of the difference of both tensors."""
        return self.relative_change * self.norms[0] if self.norms[0] else self.norms[1]

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        pair, values = self.pair, {**vars(self)}
        del values["pair"], values["child"]
        return {
            "tensor": pair.first.name,
            "counterpart": pair.second.name,
            "matched_by": pair.matched_by.value,
            "type": pair.first.layer.type.value,
            "level": pair.first.layer.level,
            "shape": list(pair.first.shape),
            **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
        }


def compare_pair(first: Network, second: Network, pair: Pair) -> Evidence:
    """Compares two corresponding tensors of two networks, as they are stored.

    Large tensors pass by in pieces. Of tensors of different sizes, the first rows and columns are compared.

    Args:
        first: The first network.
        second: The second network.
        pair: The tensors.
    """
    parts = pair.first.part, pair.second.part
    if max(part.num_entries for part in parts) <= BLOCK or not (pair.is_whole and _is_alike(first, second, pair)):
        rows, columns, _ = map(min, zip(pair.first.shape, pair.second.shape, strict=True))
        one, other = (network.read(part) for network, part in zip((first, second), parts, strict=True))
        return compare_values(pair, one[:rows, :columns], other[:rows, :columns])
    sums, changed = EntrySums(), ChangedLines(pair.first.shape)
    for one, other in zip(first.read_blocks(parts[0], BLOCK), second.read_blocks(parts[1], BLOCK), strict=True):
        sums.add(one.values.reshape(-1), other.values.reshape(-1))
        changed.add(one.rows, one.columns, one.values, other.values)
    num_rows, num_columns, kernel = pair.first.shape
    corner = spaced(num_rows, SIDE), torch.arange(min(num_columns, max(1, SIDE // kernel)))
    lines = spaced(num_rows, LINES), torch.arange(min(num_columns, max(1, LONGEST // kernel)))
    samples = [
        network.read_sample(part, *where).flatten(1)
        for where in (corner, lines)
        for network, part in zip((first, second), parts, strict=True)
    ]
    corners = samples[0][:, :SIDE], samples[1][:, :SIDE]
    return _evidence(pair, sums, corners, (samples[2], samples[3]), changed)


def compare_values(pair: Pair, one: Float[Tensor, "out in kernel"], other: Float[Tensor, "out in kernel"]) -> Evidence:
    """Compares two corresponding tensors that are in memory."""
    sums, changed = EntrySums(), ChangedLines((one.shape[0], one.shape[1], one.shape[2]))
    flat = one.reshape(-1), other.reshape(-1)
    for start in range(0, one.numel(), BLOCK):
        sums.add(*(values[start : start + BLOCK] for values in flat))
    height = max(1, BLOCK // max(1, one[:1].numel()))
    for start in range(0, len(one), height) if sums.equal < sums.entries else ():
        rows = slice(start, start + height)
        changed.add(rows, slice(None), one[rows], other[rows])
    lines = [values[spaced(len(values), LINES)].flatten(1)[:, :LONGEST] for values in (one, other)]
    return _evidence(pair, sums, (_corner(one), _corner(other)), (lines[0], lines[1]), changed)


def _is_alike(first: Network, second: Network, pair: Pair) -> bool:
    """Whether both tensors are read in the same pieces: `read_blocks` cuts by the part and the stored shape."""
    one, other = pair.first.part, pair.second.part
    infos = first.source.infos[one.tensor], second.source.infos[other.tensor]
    return _cut_of(one) == _cut_of(other) and infos[0].shape == infos[1].shape


def _cut_of(part: Part) -> tuple[object, ...]:
    return part.shape, part.out_axis, part.in_axis, part.axis, part.start, part.run, part.step


def _corner(values: Float[Tensor, "out in kernel"]) -> Float[Tensor, "rows columns"]:
    """Returns at most `SIDE` rows at equal distances, with their first columns."""
    return values[spaced(len(values), SIDE), : max(1, SIDE // values.shape[2])].flatten(1)[:, :SIDE]


def _evidence(pair: Pair, sums: EntrySums, corners: _Corners, lines: _Lines, changed: ChangedLines) -> Evidence:
    """Makes the evidence from sums over all entries, and from samples of both: a corner, and some whole rows."""
    entries = max(1, sums.entries)
    norms = (sums.products[0] ** 0.5, sums.products[1] ** 0.5)
    found = {
        "pair": pair,
        "entries": sums.entries,
        "equal": sums.equal / entries,
        "cosine": sums.products[2] / (norms[0] * norms[1]) if min(norms) > 0 else 0.0,
        "relative_change": sums.difference**0.5 / norms[0] if norms[0] else float(sums.difference > 0),
        "norms": norms,
        "zeros": (sums.zeros[0] / entries, sums.zeros[1] / entries),
        "pruned": (sums.pruned[0] / entries, sums.pruned[1] / entries),
        "kept": sums.kept / max(1, sums.both),
    }
    is_equal = sums.equal == sums.entries
    some = corners[:1] if is_equal else corners
    kernel = _kernel(pair.first)
    tables = [is_table(values, kernel) for values in some]
    random = [not (is_one or is_smooth(values)) for is_one, values in zip(tables, some, strict=True)]
    found["looks_random"] = (random[0], random[-1])
    found["moved"] = (_moved(pair, corners[0]), _moved(pair, corners[1]))
    are_tables = not random[0] if is_equal else all(tables)
    found["pattern"] = _pattern(pair, some, are_tables, found["cosine"])
    if is_equal:
        return Evidence(**found, change=Change.EQUAL, retained=(1.0, 1.0), own_cosine=1.0)
    one, other = (sample.nan_to_num(0.0, 0.0, 0.0).double() for sample in corners)
    small = one[:SMALL_SIDE, :SMALL_SIDE], other[:SMALL_SIDE, :SMALL_SIDE]
    change = small[1] - small[0]
    sizes = torch.linalg.svdvals(change) if min(change.shape) > 1 else change.new_zeros(1)
    found |= {"rank": rank_of_change(sizes), "retained": (retained(*small), retained(small[1], small[0]))}
    found["own_cosine"] = own_cosine(*small)
    may_be_low = found["own_cosine"] >= LEAST_SHARED and not any(tables)
    return Evidence(**found, **_kind(sums, (one, other) if may_be_low else None, lines, changed.named(pair.first)))


def _kernel(place: Place) -> tuple[int, ...]:
    """Returns the sizes of the kernel of a part, in the order in which its positions are arranged."""
    axes = (place.part.out_axis, place.part.in_axis)
    return tuple(size for axis, size in enumerate(place.part.shape) if axis not in axes)


def _moved(pair: Pair, values: Float[Tensor, "rows columns"]) -> float:
    """Returns how far biases are from zero, and scales from one, whatever their signs: units may have been flipped."""
    start = _STARTS.get(pair.first.part.role)
    return 0.0 if start is None else float((values.nan_to_num(0.0, 0.0, 0.0).double().abs() - start).norm())


def _pattern(pair: Pair, some: Sequence[Float[Tensor, "rows columns"]], are_tables: bool, cosine: float) -> str:
    """Returns the pattern that both matrices have in common, see `Evidence`."""
    rows, columns, kernel = map(min, zip(pair.first.shape, pair.second.shape, strict=True))
    if min(rows, columns * kernel) < 2:
        return ""
    if all(has_diagonal(values, spaced(rows, SIDE), kernel) for values in some):
        return "diagonal"
    is_near = cosine >= LEAST_COMMON
    if is_near and (are_tables or (len(some) == 2 and has_common_waves(some[0], some[1], _kernel(pair.first)))):
        return "" if bool((some[0] == some[0][0, 0]).all()) else "table"
    return "peaks" if have_common_peaks(some[0], some[-1]) else ""


def _kind(sums: EntrySums, corners: _Corners | None, lines: _Lines, changed: str) -> dict[str, Any]:
    """Returns change, child and detail of tensors that differ; without corners, no change of low rank is sought."""
    for name in CASTS:
        for child in (1, -1):
            if (name, child) in sums.casts:
                return {"change": Change.ROUNDED, "child": child, "detail": name}
    shares = [count / sums.entries for count in sums.pruned]
    is_pruned = sums.kept == sums.both > LEAST_LEFT * sums.entries
    if is_pruned and (max(shares) >= LEAST_PRUNED or (max(shares) > 0 and not changed)):
        return {
            "change": Change.PRUNED,
            "child": child_of_zeros_alone(shares),
            "detail": f"{as_percentage(sum(shares))} of entries",
        }
    is_near = sums.products[2] > LEAST_NEAR * (sums.products[0] * sums.products[1]) ** 0.5
    for child, (parent, made) in zip((1, -1), (lines, lines[::-1]), strict=True) if is_near else ():
        if (levels := find_levels(parent, made)) is not None:
            known = child if may_be_made_from(parent, made, levels) else 0
            return {"change": Change.QUANTISED, "child": known, "detail": levels.name}
    if changed:
        return {"change": Change.LINES, "detail": changed}
    if corners is not None and (rank := low_rank(*corners)):
        return {"change": Change.LOW_RANK, "child": low_rank_child(*corners, rank), "detail": f"rank {rank}"}
    return {"change": Change.OTHER}


def child_of_zeros_alone(pruned: Sequence[float]) -> int:
    """Returns which of two tensors that differ in zeros alone was made from the other.

    Args:
        pruned: Shares of entries that are zero in the second tensor alone, and in the first one alone.

    Returns:
        1 if the second tensor alone has zeros that the other one lacks, -1 if the first one has, 0 if both have.

    Example:
        >>> child_of_zeros_alone((0.2, 0.0)), child_of_zeros_alone((0.1, 0.1))
        (1, 0)
    """
    return 0 if min(pruned) > 0 else 1 if pruned[0] > 0 else -1


def as_percentage(share: float) -> str:
    """Returns the words for a share that is not zero.

    Example:
        >>> as_percentage(0.256), as_percentage(0.0004)
        ('26%', 'less than 1%')
    """
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def mean_cosine(found: Iterable[Evidence]) -> float:
    """Returns the mean cosine over random matrices, each counted by its number of entries."""
    some = [one for one in found if one.is_random_matrix]
    total = sum(one.entries for one in some)
    return sum(one.cosine * one.entries for one in some) / total if total else 0.0


def mean_likeness(found: Iterable[Evidence]) -> float:
    """Returns the mean likeness over random matrices, each counted by its number of entries."""
    some = [one for one in found if one.is_random_matrix]
    total = sum(one.entries for one in some)
    return sum(one.likeness * one.entries for one in some) / total if total else 0.0


def mean_retained(found: Iterable[Evidence]) -> tuple[float, float]:
    """Returns how much of each network's largest directions the other one has, each matrix counted by its energy."""
    some = [one for one in found if one.is_random_matrix and one.change is not Change.EQUAL]
    energy = [sum(one.norms[number] ** 2 for one in some) for number in (0, 1)]
    kept = [sum(one.retained[number] * one.norms[number] ** 2 for one in some) for number in (0, 1)]
    first, second = (one / whole if whole else 1.0 for one, whole in zip(kept, energy, strict=True))
    return first, second
