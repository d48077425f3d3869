"""A pre-norm attention block for sets of tokens."""

from typing import final

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sne.nn.attention import attend


@final
class PreNormBlock(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and beside a residual connection.

    Equivariant to the order of the tokens.

    Args:
        dim: width of a token, in and out.
        heads: number of heads; divides dim.
        dropout: share of entries dropped in both branches while training.

    Source: Xiong et al., arXiv 2002.04745, section 3 (pre-LN transformer layer).
    Differs: SiLU, and a hidden layer of twice the width in place of four times.
    """

    def __init__(self, dim: int, *, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(dim)
        self.projection = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.before_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None = None
    ) -> Float[Tensor, "sets tokens dim"]:
        """Lets every token read its set; what comes out where `mask` is False means nothing."""
        queries, keys, values = self.projection(self.before_attention(tokens)).chunk(3, -1)
        attended = attend(queries, keys, values, heads=self.heads, mask=mask)
        tokens = tokens + self.dropout(self.out(attended))
        return tokens + self.dropout(self.feed_forward(self.before_feed_forward(tokens)))
