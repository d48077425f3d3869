"""Pooling by multihead attention (PMA): a set becomes one vector."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sne.nn.attention import softmax_over_set
from sne.nn.feedforward import ResidualFeedForward, RowFeedForward
from sne.nn.projection import projection


class PoolingByAttention(nn.Module):
    """Pooling by multihead attention (PMA) with one seed: `PMA(Z) = MAB(S, rFF(Z))`.

    The seed is a constant, so its query is folded into the key projection (one vector a head), and the value
    projection is applied after the average: per token `heads * dim` products in place of `2 dim^2`, the same
    result.

    Args:
        dim: width of a token and of the result.
        heads: number of heads; divides dim.
        has_norm: whether layer norms stand before and after the last feed-forward layer.

    Source: Lee et al., arXiv 1810.00825, section 3.2; method.md, section 5.
    Differs: as in `MultiheadAttentionBlock`; folded, which changes rounding only.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.seed = nn.Parameter(torch.empty(1, dim))
        nn.init.xavier_uniform_(self.seed)
        self.feedforward = RowFeedForward(dim)
        self.query = projection(dim)
        self.key = projection(dim, has_bias=False)
        self.value = projection(dim)
        self.end = ResidualFeedForward(dim, has_norm=has_norm)

    def forward(
        self, x: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None = None
    ) -> Float[Tensor, "sets dim"]:
        """Pools every set; `mask` is True on real tokens, at least one a set. Order-invariant."""
        tokens = self.feedforward(x)
        query = self.query(self.seed)
        width = query.shape[-1] // self.heads
        per_head = query.view(self.heads, 1, width) @ self.key.weight.view(self.heads, width, -1)
        folded_key = per_head.squeeze(1) * width**-0.5
        weights = softmax_over_set((tokens @ folded_key.T).transpose(1, 2), mask)
        pooled = torch.bmm(weights, tokens)
        value_weight = self.value.weight.view(self.heads, width, -1)
        attended = torch.einsum("shd,hwd->shw", pooled, value_weight).flatten(1) + self.value.bias
        return self.end(query + attended)
