"""Fused tensors cut into layers: queries, keys and values in one tensor, and gate and up projection in one."""

from collections.abc import Sequence

from sne.networks.fusion import PIECES, Piece
from sne.networks.network import Layer, LayerType
from sne.networks.part import Part, Role, TensorInfo
from sne.networks.parts import StemLayers, cut, matrix_part, vector_part
from sne.networks.stems import Stem

ATTENTION_TYPES = {
    "query": LayerType.ATTENTION_QUERY,
    "key": LayerType.ATTENTION_KEY,
    "value": LayerType.ATTENTION_VALUE,
    "out": LayerType.ATTENTION_OUT,
}


def multihead(stem: Stem) -> StemLayers:
    """Returns the three layers of `nn.MultiheadAttention`.

    Args:
        stem: Tensors `in_proj_weight` or `q_proj_weight`, `k_proj_weight` and `v_proj_weight`, and `in_proj_bias`.
    """
    found = StemLayers(stem.path)
    leaves = stem.leaves
    bias = leaves.get("in_proj_bias")
    for index, piece in enumerate(PIECES):
        parts = []
        if "in_proj_weight" in leaves:
            info = leaves["in_proj_weight"]
            third = info.shape[0] // 3
            whole = matrix_part(info, Role.WEIGHT, in_first=False)
            parts.append(cut(whole, 0, index * third, third, piece))
        elif f"{piece[0]}_proj_weight" in leaves:
            parts.append(matrix_part(leaves[f"{piece[0]}_proj_weight"], Role.WEIGHT, in_first=False))
        if bias is not None:
            third = bias.shape[0] // 3
            parts.append(cut(vector_part(bias, Role.BIAS), 0, index * third, third, piece))
        if parts:
            found.layers.append(Layer(f"{stem.path}.{piece}", ATTENTION_TYPES[piece], 0, tuple(parts)))
    return found


def cut_layers(
    stem: Stem, weight: TensorInfo, bias: TensorInfo | None, pieces: Sequence[Piece], *, in_first: bool
) -> StemLayers:
    """Returns one layer per piece of a tensor that holds queries, keys and values, or some of them.

    Args:
        stem: The stem of the tensor; leaves `q_bias`, `k_bias` and `v_bias` are biases of the pieces.
        weight: The fused weight.
        bias: The fused bias, if any.
        pieces: Pieces along the axis of the outputs.
        in_first: Whether the weight is stored [in, out].

    Returns:
        Layers of one level.
    """
    found = StemLayers(stem.path)
    for piece in pieces:
        where = {"start": piece.start, "length": piece.length, "run": piece.run, "step": piece.step}
        whole = matrix_part(weight, Role.WEIGHT, in_first=in_first)
        parts = [cut(whole, 1 if in_first else 0, label=piece.label, **where)]
        own = stem.leaves.get(f"{piece.label[0]}_bias")
        if bias is not None:
            parts.append(cut(vector_part(bias, Role.BIAS), 0, label=piece.label, **where))
        elif own is not None and own.num_entries == piece.length:
            parts.append(vector_part(own, Role.BIAS))
        found.layers.append(Layer(f"{stem.path}.{piece.label}", ATTENTION_TYPES[piece.label], 0, tuple(parts)))
    return found


def gate_and_up(stem: Stem, parts: list[Part], *, in_first: bool) -> StemLayers:
    """Returns the two layers of a gated MLP's first tensor, which holds the gate and then the up projection.

    Args:
        stem: The stem of the tensor.
        parts: The whole weight and, if there is one, the whole bias; their number of outputs is even.
        in_first: Whether the weight is stored [in, out].
    """
    axis = 1 if in_first else 0
    half = parts[0].arranged_shape[0] // 2
    found = StemLayers(stem.path)
    for index, label in enumerate(("gate", "up")):
        pieces = [cut(p, axis if p.role is Role.WEIGHT else 0, index * half, half, label) for p in parts]
        found.layers.append(Layer(f"{stem.path}.{label}", LayerType.LINEAR, 0, tuple(pieces)))
    return found
