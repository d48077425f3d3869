"""Sets of any sizes in one flat tensor, grouped so that no set is padded to the largest."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Bucket:
    """Some sets of equal or nearly equal size.

    Args:
        sets: which sets, as rows of the lengths that were grouped.
        tokens: where the tokens of each lie in the flat tensor; on padding, some token of the same set.
        mask: True on real tokens; None when all are real.
    """

    sets: Int[Tensor, " sets"]
    tokens: Int[Tensor, "sets tokens"]
    mask: Bool[Tensor, "sets tokens"] | None


@dataclass(frozen=True)
class SetBuckets:
    """All sets of a flat tensor, in buckets.

    Args:
        buckets: every set is in exactly one.
        position: where each set stands once the buckets' results are joined, one row a set.
    """

    buckets: tuple[Bucket, ...]
    position: Int[Tensor, " sets"]

    def rows(
        self, table: Float[Tensor, "rows dim"], places: Int[Tensor, " sets"] | None = None
    ) -> list[Float[Tensor, "_ dim"]]:
        """Reads one row a set.

        Args:
            table: the rows.
            places: which row belongs to each set; None if set i has row i.

        Returns:
            For every bucket a tensor [sets, dim].
        """
        index = torch.cat([bucket.sets for bucket in self.buckets])
        rows = table.index_select(0, index if places is None else places[index])
        return list(rows.split([len(bucket.sets) for bucket in self.buckets]))

    def gather(
        self, tokens: Float[Tensor, "tokens dim"], places: Int[Tensor, " ragged"] | None = None
    ) -> list[Float[Tensor, "_ _ dim"]]:
        """Lays the tokens out as one dense tensor a bucket, in one read (a read each has a slow backward).

        Args:
            tokens: the flat tokens.
            places: where token number i of the ragged sets lies among them; None if at i.

        Returns:
            For every bucket a tensor [sets, tokens, dim].
        """
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

    Which sets share a bucket changes no result, only its speed: a set of n tokens is padded to at most
    `(1 + max_waste) n`, and to the longest set that is really in its bucket.

    Args:
        lengths: sizes of the sets, at least 1, in the order of the flat tensor.
        max_waste: largest share of padding; 0 groups equal sizes only and needs no masks.
        boundary: sets up to this size and larger sets never share a bucket.
        max_tokens: buckets are cut so that they hold no more tokens, but at least one set.

    Returns:
        The buckets. `torch.cat(results)[buckets.position]` puts what they yield back in order.

    Raises:
        ValueError: if a set is empty.
    """
    lengths = lengths.long()
    if lengths.numel() and int(lengths.min()) < 1:
        raise ValueError(f"every set needs at least 1 token, set {int(lengths.argmin())} has none")
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
    """Joins neighbouring sizes, smallest first, into (number of sets, longest) runs."""
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
