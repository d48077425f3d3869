"""Linear layers, convolutions, embeddings and attentions of ONNX graphs."""

import re
from collections.abc import Callable, Mapping
from math import prod

from sne.checkpoints.formats.onnx_graph.constants import Constant
from sne.checkpoints.formats.onnx_graph.following import reshape, transpose
from sne.checkpoints.formats.onnx_graph.naming import is_numbered, own_name
from sne.checkpoints.formats.onnx_graph.nodes import Node
from sne.checkpoints.formats.onnx_graph.uses import Use, Weight, added_bias, scaled, vector, weight_at
from sne.checkpoints.stored import FOLDED, RENUMBERED
from sne.networks import LayerType

CONVS = {3: LayerType.CONV1D, 4: LayerType.CONV2D, 5: LayerType.CONV3D}
TRANSPOSED = {3: LayerType.CONV_TRANSPOSE1D, 4: LayerType.CONV_TRANSPOSE2D, 5: LayerType.CONV_TRANSPOSE3D}


def out_first(constant: Constant, *, in_first: bool) -> Constant | None:
    """Returns a matrix as [out, in].

    Args:
        constant: A matrix, perhaps with axes of size one before it.
        in_first: Whether it is stored [in, out].

    Returns:
        The matrix; None if the constant is no matrix.
    """
    if len(constant.shape) > 2 and all(size == 1 for size in constant.shape[:-2]):
        flat = reshape(constant, constant.shape[-2:])
    else:
        flat = constant
    if flat is None or len(flat.shape) != 2 or 0 in flat.shape:
        return None
    return transpose(flat, [1, 0]) if in_first else flat


def linear(node: Node, weight: Weight | None, bias: Weight | None, *, in_first: bool, at_end: bool = True) -> list[Use]:
    """Returns a linear layer.

    Args:
        node: The node.
        weight: Its weight as stored.
        bias: Its bias, None if the next node may add one.
        in_first: Whether the weight is stored [in, out].
        at_end: Whether the neurons are the last axis of the output, where a bias may be added.
    """
    if weight is None:
        return []
    constant = out_first(weight.constant, in_first=in_first)
    if constant is None:
        return []
    width = constant.shape[0]
    weights = {"weight": Weight(constant, weight.names)}
    bias = vector(bias, width) if bias is not None else added_bias(node, width, -1 if at_end else -2)
    if bias is not None:
        weights["bias"] = bias
    return [Use(node, weights, LayerType.LINEAR, _fold(node, weight))]


def _weight_position(node: Node) -> int | None:
    """Returns which of two factors is the weight, None if none is.

    Of two constants it is the second if that alone has the name of a parameter: the first is then a state of zeros.
    """
    first, second = node.input(0), node.input(1)
    if first is None or second is None or second.constant is None:
        return 0 if second is not None and node.constant(0) is not None else None
    if first.constant is None:
        return 1
    return 1 if own_name(second.names) and all(is_numbered(name) for name in first.names) else None


def _matmul(node: Node) -> list[Use]:
    """Reads `MatMul(x, W)`, or `MatMul(W, x)`, whose neurons are the last axis but one."""
    position = _weight_position(node)
    if position is None:
        return []
    weight = scaled(weight_at(node, position), node.real("alpha", 1.0))
    is_turned = bool(node.integer("transB" if position else "transA", 0))
    if position == 0:
        return linear(node, weight, None, in_first=is_turned, at_end=False)
    if weight is not None and len(weight.constant.shape) == 1:
        row = reshape(weight.constant, [-1, 1])
        weight = None if row is None else Weight(row, weight.names)
    return linear(node, weight, None, in_first=not is_turned)


def _einsum(node: Node) -> list[Use]:
    """Reads `Einsum(x, W)` that sums over the first or last axes of the weight, as the dense layers of Keras do."""
    weight = weight_at(node, 1)
    found = re.fullmatch(r"(\w+),(\w+)->(\w+)", node.text("equation", "").replace(" ", "").replace("...", ""))
    if weight is None or found is None or node.constant(0) is not None or len(node.inputs) != 2:
        return []
    given, letters, result = found.groups()
    shape = weight.constant.shape
    is_summed = [letter in given for letter in letters]
    in_first = is_summed[0]
    is_plain = len(set(letters)) == len(letters) == len(shape) and len(set(is_summed)) == 2
    if not is_plain or is_summed != sorted(is_summed, reverse=in_first) or 0 in shape:
        return []
    if any((letter in result) == is_sum for letter, is_sum in zip(letters, is_summed, strict=True)):
        return []
    free = [size for size, is_sum in zip(shape, is_summed, strict=True) if not is_sum]
    width = prod(free)
    matrix = reshape(weight.constant, [-1, width] if in_first else [width, -1])
    if matrix is None:
        return []
    bias = added_bias(node, width, shape=free)
    return linear(node, Weight(matrix, weight.names), bias, in_first=in_first)


