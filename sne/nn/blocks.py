"""Attention blocks on sets of equal size or with a mask: those of the Set Transformer, and a pre-norm block."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sne.errors import SneError
from sne.nn.attention import attend, attend_within, softmax_over_set

BRANCH_GAIN = 0.5
"""Initial gain of maps whose result is added to their input. With a gain of 1 the sums grow from block to block, and
embeddings start ten times too large for a head to learn from."""


def projection(dim: int, *, has_bias: bool = True, gain: float = 1.0) -> nn.Linear:
    """Returns a linear layer dim -> dim that initially preserves the size of its input, times a gain.

    PyTorch's own initialisation divides the variance by 3. A network passes about twenty such maps on its way to an
    embedding, so two networks would start with almost equal embeddings.

    Args:
        dim: Width of the input and of the output.
        has_bias: Whether the layer has a bias, which starts at zero.
        gain: Factor on the initial weights; `BRANCH_GAIN` for maps whose result is added to their input.

    Returns:
        The layer.

    Source: Glorot and Bengio, AISTATS 2010.
    Differs: nothing.
    """
    layer = nn.Linear(dim, dim, bias=has_bias)
    nn.init.xavier_uniform_(layer.weight, gain)
    if has_bias:
        nn.init.zeros_(layer.bias)
    return layer


def fold_queries(queries: Float[Tensor, "targets dim"], key: nn.Linear, *, heads: int) -> Float[Tensor, "rows dim"]:
    """Folds queries that all sets share into the key projection.

    Args:
        queries: Projected queries.
        key: Projection of the keys, which has no bias.
        heads: Number of attention heads.

    Returns:
        One vector per head and target, heads first; its products with the tokens are the scaled logits.

    Source: method.md, section 5.
    Differs: nothing.
    """
    width = queries.shape[1] // heads
    per_head = queries.unflatten(1, (heads, width)).transpose(0, 1) @ key.weight.view(heads, width, -1)
    return per_head.flatten(0, 1) * width**-0.5


def project_averages(
    averages: Float[Tensor, "sets rows dim"], value: nn.Linear, *, heads: int
) -> Float[Tensor, "sets targets dim"]:
    """Applies the value projection to averages of tokens, one per row of `fold_queries`.

    Args:
        averages: Averages of each set's tokens under the weights of each head and target.
        value: Projection of the values.
        heads: Number of attention heads.

    Returns:
        The averages of the values, heads concatenated, as `attend` returns them.

    Source: method.md, section 5.
    Differs: nothing.
    """
    weight = value.weight.view(heads, -1, averages.shape[2])
    by_head = torch.einsum("shtd,hwd->sthw", averages.unflatten(1, (heads, -1)), weight)
    return by_head.flatten(2) + value.bias


@final
class RowFeedForward(nn.Module):
    """Row-wise feed-forward layer (rFF): the same map on every token, `relu(x W + b)`.

    Args:
        dim: Width of a token, in and out.
        gain: Factor on the initial weights.

    Source: Lee et al., arXiv 1810.00825, section 3.1.
    Differs: nothing. The paper leaves the depth OPEN; one linear layer and a ReLU, as in its published code.
    """

    def __init__(self, dim: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.linear = projection(dim, gain=gain)

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Maps every token independently of the others."""
        return self.linear(x).relu_()


@final
class ResidualFeedForward(nn.Module):
    """Last step of a multihead attention block: `H -> H + rFF(H)`, with optional layer norms.

    Args:
        dim: Width of a token.
        has_norm: Whether to include the two layer norms of the Set Transformer's published code.
    """

    def __init__(self, dim: int, *, has_norm: bool = False) -> None:
        super().__init__()
        self.feedforward = RowFeedForward(dim, gain=BRANCH_GAIN)
        self.norm_in = nn.LayerNorm(dim) if has_norm else nn.Identity()
        self.norm_out = nn.LayerNorm(dim) if has_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "*tokens dim"]) -> Float[Tensor, "*tokens dim"]:
        """Maps every token independently of the others."""
        x = self.norm_in(x)
        return self.norm_out(x + self.feedforward(x))


