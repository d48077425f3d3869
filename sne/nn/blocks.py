"""The attention blocks of the Set Transformer: MAB, SAB and ISAB, on sets of equal or masked size."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sne.nn.attention import attend
from sne.nn.feedforward import ResidualFeedForward
from sne.nn.projection import BRANCH_GAIN, projection


class MultiheadAttentionBlock(nn.Module):
    """Multihead attention block (MAB): `MAB(X, Y) = H + rFF(H)`, `H = X W_q + Multihead(X, Y, Y)`.

    Equivariant to the order of X, invariant to the order of Y.

    Args:
        dim: width of a token, in and out.
        heads: number of heads; divides dim.
        has_norm: whether layer norms stand before and after the feed-forward layer.

    Source: Lee et al., arXiv 1810.00825, section 3.1; method.md, section 1.
    Differs: softmax scaled by the width of a head (see `attend`). Keys have no bias, for it cancels in the
        softmax. Heads are put side by side without an output projection, as in the published code. Layer norm
        is OPEN in SNE: off by default, so that the scale of weights is not lost.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.query = projection(dim)
        self.key = projection(dim, has_bias=False)
        self.value = projection(dim, gain=BRANCH_GAIN)
        self.end = ResidualFeedForward(dim, has_norm=has_norm)

    def forward(
        self,
        x: Float[Tensor, "sets targets dim"],
        y: Float[Tensor, "sets tokens dim"],
        mask: Bool[Tensor, "sets tokens"] | None = None,
    ) -> Float[Tensor, "sets targets dim"]:
        """Lets every token of X read the set Y; `mask` is True on the real tokens of Y."""
        queries = self.query(x)
        attended = attend(queries, self.key(y), self.value(y), heads=self.heads, mask=mask)
        return self.end(queries + attended)


class SetAttentionBlock(nn.Module):
    """Set attention block (SAB): `SAB(X) = MAB(X, X)`. Square in the size of the set; order-equivariant.

    Args:
        dim: width of a token, in and out.
        heads: number of heads; divides dim.
        has_norm: whether layer norms stand before and after the feed-forward layer.

    Source: Lee et al., arXiv 1810.00825, section 3.1.
    Differs: as in `MultiheadAttentionBlock`.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool = False) -> None:
        super().__init__()
        self.block = MultiheadAttentionBlock(dim, heads=heads, has_norm=has_norm)

    def forward(
        self, x: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None = None
    ) -> Float[Tensor, "sets tokens dim"]:
        """Lets every token read its own set; what comes out where `mask` is False means nothing."""
        return self.block(x, x, mask)


class InducedSetAttentionBlock(nn.Module):
    """Induced set attention block (ISAB): `ISAB_m(X) = MAB(X, MAB(I, X))`. Linear in the size of the set.

    Sets of at most `full_up_to` tokens take `MAB(X, X)` with the same outer block, so that one set of weights
    serves small and large sets and learns from both.

    Args:
        dim: width of a token, in and out.
        heads: number of heads; divides dim.
        inducing_points: number m of learned points that summarise the set.
        full_up_to: largest set that attends to itself; 0 gives the plain ISAB.
        has_norm: whether layer norms stand before and after the feed-forward layers.
        slice_tokens: without gradients, more tokens than this are mapped slice by slice to bound memory.

    Source: Lee et al., arXiv 1810.00825, section 3.1.
    Differs: as in `MultiheadAttentionBlock`; `full_up_to` is ours.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        inducing_points: int,
        full_up_to: int = 0,
        has_norm: bool = False,
        slice_tokens: int = 16384,
    ) -> None:
        super().__init__()
        self.full_up_to = full_up_to
        self.slice_tokens = slice_tokens
        self.points = nn.Parameter(torch.empty(inducing_points, dim))
        nn.init.xavier_uniform_(self.points)
        self.inner = MultiheadAttentionBlock(dim, heads=heads, has_norm=has_norm)
        self.outer = MultiheadAttentionBlock(dim, heads=heads, has_norm=has_norm)

    def forward(
        self, x: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None = None
    ) -> Float[Tensor, "sets tokens dim"]:
        """Lets every token read a summary of its set; what comes out where `mask` is False means nothing.

        A batch holds sets on one side of `full_up_to` only: see the argument `boundary` of `bucket_sets`.
        """
        if x.shape[1] <= self.full_up_to:
            return self.outer(x, x, mask)
        summary = self.inner(self.points.expand(x.shape[0], -1, -1), x, mask)
        if torch.is_grad_enabled() or x.shape[1] <= self.slice_tokens:
            return self.outer(x, summary)
        return torch.cat([self.outer(part, summary) for part in x.split(self.slice_tokens, dim=1)], dim=1)
