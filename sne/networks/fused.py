"""Fused tensors cut into layers: queries, keys and values in one tensor, and gate and up projection in one."""

from sne.networks.network import Layer, LayerType, Part, Role, TensorInfo
from sne.networks.parts import StemLayers, cut, matrix_part, vector_part
from sne.networks.stems import Stem

ATTENTION_TYPES = {
    "query": LayerType.ATTENTION_QUERY,
    "key": LayerType.ATTENTION_KEY,
    "value": LayerType.ATTENTION_VALUE,
    "out": LayerType.ATTENTION_OUT,
}
_PIECES = ("query", "key", "value")


def multihead(stem: Stem) -> StemLayers:
    """Returns the three layers of `nn.MultiheadAttention`.

    Args:
        stem: Tensors `in_proj_weight` or `q_proj_weight`, `k_proj_weight` and `v_proj_weight`, and `in_proj_bias`.
    """
    found = StemLayers(stem.path)
    leaves = stem.leaves
    bias = leaves.get("in_proj_bias")
    for index, piece in enumerate(_PIECES):
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


def fused_qkv(
    stem: Stem, weight: TensorInfo, bias: TensorInfo | None, *, in_first: bool, num_queries: int | None
) -> StemLayers | None:
    """Returns the three layers of a tensor that holds queries, keys and values one after the other.

    Args:
        stem: The stem of the tensor.
        weight: The fused weight.
        bias: The fused bias, if any.
        in_first: Whether the weight is stored [in, out].
        num_queries: Width of the queries, which is what the output projection reads; None if unknown.

    Returns:
        Three layers of one level, or None if the size does not tell where to cut.
    """
    axis = 1 if in_first else 0
    total = weight.shape[axis]
    if num_queries is not None and num_queries < total < 3 * num_queries and (total - num_queries) % 2 == 0:
        sizes = (num_queries, (total - num_queries) // 2, (total - num_queries) // 2)  # grouped queries
    elif total % 3 == 0:
        sizes = (total // 3,) * 3
    else:
        return None
    found = StemLayers(stem.path)
    start = 0
    for piece, size in zip(_PIECES, sizes, strict=True):
        parts = [cut(matrix_part(weight, Role.WEIGHT, in_first=in_first), axis, start, size, piece)]
        if bias is not None:
            parts.append(cut(vector_part(bias, Role.BIAS), 0, start, size, piece))
        found.layers.append(Layer(f"{stem.path}.{piece}", ATTENTION_TYPES[piece], 0, tuple(parts)))
        start += size
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
