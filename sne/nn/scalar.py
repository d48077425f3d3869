"""The first set attention block of a chunk encoder, which sees scalars: exact, without keys and values."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sne.nn.feedforward import ResidualFeedForward


def tilted_means(x: Float[Tensor, "sets tokens"], tilts: Float[Tensor, "sets rows"]) -> Float[Tensor, "sets rows"]:
    """Mean of each set under exponential tilts: `sum_j softmax_j(t x_j) x_j`.

    Its derivative by the tilt is the tilted variance, so that the backward pass towards the tilts needs no
    tokens x rows table.

    Args:
        x: the sets, all entries real.
        tilts: any number of tilts a set.

    Returns:
        One mean for every tilt, between the smallest and the largest entry of its set.

    Source: method.md, section 5.
    Differs: nothing.
    """
    with torch.autocast(x.device.type, enabled=False):  # moments need float32
        return _TiltedMeans.apply(x, tilts)  # pyright: ignore[reportReturnType]


def _tilted_weights(centred: Tensor, tilts: Tensor) -> Tensor:
    # The largest logit is known without looking for it: the tilt times the largest or the smallest entry.
    low, high = centred.amin(1, keepdim=True), centred.amax(1, keepdim=True)
    largest = torch.maximum(tilts * low, tilts * high)
    return torch.baddbmm(
        largest.unsqueeze(2), tilts.unsqueeze(2), centred.unsqueeze(1), beta=-1.0
    ).exp_()  # sets x rows x tokens, not yet divided by their sum


class _TiltedMeans(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, tilts: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        centred = x - mean  # the variance below would cancel badly around a large mean
        powers = torch.stack((torch.ones_like(centred), centred, centred.square()), dim=2)
        total, first, second = torch.bmm(_tilted_weights(centred, tilts), powers).unbind(2)
        first = first / total
        ctx.save_for_backward(centred, tilts, first, second / total - first.square())
        return first + mean

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        (grad,) = grads
        centred, tilts, first, variance = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            weights = _tilted_weights(centred, tilts)
            weights = weights * (grad / weights.sum(2)).unsqueeze(2)
            slope = 1 + tilts.unsqueeze(2) * (centred.unsqueeze(1) - first.unsqueeze(2))
            grad_x = (weights * slope).sum(1)
        return grad_x, grad * variance if ctx.needs_input_grad[1] else None


class ScalarSetAttentionBlock(nn.Module):
    """Set attention block (SAB) on sets of scalars, `MAB(x, x)` with x of width one.

    For one head the logits over j are `(a x_i + b) x_j` up to what cancels, so attention gives one number a
    head, the tilted mean of the set; the block is an affine map of `[x_i, m_1(x_i) .. m_H(x_i)]`, then the
    rFF, whose linear layer is folded into that map where no layer norm stands between.

    Args:
        dim: width of the result.
        heads: number of heads; divides dim.
        has_norm: whether layer norms stand before and after the feed-forward layer.

    Source: Lee et al., arXiv 1810.00825, section 3.1; method.md, section 5.
    Differs: as in `MultiheadAttentionBlock`; the form above changes rounding only.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.has_norm = has_norm
        self.query = nn.Linear(1, dim)
        self.key = nn.Linear(1, dim, bias=False)
        self.value = nn.Linear(1, dim)
        self.end = ResidualFeedForward(dim, has_norm=has_norm)

    def forward(self, x: Float[Tensor, "sets tokens"]) -> Float[Tensor, "sets tokens dim"]:
        """Lets every scalar read its own set; all entries are real. Order-equivariant."""
        sets, tokens = x.shape
        key = self.key.weight.view(self.heads, -1)
        scale = key.shape[1] ** -0.5
        slope = (self.query.weight.view(self.heads, -1) * key).sum(1) * scale
        offset = (self.query.bias.view(self.heads, -1) * key).sum(1) * scale
        tilts = x.unsqueeze(2) * slope + offset
        means = tilted_means(x, tilts.flatten(1)).view(sets, tokens, self.heads)
        numbers = torch.cat((x.unsqueeze(2), means), dim=2)
        # One column for x, one for each head's mean: it meets that head's rows of the value projection.
        by_head = torch.block_diag(*self.value.weight.view(self.heads, -1, 1))
        weight = torch.cat((self.query.weight, by_head), dim=1)
        bias = self.query.bias + self.value.bias
        if self.has_norm:
            return self.end(F.linear(numbers, weight, bias))
        linear = self.end.feedforward.linear
        inside = F.linear(numbers, linear.weight @ weight, linear.weight @ bias + linear.bias)
        return F.linear(numbers, weight, bias) + inside.relu_()
