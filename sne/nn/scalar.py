"""Exact set attention on scalars, without keys and values: the first block of a chunk encoder."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sne.errors import SneError
from sne.nn.blocks import ResidualFeedForward


def tilted_means(x: Float[Tensor, "sets tokens"], tilts: Float[Tensor, "sets rows"]) -> Float[Tensor, "sets rows"]:
    """Computes the mean of each set under exponential tilts: `sum_j softmax_j(t x_j) x_j`.

    The derivative with respect to a tilt is the tilted variance. The backward pass to the tilts therefore needs no
    table of tokens x rows.

    Args:
        x: The sets; all entries are real.
        tilts: Tilts t of each set, any number of them.

    Returns:
        One mean per tilt, between the smallest and the largest entry of its set.

    Example:
        >>> tilted_means(torch.tensor([[0.0, 1.0, 5.0]]), torch.tensor([[0.0, 100.0]]))
        tensor([[2., 5.]])

    Source: method.md, section 5.
    Differs: nothing.
    """
    with torch.autocast(x.device.type, enabled=False):  # moments need float32
        return _TiltedMeans.apply(x, tilts)  # pyright: ignore[reportReturnType]


def _tilted_weights(centred: Tensor, tilts: Tensor) -> Tensor:
    # The largest logit is the tilt times either the largest or the smallest entry, so no search is needed.
    low, high = centred.amin(1, keepdim=True), centred.amax(1, keepdim=True)
    largest = torch.maximum(tilts * low, tilts * high)
    return torch.baddbmm(
        largest.unsqueeze(2), tilts.unsqueeze(2), centred.unsqueeze(1), beta=-1.0
    ).exp_()  # sets x rows x tokens, not yet divided by their sum


class _TiltedMeans(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, tilts: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        centred = x - mean  # around a large mean, the variance below would lose its digits to cancellation
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

    For one head, the logits over j are `(a x_i + b) x_j` plus terms that cancel in the softmax. Attention therefore
    gives one number per head, the tilted mean m of the set. The block is an affine map of
    `[x_i, m_1(x_i) .. m_H(x_i)]` followed by the rFF. Without layer norms, the linear layer of the rFF is folded into
    that map.

    Args:
        dim: Width of the result.
        heads: Number of attention heads; must divide dim.
        has_norm: Whether layer norms stand before and after the feed-forward layer.

    Source: Lee et al., arXiv 1810.00825, section 3.1; method.md, section 5.
    Differs: as in `MultiheadAttentionBlock`; the form above changes the rounding only.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise SneError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.has_norm = has_norm
        self.query = nn.Linear(1, dim)
        self.key = nn.Linear(1, dim, bias=False)
        self.value = nn.Linear(1, dim)
        self.end = ResidualFeedForward(dim, has_norm=has_norm)

    def forward(self, x: Float[Tensor, "sets tokens"]) -> Float[Tensor, "sets tokens dim"]:
        """Lets every scalar attend to its own set, all of whose entries are real; equivariant to their order."""
        sets, tokens = x.shape
        slopes, offsets = self.tilts()
        tilts = x.unsqueeze(2) * slopes + offsets
        means = tilted_means(x, tilts.flatten(1)).view(sets, tokens, self.heads)
        numbers = torch.cat((x.unsqueeze(2), means), dim=2)
        weight, bias = self.affine()
        if self.has_norm:
            return self.end(F.linear(numbers, weight, bias))
        linear = self.end.feedforward.linear
        inside = F.linear(numbers, linear.weight @ weight, linear.weight @ bias + linear.bias)
        return F.linear(numbers, weight, bias) + inside.relu_()

    def tilts(self) -> tuple[Float[Tensor, " heads"], Float[Tensor, " heads"]]:
        """Returns a and b of the tilts `a x + b`, one of each per head."""
        key = self.key.weight.view(self.heads, -1)
        scale = key.shape[1] ** -0.5
        slopes = (self.query.weight.view(self.heads, -1) * key).sum(1) * scale
        return slopes, (self.query.bias.view(self.heads, -1) * key).sum(1) * scale

    def affine(self) -> tuple[Float[Tensor, "dim numbers"], Float[Tensor, " dim"]]:
        """Returns weight and bias of the affine map of `[x, m_1 .. m_H]` to the block's output before the rFF."""
        by_head = torch.block_diag(*self.value.weight.view(self.heads, -1, 1))
        return torch.cat((self.query.weight, by_head), dim=1), self.query.bias + self.value.bias
