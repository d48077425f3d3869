"""Where the tokens of a batch stand: all that encoders of tensor tokens need of a batch besides its features."""

from functools import cached_property
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sne.encoders.chunking import ROLES
from sne.encoders.tensor_tokens import TensorTokens
from sne.nn import SetBuckets, bucket_sets

DEPTH_NAMES = ("relative_position", "log_levels_below", "log_levels_above", "is_first", "is_last", "log_depth")
"""Names of the values of `depth_features`."""

MOST_TOKENS = 1024
"""Largest number of tokens of small sets that pass the attention blocks together: a few tensors with so many rows fit
a core's cache."""


def depth_features(levels: Int[Tensor, " parts"], heights: Int[Tensor, " parts"]) -> Float[Tensor, "parts features"]:
    """Describes the place of a part in the depth of its network, in numbers that stay bounded for any depth.

    Args:
        levels: Number of levels below the part.
        heights: Number of levels above the part.

    Returns:
        The relative position from -1 to 1, the distances to both ends as logarithms, whether the part is at an end,
        and the log depth; named by `DEPTH_NAMES`.
    """
    low, high = levels.float(), heights.float()
    total = (low + high).clamp_min(1)
    return torch.stack(
        [2 * low / total - 1, low.log1p(), high.log1p(), (low == 0).float(), (high == 0).float(), total.log()], -1
    )


@final
class TokenPlaces:
    """Kinds, depths and owners of the tokens of a batch, computed once for all encoders that read it.

    Tokens are grouped: those of vectors come first, then those of matrices, each in the order of the batch.

    Args:
        batch: The batch.
    """

    def __init__(self, batch: TensorTokens) -> None:
        self._batch = batch
        matrices = batch.is_matrix
        self._groups = [(~matrices).nonzero()[:, 0], matrices.nonzero()[:, 0]]
        self._order = torch.cat(self._groups)
        self.num_networks = batch.num_networks
        self.outputs, self.output_index = batch.outputs, batch.output_index

    @property
    def features(self) -> list[Float[Tensor, "_ features"]]:
        """Features of vectors, and of matrices."""
        return [self._batch.features.index_select(0, rows) for rows in self._groups]

    @cached_property
    def kinds(self) -> Int[Tensor, " parts"]:
        """Row of each token in a `KindTable`."""
        return (len(ROLES) * self._batch.types + self._batch.roles).index_select(0, self._order)

    @cached_property
    def depths(self) -> Float[Tensor, "parts features"]:
        """Depth features of each token."""
        order = self._order
        return depth_features(self._batch.levels.index_select(0, order), self._batch.heights.index_select(0, order))

    @cached_property
    def output_owners(self) -> Int[Tensor, " rows"]:
        """Number of the network that each row of outputs belongs to."""
        return self._owners(self._batch.output_lengths)

    @cached_property
    def output_counts(self) -> Int[Tensor, "networks 1"]:
        """Number of rows of outputs of each network, at least 1."""
        return self._batch.output_lengths.clamp_min(1)[:, None]

    @cached_property
    def has_outputs(self) -> Bool[Tensor, " networks"]:
        """Whether a network has outputs."""
        return self._batch.output_lengths > 0

    @cached_property
    def buckets(self) -> SetBuckets:
        """The networks as sets of tokens; a network with outputs has one token more, which is the last one."""
        lengths = self._batch.lengths + self.has_outputs.long()
        return bucket_sets(lengths, max_waste=1.0, max_tokens=MOST_TOKENS)

    @cached_property
    def ragged(self) -> Int[Tensor, " tokens"]:
        """Row of each token of the ragged sets among the grouped tokens, followed by one answer per network."""
        device, num_tokens = self._order.device, len(self._order)
        ends = (self._batch.lengths + self.has_outputs.long()).cumsum(0)
        before = ends - self._batch.lengths.cumsum(0) - self.has_outputs.long()
        places = torch.arange(num_tokens, device=device) + before[self._owners(self._batch.lengths)]
        rows = torch.empty(num_tokens + int(self.has_outputs.sum()), dtype=torch.long, device=device)
        rows[places[self._order]] = torch.arange(num_tokens, device=device)
        answers = self.has_outputs.nonzero()[:, 0]
        rows[ends[answers] - 1] = num_tokens + answers
        return rows

    def _owners(self, lengths: Int[Tensor, " networks"]) -> Int[Tensor, " rows"]:
        return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
