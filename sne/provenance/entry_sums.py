"""Sums over the entries of two tensors, which are added up while these pass by in pieces."""

from dataclasses import dataclass, field
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

PIECE = 1 << 18
"""Number of entries that are compared at a time, few enough for the cache of a processor."""

FEW = 1024
"""Number of entries that are tested for being rounded before all others are."""

CASTS = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}
"""Types of numbers to which values may have been rounded, by name."""


@dataclass
class EntrySums:
    """Sums over the entries of two tensors, added up block by block.

    Args:
        entries: Number of entries.
        equal: Number of equal entries.
        products: Sums of the squares of the first tensor, of those of the second one, and of products of both.
        difference: Sum of squared differences.
        zeros: Numbers of zeros of both tensors.
        pruned: Numbers of entries that are zero in the second tensor alone, and in the first one alone.
        both: Number of entries that are zero in neither.
        kept: Number of equal ones among these.
        casts: Types to which one tensor may have been rounded to become the other one, each with the child: 1 for the
            second tensor, -1 for the first one.
    """

    entries: int = 0
    equal: int = 0
    products: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # first, second, and both
    difference: float = 0.0
    zeros: list[int] = field(default_factory=lambda: [0, 0])
    pruned: list[int] = field(default_factory=lambda: [0, 0])
    both: int = 0
    kept: int = 0
    casts: set[tuple[str, int]] = field(default_factory=lambda: {(name, child) for name in CASTS for child in (1, -1)})

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
            if not _is_cast(parent, made, CASTS[name]):
                self.casts.discard((name, child))

    def _add_equal(self, values: Float[Tensor, " n"]) -> None:
        self.casts = {(name, child) for name, child in self.casts if _is_cast(values, values, CASTS[name])}
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
