"""Exact quantiles: by sorting, and for large tensors by counting bit patterns, in bounded memory.

Both ways give the same values whatever the order of the entries, so no entry has to be left out.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_SORTED = 1 << 20
"""Number of entries of the largest tensor that is sorted, and read in one piece; larger ones are read in slices."""

SLICE_ENTRIES = 1 << 18
"""Number of entries of a slice: its temporary copies fit the cache of a core."""

HALF_BITS = 16
NUM_HALVES = 1 << HALF_BITS


def sorted_quantiles(ordered: Float[Tensor, "batch n"], at: Sequence[float]) -> Float[Tensor, "batch q"]:
    """Interpolates quantiles linearly between the entries of rows that are already sorted.

    Args:
        ordered: Rows in ascending order.
        at: Fractions, from 0 (the smallest entry) to 1 (the largest).

    Returns:
        One value per row and fraction.
    """
    position = torch.tensor(at, dtype=ordered.dtype) * (ordered.shape[-1] - 1)
    low, high = position.floor().long(), position.ceil().long()
    return torch.lerp(ordered[:, low], ordered[:, high], (position - low).expand(len(ordered), -1))


def slices(values: Float[Tensor, " n"]) -> Iterator[Float[Tensor, " _"]]:
    """Yields the entries in consecutive slices of at most `SLICE_ENTRIES`."""
    yield from values.split(SLICE_ENTRIES)


def counted_quantiles(values: Float[Tensor, " n"], at: Sequence[float]) -> Float[Tensor, " q"]:
    """Interpolates quantiles linearly between the entries of a large tensor, without sorting or copying it.

    Args:
        values: The entries, in any order.
        at: Fractions, from 0 (the smallest entry) to 1 (the largest).

    Returns:
        One value per fraction: exactly the entries that sorting would find, interpolated.

    Example:
        >>> counted_quantiles(torch.tensor([3.0, -1.0, 0.5, 2.0, 8.0]), (0.0, 0.5, 0.75))
        tensor([-1.,  2.,  3.])
    """
    position = torch.tensor(at, dtype=torch.float64) * (len(values) - 1)
    low, high = position.floor().long(), position.ceil().long()
    ends = order_statistics(values, torch.cat([low, high])).double()
    return torch.lerp(ends[: len(at)], ends[len(at) :], position - low).to(values.dtype)


def order_statistics(values: Float[Tensor, " n"], ranks: Int[Tensor, " ranks"]) -> Float[Tensor, " ranks"]:
    """Finds the entries of given ranks by radix selection: two counts of 16 bits each.

    The bit patterns of float32 numbers are ordered as the numbers are, apart from the sign. The first count finds the
    upper half of the pattern of every wanted entry, the second one the lower half, among the entries with that upper
    half. The memory needed does not depend on the number of entries.

    Args:
        values: Float32 numbers, in any order.
        ranks: Positions in the ascending order, from 0.

    Returns:
        One entry per rank.
    """
    counts = torch.zeros(NUM_HALVES, dtype=torch.long)
    for piece in slices(values):
        counts += torch.bincount(_upper(piece), minlength=NUM_HALVES)
    uppers, inner_ranks = _find(_ascending(counts), ranks)
    is_negative = uppers < NUM_HALVES // 2
    wanted, slot = torch.where(is_negative, NUM_HALVES // 2 - 1 - uppers, uppers).unique(return_inverse=True)

    slot_of = torch.full((NUM_HALVES,), -1)
    slot_of[wanted] = torch.arange(len(wanted))
    lower_counts = torch.zeros(len(wanted), NUM_HALVES, dtype=torch.long)
    for piece in slices(values):
        slots = slot_of[_upper(piece)]
        chosen = slots >= 0
        bits = piece[chosen].view(torch.int32).long() & (NUM_HALVES - 1)
        lower_counts.view(-1).index_add_(0, slots[chosen] * NUM_HALVES + bits, torch.ones_like(bits))
    found = torch.empty(len(ranks), dtype=torch.int32)
    for i, place in enumerate(slot.tolist()):
        in_order = lower_counts[place].flip(0) if is_negative[i] else lower_counts[place]
        (lower,), _ = _find(in_order, inner_ranks[i : i + 1])
        lower = NUM_HALVES - 1 - lower if is_negative[i] else lower
        found[i] = (wanted[place] - NUM_HALVES // 2) * NUM_HALVES + lower
    return found.view(torch.float32)


def _upper(values: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Returns the upper half of the bit patterns: 0 to 32767 for negative numbers (descending), then positive ones."""
    return (values.view(torch.int32) >> HALF_BITS) + NUM_HALVES // 2


def _ascending(counts: Int[Tensor, " halves"]) -> Int[Tensor, " halves"]:
    """Sorts counts by upper half in the order of the numbers, where negative ones have descending patterns."""
    negative, positive = counts.split(NUM_HALVES // 2)
    return torch.cat([negative.flip(0), positive])


def _find(counts: Int[Tensor, " bins"], ranks: Int[Tensor, " ranks"]) -> tuple[Tensor, Tensor]:
    """Returns the bin of every rank, and the rank inside that bin."""
    ends = counts.cumsum(0)
    bins = torch.searchsorted(ends, ranks, right=True)
    return bins, ranks - (ends[bins] - counts[bins])