def _gemm(node: Node) -> list[Use]:
    position = _weight_position(node)
    if position is None:
        return []
    weight = scaled(weight_at(node, position), node.real("alpha", 1.0))
    bias = scaled(weight_at(node, 2), node.real("beta", 1.0))
    if position == 0:
        return linear(node, weight, bias, in_first=bool(node.integer("transA", 0)), at_end=False)
    return linear(node, weight, bias, in_first=not node.integer("transB", 0))


def convolution(node: Node, weight: Weight | None, bias: Weight | None) -> list[Use]:
    """Returns a convolution.

    Args:
        node: The node.
        weight: Its weight, [out, in, kernel...], or [in, out, kernel...] if it is transposed.
        bias: Its bias, None if the next node may add one.
    """
    if weight is None:
        return []
    shape = weight.constant.shape
    is_transposed = node.op.endswith("ConvTranspose")
    kinds = TRANSPOSED if is_transposed else CONVS
    if len(shape) not in kinds or 0 in shape:
        return []
    groups = max(node.integer("group", 1), 1)
    width = shape[1] * groups if is_transposed else shape[0]
    weights = {"weight": weight}
    bias = vector(bias, width) if bias is not None else added_bias(node, width, 1 - len(shape))
    if bias is not None:
        weights["bias"] = bias
    return [Use(node, weights, kinds[len(shape)], _fold(node, weight))]


def _conv(node: Node) -> list[Use]:
    return convolution(node, weight_at(node, 1), weight_at(node, 2))


def _fold(node: Node, weight: Weight) -> str:
    """Returns a doubt about a layer that seems to hold a batch norm, empty if it does not."""
    if any("batch_norm" in text for key, text in node.metadata.items() if key.startswith("pkg.torch.onnx.")):
        return FOLDED
    is_renumbered = weight.names and weight.names[0].startswith(("onnx::Conv_", "onnx::ConvTranspose_"))
    return RENUMBERED if is_renumbered else ""


def _gather(node: Node) -> list[Use]:
    weight = weight_at(node, 0)
    if weight is None or len(weight.constant.shape) != 2 or node.integer("axis", 0) not in (0, -2):
        return []
    return [Use(node, {"weight": weight}, LayerType.EMBEDDING)]


def _prelu(node: Node) -> list[Use]:
    weight = weight_at(node, 1)
    slope = None if weight is None else vector(weight, weight.constant.num_entries)
    return [] if slope is None else [Use(node, {"weight": slope}, LayerType.OTHER)]


def _fused_attention(node: Node) -> list[Use]:
    """Reads `com.microsoft.Attention`: queries, keys and values in one matrix, stored [in, 3 * out]."""
    weight, sizes = weight_at(node, 1), node.integers("qkv_hidden_sizes")
    constant = None if weight is None else out_first(weight.constant, in_first=True)
    if weight is None or constant is None or constant.shape[0] % 3 or (sizes and len(set(sizes)) > 1):
        return []
    weights = {"in_proj_weight": Weight(constant, weight.names)}
    bias = vector(weight_at(node, 2), constant.shape[0])
    if bias is not None:
        weights["in_proj_bias"] = bias
    return [Use(node, weights)]


def _embeddings(node: Node) -> list[Use]:
    """Reads `com.microsoft.EmbedLayerNormalization`: up to three tables and a norm."""
    uses = [
        Use(node, {f"{name}.weight": weight}, kind)
        for position, name, kind in (
            (2, "word_embeddings", LayerType.EMBEDDING),
            (3, "position_embeddings", LayerType.POSITION),
            (4, "token_type_embeddings", LayerType.EMBEDDING),
        )
        if (weight := weight_at(node, position)) is not None and len(weight.constant.shape) == 2
    ]
    scale, shift = weight_at(node, 5), weight_at(node, 6)
    if scale is not None and shift is not None:
        norm = {"LayerNorm.weight": scale, "LayerNorm.bias": shift}
        uses.append(Use(node, norm, LayerType.LAYER_NORM))
    return uses


MATRICES: Mapping[str, Callable[[Node], list[Use]]] = {
    "MatMul": _matmul,
    "com.microsoft.FusedMatMul": _matmul,
    "com.microsoft.TransposeMatMul": _matmul,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "com.microsoft.FusedGemm": _gemm,
    "com.microsoft.GemmFastGelu": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv,
    "com.microsoft.FusedConv": _conv,
    "com.microsoft.nhwc.Conv": _conv,
    "Gather": _gather,
    "PRelu": _prelu,
    "com.microsoft.Attention": _fused_attention,
    "com.microsoft.EmbedLayerNormalization": _embeddings,
}
"""Functions from a node to the layers whose weights it holds, by operator."""
