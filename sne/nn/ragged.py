"""Sets of any sizes in one flat tensor, grouped by size so that no set is padded to the largest."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sne.errors import SneError


@dataclass(frozen=True)
class Bucket:
    """Some sets of equal or nearly equal size.

    Args:
        sets: Indices of the sets in the lengths that were grouped.
        tokens: Indices of each set's tokens in the flat tensor; padding repeats a token of the same set.
        mask: True on real tokens; None if all tokens are real.
    """

    sets: Int[Tensor, " sets"]
    tokens: Int[Tensor, "sets tokens"]
    mask: Bool[Tensor, "sets tokens"] | None


@dataclass(frozen=True)
class SetBuckets:
    """All sets of a flat tensor, in buckets.

    Args:
        buckets: The buckets; every set is in exactly one.
        position: Row of each set in the concatenated results of the buckets, which have one row per set.
    """

    buckets: tuple[Bucket, ...]
    position: Int[Tensor, " sets"]

    def rows(
        self, table: Float[Tensor, "rows dim"], places: Int[Tensor, " sets"] | None = None
    ) -> list[Float[Tensor, "_ dim"]]:
        """Reads one row per set.

        Args:
            table: The rows.
            places: Index of each set's row; None if set i has row i.

        Returns:
            One tensor [sets, dim] per bucket.
        """
        index = torch.cat([bucket.sets for bucket in self.buckets])
        rows = table.index_select(0, index if places is None else places[index])
        return list(rows.split([len(bucket.sets) for bucket in self.buckets]))

    def gather(
        self, tokens: Float[Tensor, "tokens dim"], places: Int[Tensor, " ragged"] | None = None
    ) -> list[Float[Tensor, "_ _ dim"]]:
        """Arranges the tokens as one dense tensor per bucket.

        Args:
            tokens: The flat tokens.
            places: Index of the ragged sets' token number i in `tokens`; None if it is i.

        Returns:
            One tensor [sets, tokens, dim] per bucket.
        """
        # One read for all buckets: the backward pass of a read per bucket is slow.
        index = torch.cat([bucket.tokens.flatten() for bucket in self.buckets])
        dense = tokens.index_select(0, index if places is None else places[index])
        parts = dense.split([bucket.tokens.numel() for bucket in self.buckets])
        return [part.unflatten(0, tuple(b.tokens.shape)) for part, b in zip(parts, self.buckets, strict=True)]


def bucket_sets(
    lengths: Int[Tensor, " sets"],
    *,
    max_waste: float = 0.125,
    boundary: int = 0,
    max_tokens: int = 1 << 62,
) -> SetBuckets:
    """Groups ragged sets by size.

    The grouping affects the speed only, not the results. A set of n tokens is padded to at most `(1 + max_waste) n`
    tokens, and never beyond the longest set in its bucket.

    Args:
        lengths: Sizes of the sets, at least 1, in the order of the flat tensor.
        max_waste: Largest padding relative to the size of a set; 0 groups equal sizes only and needs no masks.
        boundary: Size that separates buckets: sets up to this size never share a bucket with larger sets.
        max_tokens: Largest number of tokens per bucket, padding included; a bucket holds at least one set.

    Returns:
        The buckets. `torch.cat(results)[buckets.position]` restores the order of the sets.

    Raises:
        SneError: If a set is empty.

    Example:
        >>> [bucket.sets.tolist() for bucket in bucket_sets(torch.tensor([9, 3, 9]), max_waste=0.0).buckets]
        [[1], [0, 2]]
    """
    lengths = lengths.long()
    if lengths.numel() and int(lengths.min()) < 1:
        raise SneError(f"expected at least 1 token per set, set {int(lengths.argmin())} has none")
    starts = lengths.cumsum(0) - lengths
    ordered, order = torch.sort(lengths, stable=True)
    sizes, counts = torch.unique_consecutive(ordered, return_counts=True)
    buckets: list[Bucket] = []
    first = 0
    for num_sets, longest in _join_sizes(sizes.tolist(), counts.tolist(), max_waste, boundary):
        step = max(1, max_tokens // longest)
        for low in range(first, first + num_sets, step):
            sets = order[low : min(low + step, first + num_sets)]
            buckets.append(_bucket(sets, lengths[sets], starts[sets]))
        first += num_sets
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order), device=order.device)
    return SetBuckets(tuple(buckets), position)


def _join_sizes(sizes: list[int], counts: list[int], max_waste: float, boundary: int) -> list[tuple[int, int]]:
    """Joins neighbouring sizes, in ascending order, into runs of (number of sets, longest size)."""
    runs: list[tuple[int, int]] = []
    shortest = 0
    for size, count in zip(sizes, counts, strict=True):
        crosses = shortest <= boundary < size
        if runs and not crosses and size <= (1 + max_waste) * shortest:
            runs[-1] = (runs[-1][0] + count, size)
        else:
            runs.append((count, size))
            shortest = size
    return runs


def _bucket(sets: Tensor, lengths: Tensor, starts: Tensor) -> Bucket:
    shortest, longest = int(lengths[0]), int(lengths[-1])
    steps = torch.arange(longest, device=sets.device)
    if shortest == longest:
        return Bucket(sets, starts[:, None] + steps, None)
    mask = steps < lengths[:, None]
    return Bucket(sets, starts[:, None] + torch.minimum(steps, lengths[:, None] - 1), mask)
