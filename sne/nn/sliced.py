"""Attention of a few targets over one large set whose tokens arrive in slices."""

from collections.abc import Iterable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import SneError
from sne.nn.blocks import MultiheadAttentionBlock, PoolingByAttention, fold_queries, project_averages


@final
class RunningMeans:
    """Means of the tokens of one set under several softmax weights, while the tokens arrive in slices.

    Memory depends on the size of a slice, not on the size of the set. Sums over slices are kept in float64.

    Example:
        >>> means = RunningMeans()
        >>> means.add(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0], [2.0]]))
        >>> means.add(torch.tensor([[0.0]]), torch.tensor([[6.0]]))
        >>> means.result()
        tensor([[3.]])

    Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867, section 3.
    Differs: the weighted tokens are accumulated with the normaliser, as in Rabe and Staats, arXiv 2112.05682.
    """

    def __init__(self) -> None:
        self._largest: Tensor | None = None
        self._total = self._sums = torch.zeros((), dtype=torch.float32)
        self._dtype = torch.float32

    def add(self, logits: Float[Tensor, "rows tokens"], tokens: Float[Tensor, "tokens dim"]) -> None:
        """Adds a slice of one or more tokens, with the logits of its tokens in every row."""
        largest = logits.amax(1).double()
        if self._largest is not None:
            largest = torch.maximum(largest, self._largest)
        weights = (logits - largest[:, None].to(logits.dtype)).exp()
        total, sums = weights.sum(1).double(), (weights @ tokens).double()
        if self._largest is not None:
            kept = (self._largest - largest).exp()
            total, sums = total + kept * self._total, sums + kept[:, None] * self._sums
        self._largest, self._total, self._sums, self._dtype = largest, total, sums, tokens.dtype

    def result(self) -> Float[Tensor, "rows dim"]:
        """Returns the means over all tokens that were added.

        Raises:
            SneError: If no token was added.
        """
        if self._largest is None:
            raise SneError("expected at least 1 token per set, got none")
        return (self._sums / self._total[:, None]).to(self._dtype)


def summarize_slices(
    block: MultiheadAttentionBlock, targets: Float[Tensor, "targets dim"], slices: Iterable[Float[Tensor, "_ dim"]]
) -> Float[Tensor, "targets dim"]:
    """Computes `block(targets, set)` for one set that arrives in slices.

    Args:
        block: The attention block.
        targets: Tokens that attend to the set.
        slices: The tokens of the set, in slices of one or more tokens.

    Returns:
        One vector per target, equal to the block's own result up to rounding.
    """
    return _attend(block, targets, slices)


def pool_slices(pool: PoolingByAttention, slices: Iterable[Float[Tensor, "_ dim"]]) -> Float[Tensor, " dim"]:
    """Computes `pool(set)` for one set that arrives in slices.

    Args:
        pool: The pooling block.
        slices: The tokens of the set, in slices of one or more tokens.

    Returns:
        The pooled vector, equal to the block's own result up to rounding.
    """
    return _attend(pool, pool.seed, (pool.feedforward(tokens) for tokens in slices))[0]


def _attend(
    block: MultiheadAttentionBlock | PoolingByAttention, targets: Tensor, slices: Iterable[Tensor]
) -> Float[Tensor, "targets dim"]:
    """Folds the queries into the key projection, and applies the value projection to the means."""
    query, heads = block.query(targets), block.heads
    folded = fold_queries(query, block.key, heads=heads)
    means = RunningMeans()
    for tokens in slices:
        means.add(folded @ tokens.T, tokens)
    attended = project_averages(means.result().unsqueeze(0), block.value, heads=heads).squeeze(0)
    return block.end(query + attended)