@final
class MultiheadAttentionBlock(nn.Module):
    """Multihead attention block (MAB): `MAB(X, Y) = H + rFF(H)`, `H = X W_q + Multihead(X, Y, Y)`.

    The block is equivariant to the order of X and invariant to the order of Y.

    Args:
        dim: Width of a token, in and out.
        heads: Number of attention heads; must divide dim.
        has_norm: Whether layer norms stand before and after the feed-forward layer.

    Source: Lee et al., arXiv 1810.00825, section 3.1; method.md, section 1.
    Differs: the softmax is scaled by the width of a head (see `attend`). Keys have no bias, because it cancels in the
        softmax. Heads are concatenated without an output projection, as in the published code. Layer norm is OPEN in
        SNE; it is off by default so that the scale of the weights is preserved.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool = False) -> None:
        super().__init__()
        _check_heads(dim, heads)
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
        """Lets every token of X attend to the set Y; `mask` is True on the real tokens of Y."""
        queries = self.query(x)
        attended = attend(queries, self.key(y), self.value(y), heads=self.heads, mask=mask)
        return self.end(queries + attended)

    def summarize(
        self,
        targets: Float[Tensor, "targets dim"],
        y: Float[Tensor, "sets tokens dim"],
        mask: Bool[Tensor, "sets tokens"] | None = None,
    ) -> Float[Tensor, "sets targets dim"]:
        """Lets the same targets attend to every set Y, whose keys and values are not computed (see `fold_queries`)."""
        queries = self.query(targets)
        weights = softmax_over_set((y @ fold_queries(queries, self.key, heads=self.heads).T).transpose(1, 2), mask)
        return self.end(queries + project_averages(torch.bmm(weights, y), self.value, heads=self.heads))


@final
class SetAttentionBlock(nn.Module):
    """Set attention block (SAB): `SAB(X) = MAB(X, X)`. Its cost is quadratic in the size of the set.

    The block is equivariant to the order of the set.

    Args:
        dim: Width of a token, in and out.
        heads: Number of attention heads; must divide dim.
        has_norm: Whether layer norms stand before and after the feed-forward layer.

    Source: Lee et al., arXiv 1810.00825, section 3.1.
    Differs: as in `MultiheadAttentionBlock`.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool = False) -> None:
        super().__init__()
        self.block = MultiheadAttentionBlock(dim, heads=heads, has_norm=has_norm)

    def forward(
        self, x: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None = None
    ) -> Float[Tensor, "sets tokens dim"]:
        """Lets every token attend to its own set; results where `mask` is False are arbitrary."""
        return self.block(x, x, mask)


