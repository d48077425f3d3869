"""What two corresponding tensors have in common: equal values, angles, zeros, levels, and the rank of the change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.networks import LayerType, Network, Part, Role
from sne.provenance.lattice import named_levels
from sne.provenance.matching import Pair
from sne.provenance.patterns import has_diagonal, is_smooth, is_table, own_cosine
from sne.provenance.spectra import SIDE, SMALL_SIDE, low_rank, low_rank_child, rank_of_change, retained

BLOCK = 4_000_000
"""Largest number of entries of a tensor that are compared at a time."""

PIECE = 1 << 18
"""Number of entries that are compared at a time, few enough for the cache of a processor."""

FEW = 1024
"""Number of entries that are tested for being rounded before all others are."""

LINES = 64
"""Largest number of rows that are searched for levels."""

LONGEST = 4096
"""Largest number of entries of these rows; a row's scale follows from its largest entry, which has to be among them."""

LEAST_NEAR = 0.5
"""Least cosine of a tensor and its quantised version; levels are sought only above."""

LEAST_PRUNED = 0.05
"""Least share of entries that are zero in one network alone for the change to count as pruning."""

LEAST_LEFT = 0.005
"""Least share of entries that pruning leaves; a tensor that is zero was reset."""

LEAST_SHARED = 0.3
"""Least own cosine of matrices of which one is the other with a change of low rank."""

LEAST_COMMON = 0.5
"""Least cosine of two matrices that have a pattern in common."""

_Corners: TypeAlias = tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]]
_Lines: TypeAlias = tuple[Float[Tensor, "lines entries"], Float[Tensor, "lines entries"]]
_STARTS = {Role.BIAS: 0.0, Role.RECURRENT_BIAS: 0.0, Role.SCALE: 1.0}
_CASTS = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}


class Change(StrEnum):
    """The change between two corresponding tensors."""

    EQUAL = "equal"
    ROUNDED = "rounded"
    QUANTISED = "quantised"
    PRUNED = "pruned"
    LOW_RANK = "low rank"
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
            second one, 0 if that is not known.
        detail: Type of numbers ("float16", "int8", "nf4"), or rank of the change ("rank 4").
        rank: Number of singular values that hold 99% of the change's energy; 0 if there is no change, or no matrix.
        looks_random: Whether either tensor has many values that do not follow from their places, as initial and trained
            weights have, and unlike identities, constants and tables of waves.
        own_cosine: The cosine without what all entries of a row or a column have in common, and with large entries
            clipped; about 0 for independent tensors near the same constant or identity.
        pattern: What tells units apart before any training, in both tensors: "table" if they are the same table or near
            the same one, "diagonal" if a diagonal stands out; empty otherwise.
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
    def is_random(self) -> bool:
        """Whether these are weights and one has random values, so that what they share shows common descent."""
        is_weight = self.pair.first.layer.type not in (LayerType.POSITION, LayerType.OTHER)
        return is_weight and min(self.norms) > 0 and any(self.looks_random)

    @property
    def is_random_matrix(self) -> bool:
        """The same of matrices alone, which start from random values."""
        rows, columns, kernel = self.pair.first.shape
        return self.is_random and rows > 1 and columns * kernel > 1

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


