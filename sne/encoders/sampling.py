"""Which weights of a network are read under a budget: a seeded sample of chunks, stratified over parts and neurons."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sne.networks import Part

MOST_READ_PER_USED = 4
"""Largest ratio of the weights that are read to those that are used. Few chunks of each of many rows represent a part
better than all chunks of few rows, but stored rows are read whole. The stored rows of a part that is stored
[in, out, ...] are its columns."""


@dataclass(frozen=True)
class PartSample:
    """Rows and columns of a part, in ascending order, that hold its sampled chunks.

    Args:
        rows: Neurons that the part feeds.
        columns: Neurons that it reads.
    """

    rows: Int[Tensor, " rows"]
    columns: Int[Tensor, " columns"]

    def num_weights(self, part: Part) -> int:
        """Number of weights of the part that are sampled."""
        return len(self.rows) * len(self.columns) * part.arranged_shape[2]


def share_budget(sizes: Sequence[int], budget: int) -> int:
    """Returns the largest share such that parts of at most this size, and shares of the others, keep the budget.

    The vector of a part is about a mean over its chunks, and all parts count alike in their network. The sum of their
    squared errors is smallest if large parts give equally many chunks, whatever their sizes.

    Args:
        sizes: Number of weights of each part.
        budget: Number of weights in all.

    Example:
        >>> share_budget([10, 500, 1000], 210)
        100
    """
    left, count = budget, len(sizes)
    for size in sorted(sizes):
        if size * count > left:
            return left // count
        left, count = left - size, count - 1
    return max(sizes, default=0)


def sample_part(part: Part, chunk_size: int, share: int, generator: torch.Generator) -> PartSample:
    """Chooses rows and columns of a part that hold at most `share` weights, and at least one chunk or kernel.

    Args:
        part: The part, with more than `share` entries.
        chunk_size: Number of entries per chunk.
        share: Number of weights.
        generator: Source of randomness.

    Returns:
        Rows in strata of equal size, one per stratum, and likewise columns: single ones where each is a kernel, else in
        runs that are whole chunks.
    """
    num_out, num_in, kernel = part.arranged_shape
    if num_in == kernel == 1:
        chunks = choose(-(-num_out // chunk_size), share // chunk_size, generator)
        return PartSample(_expand(chunks, chunk_size, num_out), torch.zeros(1, dtype=torch.long))
    run = chunk_size if kernel == 1 else 1
    num_runs, cells = -(-num_in // run), max(1, share // (min(run, num_in) * kernel))
    if is_stored_by_inputs(part):
        runs, rows = _share_cells(num_runs, num_out, cells)
    else:
        rows, runs = _share_cells(num_out, num_runs, cells)
    return PartSample(choose(num_out, rows, generator), _expand(choose(num_runs, runs, generator), run, num_in))


def is_stored_by_inputs(part: Part) -> bool:
    """Returns whether the stored rows of a part are neurons that it reads, rather than neurons that it feeds."""
    return part.in_axis is not None and (part.out_axis is None or part.in_axis < part.out_axis)


def _share_cells(num_read: int, num_across: int, cells: int) -> tuple[int, int]:
    """Returns the number of stored rows to read and of places to use in each; their product is at most `cells`."""
    used = min(-(-num_across // MOST_READ_PER_USED), cells)
    if cells // used < num_read:
        return cells // used, used
    return num_read, cells // num_read


def choose(count: int, wanted: int, generator: torch.Generator) -> Int[Tensor, " chosen"]:
    """Returns one number of each of `wanted` equal ranges below `count`, which start at a random place; ascending."""
    wanted = min(max(wanted, 1), count)
    bounds = torch.arange(wanted + 1) * count // wanted
    within = (torch.rand(wanted, generator=generator, dtype=torch.float64) * bounds.diff()).long()
    start = torch.randint(count, (), generator=generator)
    return ((bounds[:-1] + within + start) % count).sort().values


def _expand(runs: Int[Tensor, " runs"], size: int, count: int) -> Int[Tensor, " numbers"]:
    """The numbers below `count` of runs of `size`."""
    numbers = (runs[:, None] * size + torch.arange(size)).flatten()
    return numbers[numbers < count]
