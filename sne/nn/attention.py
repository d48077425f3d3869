"""Multihead attention within many sets at once, with a fast form for many small sets on the CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from sne.errors import SneError

SMALL_SET = 32
"""Largest set, in tokens, that is computed by `_SmallSetAttention` on the CPU."""


def attend(
    queries: Float[Tensor, "sets targets dim"],
    keys: Float[Tensor, "sets tokens dim"],
    values: Float[Tensor, "sets tokens dim"],
    *,
    heads: int,
    mask: Bool[Tensor, "sets tokens"] | None = None,
) -> Float[Tensor, "sets targets dim"]:
    """Computes multihead softmax attention without an output projection; heads are concatenated along the last axis.

    Args:
        queries: Projected queries.
        keys: Projected keys, which are compared with the queries.
        values: Projected values, which are averaged.
        heads: Number of attention heads; must divide dim.
        mask: True on real tokens, of which each set has at least one; None if all tokens are real.

    Returns:
        The averaged values per query, one average per head.

    Raises:
        SneError: If dim is not a multiple of heads.

    Example:
        >>> zeros, values = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]]])
        >>> attend(zeros[:, :1], zeros, values, heads=2)  # equal weights: the mean of the values
        tensor([[[3., 5.]]])

    Source: Lee et al., arXiv 1810.00825, section 2.1.
    Differs: logits are divided by the square root of the width of a head, dim / heads, as in Vaswani et al.,
        arXiv 1706.03762. The Set Transformer's published code divides by the square root of dim.
    """
    if heads < 1 or queries.shape[-1] % heads:
        raise SneError(f"dim {queries.shape[-1]} is not a multiple of heads {heads}")
    is_small = max(queries.shape[1], keys.shape[1]) <= SMALL_SET
    if mask is None and is_small and queries.device.type == "cpu":
        return _SmallSetAttention.apply(queries, keys, values, heads)  # pyright: ignore[reportReturnType]
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values)]
    wide_mask = None if mask is None else mask[:, None, None, :].expand(-1, heads, queries.shape[1], -1)
    attended = F.scaled_dot_product_attention(*split, attn_mask=wide_mask)
    return attended.transpose(1, 2).flatten(-2)


def attend_within(
    projected: Float[Tensor, "sets tokens three_dim"], *, heads: int, mask: Bool[Tensor, "sets tokens"] | None = None
) -> Float[Tensor, "sets tokens dim"]:
    """Computes multihead softmax attention of every token to its own set, see `attend`.

    Args:
        projected: Queries, keys and values of each token, end to end.
        heads: Number of attention heads; must divide dim.
        mask: True on real tokens, of which each set has at least one; None if all tokens are real.

    Returns:
        The averaged values per token, one average per head.

    Example:
        >>> projected = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]])
        >>> attend_within(projected, heads=1)  # equal weights: the mean of the values
        tensor([[[2.],
                 [2.]]])
    """
    if mask is None and projected.shape[1] <= SMALL_SET and projected.device.type == "cpu":
        if not torch.is_grad_enabled():
            return _attend_within_small_sets(projected, heads)[0]
        return _AttentionWithinSmallSets.apply(projected, heads)  # pyright: ignore[reportReturnType]
    queries, keys, values = projected.chunk(3, -1)
    return attend(queries, keys, values, heads=heads, mask=mask)


def softmax_over_set(
    logits: Float[Tensor, "sets rows tokens"], mask: Bool[Tensor, "sets tokens"] | None = None
) -> Float[Tensor, "sets rows tokens"]:
    """Computes a softmax over the tokens of each set.

    Args:
        logits: Finite numbers.
        mask: True on real tokens, of which each set has at least one; None if all tokens are real.

    Returns:
        Weights that sum to one over the real tokens and are exactly 0 elsewhere.

    Example:
        >>> softmax_over_set(torch.zeros(1, 1, 3), torch.tensor([[True, True, False]]))
        tensor([[[0.5000, 0.5000, 0.0000]]])
    """
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None, :], -torch.inf)
    elif logits.shape[-1] <= SMALL_SET and logits.device.type == "cpu":
        return _SmallSoftmax.apply(logits)  # pyright: ignore[reportReturnType]
    return logits.transpose(1, 2).softmax(1).transpose(1, 2)  # products of tokens and keys arrive transposed


def _small_softmax(logits: Tensor) -> Tensor:
    # torch.softmax is 5 times slower on such short rows because its kernel does not vectorise them.
    weights = torch.exp_(logits - logits.amax(-1, keepdim=True))
    return weights.div_(weights.sum(-1, keepdim=True))


def _small_softmax_backward(weights: Tensor, grad: Tensor) -> Tensor:
    product = grad * weights
    return product.sub_(weights * product.sum(-1, keepdim=True))


class _SmallSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        weights = _small_softmax(logits)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> Tensor:
        (grad,) = grads
        return _small_softmax_backward(ctx.saved_tensors[0], grad)


class _SmallSetAttention(torch.autograd.Function):
    """Attention within many small sets: batched products over sets x heads, and `_small_softmax`."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
        q, k, v = (_split_heads(x, heads) for x in (queries, keys, values))
        weights = _small_weights(q, k)
        ctx.save_for_backward(q, k, v, weights)
        ctx.heads = heads
        return _merge_heads(torch.bmm(weights, v), heads)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        found = _small_backward(q, k, v, weights, _split_heads(grads[0], ctx.heads))
        merged = (_merge_heads(x, ctx.heads) for x in found)
        return (*merged, None)  # pyright: ignore[reportReturnType]


class _AttentionWithinSmallSets(torch.autograd.Function):
    """The same within each set, from queries, keys and values that lie end to end and are split in one copy."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, heads: int) -> Tensor:
        attended, *saved = _attend_within_small_sets(projected, heads)
        ctx.save_for_backward(*saved)
        ctx.heads = heads
        return attended

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        found = torch.stack(_small_backward(q, k, v, weights, _split_heads(grads[0], ctx.heads)))
        return found.unflatten(1, (-1, ctx.heads)).permute(1, 3, 0, 2, 4).flatten(2), None


def _attend_within_small_sets(projected: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the averaged values, and what the backward pass needs: queries, keys, values and weights by head."""
    sets, tokens, _ = projected.shape
    q, k, v = projected.reshape(sets, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)
    weights = _small_weights(q, k)
    return _merge_heads(torch.bmm(weights, v), heads), q, k, v, weights


def _small_weights(q: Tensor, k: Tensor) -> Tensor:
    """Returns the weights of each query; the product is scaled where it is computed, which saves a pass."""
    logits = torch.baddbmm(q.new_zeros(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    return _small_softmax(logits)


def _small_backward(q: Tensor, k: Tensor, v: Tensor, weights: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of queries, keys and values from that of the averaged values."""
    grad_v = torch.bmm(weights.transpose(1, 2), grad)
    grad_logits = _small_softmax_backward(weights, torch.bmm(grad, v.transpose(1, 2))).mul_(q.shape[-1] ** -0.5)
    return torch.bmm(grad_logits, k), torch.bmm(grad_logits.transpose(1, 2), q), grad_v


def _split_heads(x: Tensor, heads: int) -> Tensor:
    sets, tokens, dim = x.shape
    return x.reshape(sets, tokens, heads, -1).transpose(1, 2).reshape(sets * heads, tokens, dim // heads)


def _merge_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(0, (-1, heads)).transpose(1, 2).flatten(-2)