@dataclass
class _Sums:
    """Sums over the entries of two tensors, added up block by block."""

    entries: int = 0
    equal: int = 0
    products: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # first, second, and both
    difference: float = 0.0
    zeros: list[int] = field(default_factory=lambda: [0, 0])
    pruned: list[int] = field(default_factory=lambda: [0, 0])
    both: int = 0
    kept: int = 0
    casts: set[tuple[str, int]] = field(default_factory=lambda: {(name, child) for name in _CASTS for child in (1, -1)})

    def add(self, one: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> None:
        """Adds entries that correspond to each other."""
        for start in range(0, one.numel(), PIECE):
            self._add_piece(one[start : start + PIECE], other[start : start + PIECE])

    def _add_piece(self, one: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> None:
        size = one.numel()
        self.entries += size
        if torch.equal(one, other):
            self._add_equal(one)
            return
        num_same = None
        products = [_dot(one, one), _dot(other, other), _dot(one, other)]
        if not all(map(isfinite, products)):
            num_same = int(((one == other) | (one.isnan() & other.isnan())).count_nonzero())
            one, other = one.nan_to_num(0.0, 0.0, 0.0), other.nan_to_num(0.0, 0.0, 0.0)
            products = [_dot(one, one), _dot(other, other), _dot(one, other)]
        self.products = [total + product for total, product in zip(self.products, products, strict=True)]
        change = other - one
        self.difference += _dot(change, change)
        if num_same is None:
            num_same = size - int(change.count_nonzero())
        self.equal += num_same
        zeros = size - int(one.count_nonzero()), size - int(other.count_nonzero())
        both_zero = int(((one == 0) & (other == 0)).count_nonzero()) if min(zeros) else 0
        for number in (0, 1):
            self.zeros[number] += zeros[number]
            self.pruned[number] += zeros[1 - number] - both_zero
        self.both += size - sum(zeros) + both_zero
        self.kept += num_same - both_zero
        for name, child in sorted(self.casts):
            parent, made = (one, other) if child == 1 else (other, one)
            if not _is_cast(parent, made, _CASTS[name]):
                self.casts.discard((name, child))

    def _add_equal(self, values: Float[Tensor, " n"]) -> None:
        self.casts = {(name, child) for name, child in self.casts if _is_cast(values, values, _CASTS[name])}
        nonzero = int(values.count_nonzero())
        square = _dot(values, values)
        self.equal += values.numel()
        self.products = [total + square for total in self.products]
        self.zeros = [total + values.numel() - nonzero for total in self.zeros]
        self.both += nonzero
        self.kept += nonzero


def _dot(one: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> float:
    """Returns the sum of products: in single precision over rows of 4,096, in double precision over rows."""
    whole = len(one) // 4096 * 4096
    rows = torch.linalg.vecdot(one[:whole].view(-1, 4096), other[:whole].view(-1, 4096))
    found = float(rows.double().sum()) + float((one[whole:].double() * other[whole:].double()).sum())
    if 1e-25 < abs(found) < 1e30:
        return found
    return float(one.double() @ other.double())  # single precision overflows, or has lost all digits


def _is_cast(parent: Float[Tensor, " n"], made: Float[Tensor, " n"], dtype: torch.dtype) -> bool:
    """Whether all entries of one tensor are those of another one, rounded to a type; a few are tried first."""
    for some in (slice(0, FEW), slice(None)):
        if not torch.equal(parent[some].to(dtype).float(), made[some]):
            return False
    return True


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
    sums = _Sums()
    for one, other in zip(first.read_blocks(parts[0], BLOCK), second.read_blocks(parts[1], BLOCK), strict=True):
        sums.add(one.values.reshape(-1), other.values.reshape(-1))
    num_rows, num_columns, kernel = pair.first.shape
    corner = _spaced(num_rows), torch.arange(min(num_columns, SIDE))
    lines = _spaced(num_rows, LINES), torch.arange(min(num_columns, max(1, LONGEST // kernel)))
    samples = [
        network.read_sample(part, *where).flatten(1)
        for where in (corner, lines)
        for network, part in zip((first, second), parts, strict=True)
    ]
    return _evidence(pair, sums, (samples[0], samples[1]), (samples[2], samples[3]))


def compare_values(pair: Pair, one: Float[Tensor, "out in kernel"], other: Float[Tensor, "out in kernel"]) -> Evidence:
    """Compares two corresponding tensors that are in memory."""
    sums = _Sums()
    flat = one.reshape(-1), other.reshape(-1)
    for start in range(0, one.numel(), BLOCK):
        sums.add(*(values[start : start + BLOCK] for values in flat))
    lines = [values[_spaced(len(values), LINES)].flatten(1)[:, :LONGEST] for values in (one, other)]
    return _evidence(pair, sums, (_corner(one), _corner(other)), (lines[0], lines[1]))


def _is_alike(first: Network, second: Network, pair: Pair) -> bool:
    """Whether both tensors are read in the same pieces: `read_blocks` cuts by the part and the stored shape."""
    one, other = pair.first.part, pair.second.part
    infos = first.source.infos[one.tensor], second.source.infos[other.tensor]
    return _cut_of(one) == _cut_of(other) and infos[0].shape == infos[1].shape


def _cut_of(part: Part) -> tuple[object, ...]:
    return part.shape, part.out_axis, part.in_axis, part.axis, part.start, part.run, part.step


def _spaced(length: int, most: int = SIDE) -> Int[Tensor, " places"]:
    """Returns at most so many indices at equal distances."""
    return torch.linspace(0, length - 1, min(length, most), dtype=torch.float32).round().long()


def _corner(values: Float[Tensor, "out in kernel"]) -> Float[Tensor, "rows columns"]:
    """Returns at most `SIDE` rows at equal distances, with their first columns."""
    return values[_spaced(len(values)), : max(1, SIDE // values.shape[2])].flatten(1)[:, :SIDE]


def _evidence(pair: Pair, sums: _Sums, corners: _Corners, lines: _Lines) -> Evidence:
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
    tables = [is_table(values) for values in some]
    random = [not (is_one or is_smooth(values)) for is_one, values in zip(tables, some, strict=True)]
    found["looks_random"] = (random[0], random[-1])
    found["moved"] = (_moved(pair, corners[0]), _moved(pair, corners[1]))
    found["pattern"] = _pattern(pair, some, is_table=all(tables) and found["cosine"] >= LEAST_COMMON)
    if is_equal:
        return Evidence(**found, change=Change.EQUAL, retained=(1.0, 1.0), own_cosine=1.0)
    one, other = (sample.nan_to_num(0.0, 0.0, 0.0).double() for sample in corners)
    small = one[:SMALL_SIDE, :SMALL_SIDE], other[:SMALL_SIDE, :SMALL_SIDE]
    change = small[1] - small[0]
    sizes = torch.linalg.svdvals(change) if min(change.shape) > 1 else change.new_zeros(1)
    found |= {"rank": rank_of_change(sizes), "retained": (retained(*small), retained(small[1], small[0]))}
    found["own_cosine"] = own_cosine(*small)
    may_be_low = found["own_cosine"] >= LEAST_SHARED and not any(tables)
    return Evidence(**found, **_kind(sums, (one, other) if may_be_low else None, lines))


def _moved(pair: Pair, values: Float[Tensor, "rows columns"]) -> float:
    """Returns how far biases are from zero, and scales from one."""
    start = _STARTS.get(pair.first.part.role)
    return 0.0 if start is None else float((values.nan_to_num(0.0, 0.0, 0.0).double() - start).norm())


def _pattern(pair: Pair, some: Sequence[Float[Tensor, "rows columns"]], *, is_table: bool) -> str:
    """Returns the pattern that both matrices have in common, see `Evidence`."""
    rows, columns, kernel = map(min, zip(pair.first.shape, pair.second.shape, strict=True))
    if min(rows, columns * kernel) < 2:
        return ""
    if all(has_diagonal(values, _spaced(rows), kernel) for values in some):
        return "diagonal"
    is_uniform = bool((some[0] == some[0][0, 0]).all())
    return "table" if is_table and not is_uniform else ""


def _kind(sums: _Sums, corners: _Corners | None, lines: _Lines) -> dict[str, Any]:
    """Returns change, child and detail of tensors that differ; without corners, no change of low rank is sought."""
    for name in _CASTS:
        for child in (1, -1):
            if (name, child) in sums.casts:
                return {"change": Change.ROUNDED, "child": child, "detail": name}
    shares = [count / sums.entries for count in sums.pruned]
    is_pruned = sums.kept == sums.both > LEAST_LEFT * sums.entries and min(shares) == 0
    if is_pruned and max(shares) >= LEAST_PRUNED:
        return {"change": Change.PRUNED, "child": 1 if shares[0] > 0 else -1, "detail": f"{max(shares):.0%} of entries"}
    is_near = sums.products[2] > LEAST_NEAR * (sums.products[0] * sums.products[1]) ** 0.5
    for child, (parent, made) in zip((1, -1), (lines, lines[::-1]), strict=True) if is_near else ():
        if levels := named_levels(parent, made):
            return {"change": Change.QUANTISED, "child": child, "detail": levels}
    if corners is not None and (rank := low_rank(*corners)):
        return {"change": Change.LOW_RANK, "child": low_rank_child(*corners, rank), "detail": f"rank {rank}"}
    return {"change": Change.OTHER}


def mean_cosine(found: Iterable[Evidence]) -> float:
    """Returns the mean cosine over random matrices, each counted by its number of entries."""
    some = [one for one in found if one.is_random_matrix]
    total = sum(one.entries for one in some)
    return sum(one.cosine * one.entries for one in some) / total if total else 0.0


def mean_retained(found: Iterable[Evidence]) -> tuple[float, float]:
    """Returns how much of each network's largest directions the other one has, each matrix counted by its energy."""
    some = [one for one in found if one.is_random_matrix and one.change is not Change.EQUAL]
    energy = [sum(one.norms[number] ** 2 for one in some) for number in (0, 1)]
    kept = [sum(one.retained[number] * one.norms[number] ** 2 for one in some) for number in (0, 1)]
    first, second = (one / whole if whole else 1.0 for one, whole in zip(kept, energy, strict=True))
    return first, second
