"""What two corresponding tensors have in common: equal values, angles, zeros, levels, and the rank of the change."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sne.networks import LayerType, Network, Part
from sne.provenance.lattice import lattice_bits
from sne.provenance.matching import MatchedBy, Pair, Place

BLOCK = 4_000_000
"""Largest number of entries of a tensor that are compared at a time."""

SIDE = 256
"""Largest number of rows and of columns of the sample in which the rank of a change is measured."""

LEAST_PRUNED = 0.05
"""Least share of entries that are zero in one network alone for the change to count as pruning."""

LARGEST_RANK_SHARE = 0.25
"""Largest rank of a low-rank change, as a share of the smaller side of the sample."""

_CASTS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


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
        detail: Type of numbers ("float16", "int8"), or rank of the change ("rank 4").
        rank: Number of singular values that hold 99% of the change's energy; 0 if there is no change, or no matrix.
        retained: How much of the first tensor's largest singular directions is in the second one, and the reverse; 1
            where they are there in full. What a parent has learned is in its child, while twins that only start alike
            learn different things.
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
    retained: tuple[float, float] = (0.0, 0.0)

    @property
    def is_random_matrix(self) -> bool:
        """Whether this is a matrix that starts from random values, so that equal values show common descent."""
        first = self.pair.first
        rows, columns, kernel = first.shape
        is_weight = first.layer.type not in (LayerType.POSITION, LayerType.OTHER)
        return is_weight and rows > 1 and columns * kernel > 1 and min(self.norms) > 0

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
    """Sums over the entries of two tensors, added up block by block in double precision."""

    entries: int = 0
    equal: int = 0
    dot: float = 0.0
    first: float = 0.0
    second: float = 0.0
    difference: float = 0.0
    zeros: list[int] = field(default_factory=lambda: [0, 0])
    pruned: list[int] = field(default_factory=lambda: [0, 0])
    both: int = 0
    kept: int = 0
    casts: dict[str, list[int]] = field(default_factory=lambda: {name: [0, 0] for name in _CASTS})

    def add(self, one: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> None:
        """Adds entries that correspond to each other."""
        same = (one == other) | (one.isnan() & other.isnan())
        one, other = one.nan_to_num(0.0, 0.0, 0.0), other.nan_to_num(0.0, 0.0, 0.0)
        wide = one.double(), other.double()
        self.entries += one.numel()
        self.equal += int(same.sum())
        self.dot += float(wide[0] @ wide[1])
        self.first += float(wide[0] @ wide[0])
        self.second += float(wide[1] @ wide[1])
        self.difference += float((wide[1] - wide[0]).square().sum())
        is_zero = one == 0, other == 0
        for number in (0, 1):
            self.zeros[number] += int(is_zero[number].sum())
            self.pruned[number] += int((is_zero[1 - number] & ~is_zero[number]).sum())
        both = ~is_zero[0] & ~is_zero[1]
        self.both += int(both.sum())
        self.kept += int((both & same).sum())
        if not bool(same.all()):
            for name, dtype in _CASTS.items():
                self.casts[name][0] += int((one.to(dtype).float() == other).sum())
                self.casts[name][1] += int((other.to(dtype).float() == one).sum())
        else:
            for counts in self.casts.values():
                counts[0] += one.numel()
                counts[1] += one.numel()


def compare_pair(first: Network, second: Network, pair: Pair) -> Evidence:
    """Compares two corresponding tensors of two networks, as they are stored.

    Large tensors pass by in pieces. Of tensors with different numbers of rows, the common rows are compared.

    Args:
        first: The first network.
        second: The second network.
        pair: The tensors.
    """
    sums = _Sums()
    if pair.is_whole and _is_alike(first, second, pair):
        parts = pair.first.part, pair.second.part
        blocks = first.read_blocks(parts[0], BLOCK), second.read_blocks(parts[1], BLOCK)
        for one, other in zip(*blocks, strict=True):
            sums.add(one.values.reshape(-1), other.values.reshape(-1))
    else:
        rows = min(pair.first.shape[0], pair.second.shape[0])
        one, other = first.read(pair.first.part)[:rows], second.read(pair.second.part)[:rows]
        sums.add(one.reshape(-1), other.reshape(-1))
    samples = _sample(first, pair.first, pair), _sample(second, pair.second, pair)
    return _evidence(pair, sums, *samples)


def compare_values(
    pair: Pair, one: Float[Tensor, "out in kernel"], other: Float[Tensor, "out in kernel"]
) -> Evidence:
    """Compares two corresponding tensors that are in memory."""
    sums = _Sums()
    for start in range(0, one.numel(), BLOCK):
        sums.add(one.reshape(-1)[start : start + BLOCK], other.reshape(-1)[start : start + BLOCK])
    return _evidence(pair, sums, _corner(one), _corner(other))


def _is_alike(first: Network, second: Network, pair: Pair) -> bool:
    """Whether both tensors are read in the same pieces: `read_blocks` cuts by the part and the stored shape."""
    one, other = pair.first.part, pair.second.part
    infos = first.source.infos[one.tensor], second.source.infos[other.tensor]
    return _cut_of(one) == _cut_of(other) and infos[0].shape == infos[1].shape


def _cut_of(part: Part) -> tuple:
    return part.shape, part.out_axis, part.in_axis, part.axis, part.start, part.run, part.step


def _spaced(length: int) -> Tensor:
    return torch.linspace(0, length - 1, min(length, SIDE)).round().long()


def _corner(values: Float[Tensor, "out in kernel"]) -> Float[Tensor, "rows columns"]:
    """Returns what `_sample` returns, of a tensor in memory."""
    return values[_spaced(len(values)), :SIDE].flatten(1)


def _sample(network: Network, place: Place, pair: Pair) -> Float[Tensor, "rows columns"]:
    """Returns some rows of a part, the same ones for both networks, and the first `SIDE` columns.

    Neighbouring columns are taken because quantised tensors share scales among neighbours.
    """
    rows = min(pair.first.shape[0], pair.second.shape[0])
    some = torch.arange(SIDE) if pair.first.shape[1] > SIDE else None
    return network.read_sample(place.part, _spaced(rows), some).flatten(1)


def _evidence(
    pair: Pair, sums: _Sums, one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]
) -> Evidence:
    entries = max(1, sums.entries)
    both_norms = (sums.first * sums.second) ** 0.5
    found = {
        "pair": pair,
        "entries": sums.entries,
        "equal": sums.equal / entries,
        "cosine": sums.dot / both_norms if both_norms else 0.0,
        "relative_change": (sums.difference / sums.first) ** 0.5 if sums.first else float(sums.difference > 0),
        "norms": (sums.first**0.5, sums.second**0.5),
        "zeros": (sums.zeros[0] / entries, sums.zeros[1] / entries),
        "pruned": (sums.pruned[0] / entries, sums.pruned[1] / entries),
        "kept": sums.kept / max(1, sums.both),
    }
    if sums.equal == sums.entries:
        return Evidence(**found, change=Change.EQUAL, retained=(1.0, 1.0))
    one, other = one.nan_to_num(0.0, 0.0, 0.0), other.nan_to_num(0.0, 0.0, 0.0)
    found |= {"rank": _rank(one, other), "retained": (_retained(one, other), _retained(other, one))}
    return Evidence(**found, **_kind(pair, sums, one, other))


def _kind(pair: Pair, sums: _Sums, one: Float[Tensor, "r c"], other: Float[Tensor, "r c"]) -> dict[str, object]:
    """Returns change, child and detail of tensors that differ."""
    for name, counts in sums.casts.items():
        for child, count in zip((1, -1), counts, strict=True):
            if count == sums.entries:
                return {"change": Change.ROUNDED, "child": child, "detail": name}
    shares = [count / sums.entries for count in sums.pruned]
    if sums.kept == sums.both and max(shares) >= LEAST_PRUNED and min(shares) == 0:
        return {"change": Change.PRUNED, "child": 1 if shares[0] > 0 else -1, "detail": f"{max(shares):.0%} of entries"}
    for child, (parent, made) in zip((1, -1), ((one, other), (other, one)), strict=True):
        if bits := lattice_bits(parent, made):
            return {"change": Change.QUANTISED, "child": child, "detail": f"int{bits}"}
    if rank := low_rank(one, other):
        return {"change": Change.LOW_RANK, "child": low_rank_child(one, other, rank), "detail": f"rank {rank}"}
    return {"change": Change.OTHER}


def low_rank(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]) -> int:
    """Returns the rank of a change of low rank; 0 if the change is none.

    Singular values at the size of rounding errors do not count. The rank is low up to a quarter of the smaller side.

    Example:
        >>> matrix = torch.eye(16)
        >>> low_rank(matrix, matrix + torch.ones(16, 16))
        1
    """
    side = min(one.shape)
    if side < 8:
        return 0
    sizes = torch.linalg.svdvals((other - one).double())
    steps = max(_rounding(one), _rounding(other))
    noise = steps * float(torch.maximum(one.abs(), other.abs()).max()) * (one.shape[0] ** 0.5 + one.shape[1] ** 0.5)
    rank = int((sizes > noise).sum())
    return rank if 0 < rank <= LARGEST_RANK_SHARE * side else 0


def _rounding(values: Tensor) -> float:
    """Returns the relative rounding error of the narrowest type that holds all values."""
    for dtype in (torch.bfloat16, torch.float16):
        if bool((values.to(dtype).float() == values).all()):
            return torch.finfo(dtype).eps
    return 4 * torch.finfo(torch.float32).eps


def low_rank_child(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"], rank: int) -> int:
    """Returns which tensor a low-rank change was added to: 1 if the second one is the child, -1 if the first one is.

    Along the singular directions of the change, the parent is as small as anywhere, and the child as large as the
    change.
    """
    left, _, right = torch.linalg.svd(other - one, full_matrices=False)
    sizes = [
        float((left[:, :rank].T @ matrix @ right[:rank].T).diagonal().square().sum()) for matrix in (one, other)
    ]
    return 1 if sizes[0] < sizes[1] else -1


def _rank(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]) -> int:
    """Returns the number of singular values that hold 99% of the energy of the change; 0 for vectors."""
    if min(one.shape) < 2:
        return 0
    energy = torch.linalg.svdvals(other - one).square().cumsum(0)
    return int((energy < 0.99 * energy[-1]).sum()) + 1


def _retained(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]) -> float:
    """Returns how much of the largest quarter of one matrix's singular directions is in another matrix."""
    if min(one.shape) < 2:
        return 0.0
    left, sizes, right = torch.linalg.svd(one, full_matrices=False)
    most = max(1, len(sizes) // 4)
    along = (left[:, :most].T @ other * right[:most]).sum(1)
    energy = float(sizes[:most].square().sum())
    return float((along * sizes[:most]).sum()) / energy if energy > 0 else 0.0


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
