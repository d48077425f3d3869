"""Quantised operators of ONNX graphs: the weight that their integers stand for."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sne.checkpoints.formats.onnx_graph.constants import Constant, derive
from sne.checkpoints.formats.onnx_graph.following import dequantise
from sne.checkpoints.formats.onnx_graph.matrices import convolution, linear, out_first
from sne.checkpoints.formats.onnx_graph.nodes import Node
from sne.checkpoints.formats.onnx_graph.uses import (
    Use,
    Weight,
    added_bias,
    only_consumer,
    origin,
    scaled,
    set_aside,
    vector,
    weight_at,
)
from sne.checkpoints.formats.onnx_graph.values import unpack
from sne.networks import LayerType

_ACTIVATION = "scale or zero point of activations, not a weight"
_PACKED = "integers of a quantised weight in a form that is not read"
_PASSES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_MOST_PASSED = 6
_NARROW = (torch.int8, torch.uint8, torch.int16, torch.uint16)


def _integers(node: Node, position: int) -> Constant | None:
    """Returns an input that is a constant of narrow integers or float8 numbers."""
    constant = node.constant(position)
    if constant is None:
        return None
    return constant if constant.dtype in _NARROW or constant.dtype.itemsize == 1 else None


def _weight(node: Node, position: int, scale: Constant | None, zero: Constant | None, axis: int) -> Weight | None:
    """Returns the weight that an input of integers stands for."""
    integers, value = _integers(node, position), node.input(position)
    if integers is None or value is None or scale is None:
        return None
    constant = dequantise(integers, scale, zero, axis=axis)
    return None if constant is None else Weight(constant, value.names)


def _packed(node: Node, *positions: int) -> list[Use]:
    """Returns a use that reads nothing and says so."""
    return [Use(node, {}, aside=set_aside(node, positions, _PACKED))]


def _with_aside(uses: list[Use], node: Node, positions: tuple[int, ...]) -> list[Use]:
    for use in uses:
        use.aside |= set_aside(node, positions, _ACTIVATION)
    return uses


def _integer_product(node: Node) -> list[Use]:
    """Reads MatMulInteger and ConvInteger, whose scale is applied to their output by later nodes."""
    if _integers(node, 1) is None:
        return []
    scale, last = _later_scale(node)
    is_conv = node.op == "ConvInteger"
    weight = _weight(node, 1, scale, node.constant(3), 0 if is_conv else -1)
    if weight is None:
        return _packed(node, 1)
    if is_conv:
        bias = added_bias(last, weight.constant.shape[0], 1 - len(weight.constant.shape))
        uses = convolution(node, weight, bias)
    else:
        uses = linear(node, weight, added_bias(last, weight.constant.shape[-1]), in_first=True)
    return _with_aside(uses, node, (2,)) or _packed(node, 1)


def _later_scale(node: Node) -> tuple[Constant | None, Node]:
    """Finds the scale of a weight in the numbers that its integer product is multiplied by.

    These are the scale of the weight and that of the input, in one product or two. The latter is computed by
    DynamicQuantizeLinear, or a constant of QuantizeLinear that has to be divided out.

    Returns:
        The scale, None if it is not found, and the last node that applies it.
    """
    factors: list[Constant] = []
    last, value = node, node.outputs[0] if node.outputs else None
    for _ in range(_MOST_PASSED):
        found = None if value is None else only_consumer(value)
        if found is None:
            break
        consumer, position = found
        if consumer.op in _PASSES and position == 0 and consumer.outputs:
            value = consumer.outputs[0]
        elif consumer.op == "Mul" and len(consumer.inputs) == 2 and consumer.outputs:
            factors += _constant_factors(consumer, 1 - position)
            last, value = consumer, consumer.outputs[0]
        else:
            break
    source = origin(node.input(0))
    if not factors or source is None:
        return None, last
    scale: Constant | None = factors[0]
    for factor in factors[1:]:
        scale = None if scale is None else _product(scale, factor)
    if source.op == "QuantizeLinear" and scale is not None:
        divisor = source.constant(1)
        if divisor is None or divisor.num_entries != 1:
            return None, last
        return derive(lambda v: v[0] / v[1].reshape(()), [scale, divisor], scale.shape), last
    return (scale if source.op == "DynamicQuantizeLinear" else None), last


def _product(first: Constant, second: Constant) -> Constant | None:
    """Returns the product of two scales, of which one at most has several entries."""
    large, small = (first, second) if first.num_entries >= second.num_entries else (second, first)
    if small.num_entries != 1:
        return None
    return derive(lambda v: v[0] * v[1].reshape(()), [large, small], large.shape)


def _constant_factors(node: Node, position: int) -> list[Constant]:
    """Returns the constants in a factor of a product: the factor, or one of the two whose product it is."""
    value = node.input(position)
    if value is None:
        return []
    if value.constant is not None:
        return [value.constant] if value.constant.is_floating else []
    inner = value.producer
    if inner is None or inner.op != "Mul":
        return []
    found = (inner.constant(place) for place in (0, 1))
    return [constant for constant in found if constant is not None and constant.is_floating]


def _integer_bias(node: Node, position: int, scales: tuple[int, int], factor: float = 1.0) -> Weight | None:
    """Returns a bias of integers, whose scale is that of the input times that of the weight."""
    value, first, second = node.input(position), node.constant(scales[0]), node.constant(scales[1])
    if value is None or value.constant is None or first is None or second is None:
        return None
    if value.constant.is_floating:
        return Weight(value.constant, value.names)

    def compute(values: list[Tensor]) -> Tensor:
        return values[0].to(torch.float32).reshape(-1) * values[1].reshape(-1) * values[2].reshape(-1) * factor

    width = value.constant.num_entries
    if first.num_entries != 1 or second.num_entries not in (1, width):
        return None
    given = [value.constant, first, second]
    constant = derive(compute, given, (width,), torch.float32, companions=given[1:])
    return None if constant is None else Weight(constant, value.names)


def _qlinear_conv(node: Node) -> list[Use]:
    weight = _weight(node, 3, node.constant(4), node.constant(5), 0)
    if weight is None:
        return _packed(node, 3) if _integers(node, 3) is not None else []
    bias = _integer_bias(node, 8, (1, 4))
    return _with_aside(convolution(node, weight, bias), node, (1, 2, 6, 7)) or _packed(node, 3)


def _qlinear_matmul(node: Node) -> list[Use]:
    weight = _weight(node, 3, node.constant(4), node.constant(5), -1)
    if weight is None:
        return _packed(node, 3) if _integers(node, 3) is not None else []
    return _with_aside(linear(node, weight, None, in_first=True), node, (1, 2, 6, 7)) or _packed(node, 3)


def _qgemm(node: Node) -> list[Use]:
    is_turned, alpha = bool(node.integer("transB", 0)), node.real("alpha", 1.0)
    weight = scaled(_weight(node, 3, node.constant(4), node.constant(5), 0 if is_turned else -1), alpha)
    if weight is None:
        return _packed(node, 3) if _integers(node, 3) is not None else []
    bias = _integer_bias(node, 6, (1, 4), alpha)
    return _with_aside(linear(node, weight, bias, in_first=not is_turned), node, (1, 2, 7, 8)) or _packed(node, 3)


def _dynamic_matmul(node: Node) -> list[Use]:
    """Reads `com.microsoft.DynamicQuantizeMatMul`, which quantises its input and adds a bias itself."""
    weight = _weight(node, 1, node.constant(2), node.constant(3), -1)
    if weight is None:
        return _packed(node, 1) if _integers(node, 1) is not None else []
    return linear(node, weight, weight_at(node, 4), in_first=True) or _packed(node, 1)


def _float_matmul(node: Node) -> list[Use]:
    """Reads `com.microsoft.MatMulIntegerToFloat`."""
    weight = _weight(node, 1, node.constant(3), node.constant(5), -1)
    if weight is None:
        return _packed(node, 1) if _integers(node, 1) is not None else []
    uses = linear(node, weight, weight_at(node, 6), in_first=True)
    return _with_aside(uses, node, (2, 4)) or _packed(node, 1)


def _quantised_attention(node: Node) -> list[Use]:
    """Reads `com.microsoft.QAttention`."""
    weight = _weight(node, 1, node.constant(4), node.constant(7), -1)
    constant = None if weight is None else out_first(weight.constant, in_first=True)
    if weight is None or constant is None or constant.shape[0] % 3:
        return _packed(node, 1) if _integers(node, 1) is not None else []
    weights = {"in_proj_weight": Weight(constant, weight.names)}
    bias = vector(weight_at(node, 2), constant.shape[0])
    if bias is not None:
        weights["in_proj_bias"] = bias
    return _with_aside([Use(node, weights)], node, (3, 6))


def _few_bits(node: Node) -> list[Use]:
    """Reads `com.microsoft.MatMulNBits`: rows in blocks of 2, 4 or 8 bits, each block with a scale.

    Source: onnxruntime, docs/ContribOperators.md, com.microsoft.MatMulNBits.
    """
    packed, scale, zero, value = node.constant(1), node.constant(2), node.constant(3), node.input(1)
    rows, columns = node.integer("N", 0), node.integer("K", 0)
    bits, block = node.integer("bits", 4), node.integer("block_size", 0)
    if packed is None or value is None:
        return []
    is_grouped = node.input(4) is not None and node.input(4) is not node.input(3)
    if scale is None or bits not in (2, 4, 8) or block < 1 or rows < 1 or columns < 1 or is_grouped:
        return _packed(node, 1)
    blocks, size = -(-columns // block), -(-block * bits // 8)
    if packed.dtype is not torch.uint8 or packed.num_entries != rows * blocks * size:
        return _packed(node, 1)
    given = [packed, scale, *([] if zero is None else [zero])]
    if scale.num_entries != rows * blocks or (zero is not None and not _zeros_fit(zero, rows, blocks, bits)):
        return _packed(node, 1)

    def compute(values: list[Tensor]) -> Tensor:
        numbers = unpack(values[0].reshape(rows, blocks, size), bits)[..., :block].to(torch.float32)
        if len(values) == 3 and values[2].is_floating_point():
            middle = values[2].to(torch.float32).reshape(rows, blocks, 1)
        elif len(values) == 3:
            middle = unpack(values[2].reshape(rows, -1), bits)[:, :blocks].to(torch.float32).unsqueeze(-1)
        else:
            middle = torch.tensor(float(1 << (bits - 1)), device=numbers.device, dtype=torch.float32)
        scales = values[1].to(torch.float32).reshape(rows, blocks, 1)
        return ((numbers - middle) * scales).reshape(rows, blocks * block)[:, :columns]

    constant = derive(compute, given, (rows, columns), torch.float32, companions=given[1:])
    if constant is None:
        return _packed(node, 1)
    return linear(node, Weight(constant, value.names), weight_at(node, 5), in_first=False)


def _zeros_fit(zero: Constant, rows: int, blocks: int, bits: int) -> bool:
    """Whether zero points are one number per block, or packed in whole bytes per row."""
    if zero.is_floating:
        return zero.num_entries == rows * blocks
    return zero.dtype is torch.uint8 and zero.num_entries == rows * -(-blocks * bits // 8)


def _quantised_table(node: Node) -> list[Use]:
    """Reads `com.microsoft.GatherBlockQuantized` with 4-bit elements."""
    table, scale, value = node.constant(0), node.constant(2), node.input(0)
    if table is None or value is None:
        return []
    is_narrow = all(leaf.dtype in ("int4", "uint4") for leaf in table.leaves())
    axis = node.integer("quantize_axis", 1)
    if scale is None or not is_narrow or node.integer("gather_axis", 0) or len(table.shape) != 2:
        return _packed(node, 0)
    constant = dequantise(table, scale, node.constant(3), axis=axis, block_size=node.integer("block_size", 128))
    if constant is None:
        return _packed(node, 0)
    return [Use(node, {"weight": Weight(constant, value.names)}, LayerType.EMBEDDING)]


def _of_activations(node: Node) -> list[Use]:
    """Sets scales and zero points aside that quantise activations."""
    if node.constant(0) is not None:
        return []
    return [Use(node, {}, aside=set_aside(node, (1, 2), _ACTIVATION))]


QUANTISED: Mapping[str, Callable[[Node], list[Use]]] = {
    "MatMulInteger": _integer_product,
    "ConvInteger": _integer_product,
    "QLinearConv": _qlinear_conv,
    "com.microsoft.QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "com.microsoft.QGemm": _qgemm,
    "com.microsoft.DynamicQuantizeMatMul": _dynamic_matmul,
    "com.microsoft.MatMulIntegerToFloat": _float_matmul,
    "com.microsoft.QAttention": _quantised_attention,
    "com.microsoft.MatMulNBits": _few_bits,
    "com.microsoft.GatherBlockQuantized": _quantised_table,
    "QuantizeLinear": _of_activations,
    "DequantizeLinear": _of_activations,
    "com.microsoft.QuantizeLinear": _of_activations,
    "com.microsoft.DequantizeLinear": _of_activations,
}
"""Functions from a node to the layers whose quantised weights it holds, by operator."""
