"""Which weights of a network are read under a budget: a seeded sample of chunks, stratified over parts and neurons."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sne.networks import Part

LEAST_USED = 4
"""Of so many chunks of a row that is read, at least one is used. Few chunks of many rows represent a part better than
whole rows, but every row is read whole; of a part that is stored [in, out, ...], the same holds for columns."""


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
    if part.out_axis is not None and part.in_axis is not None and part.in_axis < part.out_axis:
        runs, rows = _share_cells(num_runs, num_out, cells)
    else:
        rows, runs = _share_cells(num_out, num_runs, cells)
    return PartSample(choose(num_out, rows, generator), _expand(choose(num_runs, runs, generator), run, num_in))


def _share_cells(num_read: int, num_across: int, cells: int) -> tuple[int, int]:
    """Numbers of lines that are read and of places that are used of each, whose product is at most `cells`."""
    used = min(-(-num_across // LEAST_USED), cells)
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
