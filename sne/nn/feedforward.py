"""The row-wise feed-forward layer of the Set Transformer, and the residual step that all blocks end in."""

from jaxtyping import Float
from torch import Tensor, nn

from sne.nn.projection import BRANCH_GAIN, projection


class RowFeedForward(nn.Module):
    """Row-wise feed-forward layer (rFF): the same map on every token, `relu(x W + b)`.

    Args:
        dim: width of a token, in and out.
        gain: factor on the size at the start.

    Source: Lee et al., arXiv 1810.00825, section 3.1.
    Differs: nothing. The paper leaves the depth OPEN; one linear layer and a ReLU, as in its published code.
    """

    def __init__(self, dim: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.linear = projection(dim, gain=gain)

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Maps every token on its own."""
        return self.linear(x).relu_()


class ResidualFeedForward(nn.Module):
    """The end of a multihead attention block: `H -> H + rFF(H)`, with layer norms if asked for.

    Args:
        dim: width of a token.
        has_norm: whether the two layer norms of the Set Transformer's published code are there.
    """

    def __init__(self, dim: int, *, has_norm: bool = False) -> None:
        super().__init__()
        self.feedforward = RowFeedForward(dim, gain=BRANCH_GAIN)
        self.norm_in = nn.LayerNorm(dim) if has_norm else nn.Identity()
        self.norm_out = nn.LayerNorm(dim) if has_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Maps every token on its own."""
        x = self.norm_in(x)
        return self.norm_out(x + self.feedforward(x))