@final
class InducedSetAttentionBlock(nn.Module):
    """Induced set attention block (ISAB): `ISAB_m(X) = MAB(X, MAB(I, X))`. Its cost is linear in the size of the set.

    Sets of at most `full_up_to` tokens are computed as `MAB(X, X)` with the same outer block, so that one set of
    parameters serves small and large sets and learns from both.

    Args:
        dim: Width of a token, in and out.
        heads: Number of attention heads; must divide dim.
        inducing_points: Number m of learned points that summarise the set.
        full_up_to: Size of the largest set that attends to itself; 0 gives the plain ISAB.
        has_norm: Whether layer norms stand before and after the feed-forward layers.
        slice_tokens: Number of tokens per slice when no gradient is needed; bounds the memory of large sets.

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
        self.points = nn.Parameter(torch.empty(inducing_points, dim, dtype=torch.float32))
        nn.init.xavier_uniform_(self.points)
        self.inner = MultiheadAttentionBlock(dim, heads=heads, has_norm=has_norm)
        self.outer = MultiheadAttentionBlock(dim, heads=heads, has_norm=has_norm)

    def forward(
        self, x: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None = None
    ) -> Float[Tensor, "sets tokens dim"]:
        """Lets every token attend to a summary of its set; results where `mask` is False are arbitrary.

        All sets of a batch must lie on the same side of `full_up_to`: see the argument `boundary` of `bucket_sets`.
        """
        if x.shape[1] <= self.full_up_to:
            return self.outer(x, x, mask)
        summary = self.inner.summarize(self.points, x, mask)
        if torch.is_grad_enabled() or x.shape[1] <= self.slice_tokens:
            return self.outer(x, summary)
        return torch.cat([self.outer(part, summary) for part in x.split(self.slice_tokens, dim=1)], dim=1)


@final
class PoolingByAttention(nn.Module):
    """Pooling by multihead attention (PMA) with one seed: `PMA(Z) = MAB(S, rFF(Z))`.

    The seed is constant. Its query is therefore folded into the key projection (one vector per head), and the value
    projection is applied after averaging. Each token costs `heads * dim` products rather than `2 dim^2`; the result is
    the same.

    Args:
        dim: Width of a token and of the result.
        heads: Number of attention heads; must divide dim.
        has_norm: Whether layer norms stand before and after the last feed-forward layer.

    Source: Lee et al., arXiv 1810.00825, section 3.2; method.md, section 5.
    Differs: as in `MultiheadAttentionBlock`; folding changes the rounding only.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool = False) -> None:
        super().__init__()
        _check_heads(dim, heads)
        self.heads = heads
        self.seed = nn.Parameter(torch.empty(1, dim, dtype=torch.float32))
        nn.init.xavier_uniform_(self.seed)
        self.feedforward = RowFeedForward(dim)
        self.query = projection(dim)
        self.key = projection(dim, has_bias=False)
        self.value = projection(dim)
        self.end = ResidualFeedForward(dim, has_norm=has_norm)

    def forward(
        self, x: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None = None
    ) -> Float[Tensor, "sets dim"]:
        """Pools every set to one vector, independently of the order of its tokens.

        Args:
            x: The sets.
            mask: True on real tokens, of which each set has at least one; None if all tokens are real.

        Returns:
            One vector per set.
        """
        tokens = self.feedforward(x)
        weights = softmax_over_set((tokens @ self.folded_keys().T).transpose(1, 2), mask)
        return self.project(torch.bmm(weights, tokens))

    def folded_keys(self) -> Float[Tensor, "heads dim"]:
        """Returns one vector per head, whose products with the tokens are the logits."""
        return fold_queries(self.query(self.seed), self.key, heads=self.heads)

    def project(self, averages: Float[Tensor, "sets heads dim"]) -> Float[Tensor, "sets dim"]:
        """Maps the average of the tokens per head to the result of the block."""
        attended = project_averages(averages, self.value, heads=self.heads).squeeze(1)
        return self.end(self.query(self.seed) + attended)


@final
class PreNormBlock(nn.Module):
    """Pre-norm transformer block: attention and a feed-forward layer, each after a layer norm, with residual sums.

    The block is equivariant to the order of the tokens.

    Args:
        dim: Width of a token, in and out.
        heads: Number of attention heads; must divide dim.
        dropout: Share of entries that are dropped in both branches during training.

    Source: Xiong et al., arXiv 2002.04745, section 3 (pre-LN transformer layer).
    Differs: SiLU is the activation, and the hidden layer has twice the width rather than four times.
    """

    def __init__(self, dim: int, *, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        _check_heads(dim, heads)
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
        """Lets every token attend to its own set; results where `mask` is False are arbitrary."""
        attended = attend_within(self.projection(self.before_attention(tokens)), heads=self.heads, mask=mask)
        tokens = tokens + self.dropout(self.out(attended))
        return tokens + self.dropout(self.feed_forward(self.before_feed_forward(tokens)))


def _check_heads(dim: int, heads: int) -> None:
    if dim % heads:
        raise SneError(f"dim {dim} is not a multiple of heads {heads}")
