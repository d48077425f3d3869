"""Folds the parameters of the blocks that encode sets of scalars, as far as that does not change the result."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sne.nn.blocks import PoolingByAttention, SetAttentionBlock
from sne.nn.scalar import ScalarSetAttentionBlock


class FoldedBlocks(NamedTuple):
    """The parameters of two set attention blocks on scalars and of PMA, folded.

    A token of the first block is `n outer + relu(n inner)` with the `heads + 2` numbers n = [x, m_1 .. m_H, 1] (see
    `ScalarSetAttentionBlock`). Its affine part enters the second block through `projections`, which map
    `[relu(n inner), n]`.

    Args:
        slopes: Factor a of the tilts `a x + b` of each head.
        offsets: Term b of the tilts of each head.
        inner: Map of the numbers to the first block's feed-forward layer.
        projections: Maps to the queries, keys and values of each head; keys contain the scale of the softmax.
        feedforward: Feed-forward layer of the second block.
        feedforward_bias: Its bias.
        pooling: Feed-forward layer of PMA's input.
        pooling_bias: Its bias.
        pooling_keys: Logits of PMA's seed for each head; they contain the scale of the softmax.
        pooling_values: Maps of each head's average of tokens to its part of PMA's result.
        pooling_query: PMA's projected seed, with the bias of the values.
        last: Last feed-forward layer of PMA.
        last_bias: Its bias.
    """

    slopes: Float[Tensor, " heads"]
    offsets: Float[Tensor, " heads"]
    inner: Float[Tensor, "numbers dim"]
    projections: Float[Tensor, "maps features width"]
    feedforward: Float[Tensor, "dim dim"]
    feedforward_bias: Float[Tensor, " dim"]
    pooling: Float[Tensor, "dim dim"]
    pooling_bias: Float[Tensor, " dim"]
    pooling_keys: Float[Tensor, "dim heads"]
    pooling_values: Float[Tensor, "heads dim width"]
    pooling_query: Float[Tensor, " dim"]
    last: Float[Tensor, "dim dim"]
    last_bias: Float[Tensor, " dim"]


def fold_blocks(first: ScalarSetAttentionBlock, second: SetAttentionBlock, pool: PoolingByAttention) -> FoldedBlocks:
    """Folds the parameters of three blocks without layer norms; gradients flow to the blocks.

    Args:
        first: Block on scalars.
        second: Block on the first block's result.
        pool: Block that pools the second block's result.

    Returns:
        What `encode_scalar_sets` needs of them.
    """
    weight, bias = first.affine()
    outer = torch.cat((weight.T, bias[None]))
    inside = first.end.feedforward.linear
    block, heads = second.block, second.block.heads
    scale = (len(bias) // heads) ** -0.5
    maps = torch.cat((block.query.weight, block.key.weight * scale, block.value.weight)).T
    biases = torch.cat((block.query.bias, torch.zeros_like(block.query.bias), block.value.bias))
    projections = torch.cat((maps, _add_to_last(_product(outer, maps), biases)))
    feedforward, pooling, last = (layer.feedforward.linear for layer in (block.end, pool, pool.end))
    return FoldedBlocks(
        *first.tilts(),
        inner=_add_to_last(_product(outer, inside.weight.T), inside.bias),
        projections=projections.unflatten(1, (3 * heads, -1)).transpose(0, 1).contiguous(),
        feedforward=feedforward.weight.T.contiguous(),
        feedforward_bias=feedforward.bias,
        pooling=pooling.weight.T.contiguous(),
        pooling_bias=pooling.bias,
        pooling_keys=pool.folded_keys().T,
        pooling_values=pool.value.weight.unflatten(0, (heads, -1)).transpose(1, 2).contiguous(),
        pooling_query=(pool.query(pool.seed) + pool.value.bias).squeeze(0),
        last=last.weight.T.contiguous(),
        last_bias=last.bias,
    )


def _product(rows: Float[Tensor, "rows features"], maps: Float[Tensor, "features columns"]) -> Tensor:
    """Returns the product of few rows with a matrix, of which the number of threads changes no bit.

    MKL rounds products of few rows on some processors as its threads divide them.
    """
    return (rows[:, :, None] * maps).sum(1)


def _add_to_last(rows: Tensor, bias: Tensor) -> Tensor:
    return torch.cat((rows[:-1], rows[-1:] + bias))
