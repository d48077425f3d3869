"""Which weights of a network are read under a budget: a seeded sample of chunks, stratified over parts and neurons."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sne.networks import Part

LEAST_COLUMNS = 4
"""Every row that is read holds at least one of so many chunks: fewer chunks of more rows represent a part better, and
rows cost as much to read whole."""


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
        chunks = _choose(-(-num_out // chunk_size), share // chunk_size, generator)
        return PartSample(_expand(chunks, chunk_size, num_out), torch.zeros(1, dtype=torch.long))
    run = chunk_size if kernel == 1 else 1
    weights, num_runs = min(run, num_in) * kernel, -(-num_in // run)
    runs = min(-(-num_runs // LEAST_COLUMNS), max(1, share // weights))
    rows = max(1, share // (runs * weights))
    if rows >= num_out:
        rows, runs = num_out, share // (num_out * weights)
    return PartSample(_choose(num_out, rows, generator), _expand(_choose(num_runs, runs, generator), run, num_in))


def _choose(count: int, wanted: int, generator: torch.Generator) -> Int[Tensor, " chosen"]:
    """One number of each of `wanted` equal ranges of 0 .. count - 1, which start at a random place; ascending."""
    wanted = min(max(wanted, 1), count)
    bounds = torch.arange(wanted + 1) * count // wanted
    within = (torch.rand(wanted, generator=generator, dtype=torch.float64) * bounds.diff()).long()
    start = torch.randint(count, (), generator=generator)
    return ((bounds[:-1] + within + start) % count).sort().values


def _expand(runs: Int[Tensor, " runs"], size: int, count: int) -> Int[Tensor, " numbers"]:
    """The numbers below `count` of runs of `size`."""
    numbers = (runs[:, None] * size + torch.arange(size)).flatten()
    return numbers[numbers < count]
