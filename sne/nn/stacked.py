"""Modules of one form applied together, without gradients: one operation for all of them.

Values have one axis more than those of a single module: the first one, along which the modules stand. Parameters are
copied when the stack is made; later changes of the modules do not reach it.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sne.nn.attention import attend_within
from sne.nn.blocks import PreNormBlock


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """Copies one tensor per module into one."""
    return torch.stack([tensor.detach() for tensor in tensors])


@final
class StackedLinear:
    """Linear layers of one shape.

    Args:
        layers: One `nn.Linear` per module.
        norms: Layer norms in front of the layers, whose gains and biases become part of the product; rows are then
            given as `normalize` returns them. None for none.
    """

    def __init__(self, layers: Sequence[Any], norms: Sequence[nn.LayerNorm] | None = None) -> None:
        self.weight = stack([layer.weight for layer in layers]).transpose(1, 2).contiguous()
        self.bias = stack([layer.bias for layer in layers])[:, None]
        if norms is not None:
            self.bias = self.bias + torch.bmm(stack([norm.bias for norm in norms])[:, None], self.weight)
            self.weight = stack([norm.weight for norm in norms])[:, :, None] * self.weight

    def __call__(self, rows: Float[Tensor, "modules rows dim_in"]) -> Float[Tensor, "modules rows dim_out"]:
        """Applies each layer to the rows of its module."""
        return torch.baddbmm(self.bias, rows, self.weight)

    def add_to(self, target: Float[Tensor, "modules rows dim_out"], rows: Float[Tensor, "modules rows dim_in"]) -> None:
        """Adds the outputs of the layers to a tensor, in place."""
        target.add_(self.bias).baddbmm_(rows, self.weight)


@final
class StackedTables:
    """Tables of one shape, of which all modules read the same rows.

    Args:
        tables: One table per module.
    """

    def __init__(self, tables: Sequence[Float[Tensor, "entries dim"]]) -> None:
        self._entries = stack(tables).transpose(0, 1).contiguous()  # the rows of all modules are read in one piece

    def __call__(self, rows: Int[Tensor, " rows"]) -> Float[Tensor, "modules rows dim"]:
        """Reads rows by their numbers."""
        return self._entries.index_select(0, rows).transpose(0, 1)


@final
class StackedPreNormBlocks:
    """Pre-norm blocks of one shape, with dropout off.

    Args:
        blocks: One block per module.
    """

    def __init__(self, blocks: Sequence[PreNormBlock]) -> None:
        self.heads = blocks[0].heads
        self.projection = StackedLinear([b.projection for b in blocks], [b.before_attention for b in blocks])
        self.out = StackedLinear([b.out for b in blocks])
        first, last = ([b.feed_forward[place] for b in blocks] for place in (0, -1))
        self.first = StackedLinear(first, [b.before_feed_forward for b in blocks])
        self.last = StackedLinear(last)

    def apply_(
        self, tokens: Float[Tensor, "modules sets tokens dim"], mask: Bool[Tensor, "modules_sets tokens"] | None
    ) -> None:
        """Replaces tokens by what the blocks make of them.

        Args:
            tokens: Sets of each module.
            mask: True on real tokens, once per module; None if all tokens are real.
        """
        modules, _, size, dim = tokens.shape
        rows = tokens.flatten(1, 2)
        projected = self.projection(normalize(rows)).view(-1, size, 3 * dim)
        self.out.add_to(rows, attend_within(projected, heads=self.heads, mask=mask).view(modules, -1, dim))
        self.last.add_to(rows, F.silu(self.first(normalize(rows)), inplace=True))


def normalize(rows: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
    """Returns rows of mean 0 and variance 1, as a layer norm has them before its gains and biases."""
    dim = rows.shape[-1]  # ones and zeros, because torch is slower without
    return F.layer_norm(rows, (dim,), rows.new_ones(dim), rows.new_zeros(dim))
