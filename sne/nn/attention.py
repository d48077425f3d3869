"""Multihead attention inside many sets at once, with a form of its own for many small sets."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

SMALL_SET = 32
"""Up to this many tokens a set goes through `_SmallSetAttention` on the CPU."""


def attend(
    queries: Float[Tensor, "sets targets dim"],
    keys: Float[Tensor, "sets tokens dim"],
    values: Float[Tensor, "sets tokens dim"],
    *,
    heads: int,
    mask: Bool[Tensor, "sets tokens"] | None = None,
) -> Float[Tensor, "sets targets dim"]:
    """Multihead softmax attention, heads side by side in the last axis, no output projection.

    Args:
        queries: what asks, already projected.
        keys: what is compared with the queries, already projected.
        values: what is averaged, already projected.
        heads: number of heads; divides dim.
        mask: True on real tokens; every set has at least one. None when all are real.

    Returns:
        For every query the averaged values, one average a head.

    Source: Lee et al., arXiv 1810.00825, section 2.1.
    Differs: logits are divided by the square root of the width of a head, dim / heads, as in Vaswani et al.,
        arXiv 1706.03762; the Set Transformer's published code divides by the square root of dim.
    """
    if queries.shape[-1] % heads:
        raise ValueError(f"dim {queries.shape[-1]} is not a multiple of heads {heads}")
    is_small = max(queries.shape[1], keys.shape[1]) <= SMALL_SET
    if mask is None and is_small and queries.device.type == "cpu":
        return _SmallSetAttention.apply(queries, keys, values, heads)  # pyright: ignore[reportReturnType]
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values)]
    wide_mask = None if mask is None else mask[:, None, None, :].expand(-1, heads, queries.shape[1], -1)
    attended = F.scaled_dot_product_attention(*split, attn_mask=wide_mask)
    return attended.transpose(1, 2).flatten(-2)


def softmax_over_set(
    logits: Float[Tensor, "sets rows tokens"], mask: Bool[Tensor, "sets tokens"] | None = None
) -> Float[Tensor, "sets rows tokens"]:
    """Softmax over the tokens of each set.

    Args:
        logits: any finite numbers.
        mask: True on real tokens, at least one a set. None when all are real.

    Returns:
        Weights that sum to one over the real tokens; exactly 0 elsewhere.
    """
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None, :], -torch.inf)
    elif logits.shape[-1] <= SMALL_SET and logits.device.type == "cpu":
        return _SmallSoftmax.apply(logits)  # pyright: ignore[reportReturnType]
    return logits.softmax(-1)


def _small_softmax(logits: Tensor) -> Tensor:
    # torch.softmax is 5 times slower on such short rows: its kernel does not vectorise them.
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
    """Attention in very many very small sets: batched products over sets x heads, softmax by hand."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
        q, k, v = (_split_heads(x, heads) for x in (queries, keys, values))
        scale = q.shape[-1] ** -0.5
        weights = _small_softmax(torch.bmm(q, k.transpose(1, 2)).mul_(scale))
        ctx.save_for_backward(q, k, v, weights)
        ctx.heads, ctx.scale = heads, scale
        return _merge_heads(torch.bmm(weights, v), heads)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        grad = _split_heads(grads[0], ctx.heads)
        grad_v = torch.bmm(weights.transpose(1, 2), grad)
        grad_logits = _small_softmax_backward(weights, torch.bmm(grad, v.transpose(1, 2))).mul_(ctx.scale)
        grad_q = torch.bmm(grad_logits, k)
        grad_k = torch.bmm(grad_logits.transpose(1, 2), q)
        merged = (_merge_heads(x, ctx.heads) for x in (grad_q, grad_k, grad_v))
        return (*merged, None)  # pyright: ignore[reportReturnType]


def _split_heads(x: Tensor, heads: int) -> Tensor:
    sets, tokens, dim = x.shape
    return x.reshape(sets, tokens, heads, -1).transpose(1, 2).reshape(sets * heads, tokens, dim // heads)


def _merge_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(0, (-1, heads)).transpose(1, 2).flatten(-2)
