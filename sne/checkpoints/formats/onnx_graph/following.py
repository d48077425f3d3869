"""Nodes that compute with constants alone, followed to the weight that they end in."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from sne.checkpoints.formats.onnx_graph.constants import Constant, derive, numbers
from sne.checkpoints.formats.onnx_graph.nodes import Node
from sne.checkpoints.formats.onnx_graph.values import TYPES

Outputs = Sequence[Constant | None]

KEEPS_NAMES = frozenset({
    "Identity", "Cast", "CastLike", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze",
    "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip
"""Operators whose output is still the tensor that they read, so that its name names both."""


def transpose(constant: Constant, perm: Sequence[int]) -> Constant | None:
    """Returns a constant with its axes in another order.

    Args:
        constant: The constant.
        perm: The axes in their new order, each once.
    """
    if sorted(perm) != list(range(len(constant.shape))):
        return None
    shape = [constant.shape[axis] for axis in perm]
    return derive(lambda v: v[0].permute(list(perm)), [constant], shape, is_plain=True)


def reshape(constant: Constant, shape: Sequence[int]) -> Constant | None:
    """Returns a constant in another shape with the same entries.

    Args:
        constant: The constant.
        shape: The shape; one size may be -1.
    """
    if min(shape, default=0) < -1 or list(shape).count(-1) > 1:
        return None
    known = prod(size for size in shape if size != -1)
    if -1 in shape and (not known or constant.num_entries % known):
        return None
    full = [constant.num_entries // known if size == -1 else size for size in shape]
    if prod(full) != constant.num_entries:
        return None
    return derive(lambda v: v[0].reshape(full), [constant], full, is_plain=True)


def dequantise(
    weight: Constant, scale: Constant, zero_point: Constant | None, *, axis: int = 1, block_size: int = 0
) -> Constant | None:
    """Returns the weight that integers or narrow floats stand for: (stored - zero point) * scale.

    Args:
        weight: The stored numbers.
        scale: One scale in all, one per index of `axis`, or one per block along `axis`.
        zero_point: Zero points in the same form, None if they are zero.
        axis: Axis of the weight along which scales run.
        block_size: Number of indices of `axis` per block; 0 if scales are not per block.

    Returns:
        The weight in the dtype of the scale, at least float32; None if the shapes do not fit.

    Source: ONNX operators, DequantizeLinear, version 21.
    """
    axis = axis + len(weight.shape) if axis < 0 else axis
    given = [weight, scale, *([] if zero_point is None else [zero_point])]
    if not all(_spreads(one.shape, weight.shape, axis, block_size) for one in given[1:]):
        return None

    def compute(values: list[Tensor]) -> Tensor:
        result = values[0].to(torch.float32, copy=True)
        if len(values) > 2:
            _in_blocks(result, axis, block_size).sub_(_spread(values[2], result.shape, axis, block_size))
        _in_blocks(result, axis, block_size).mul_(_spread(values[1], result.shape, axis, block_size))
        return result

    return derive(compute, given, weight.shape, torch.float32, companions=given[1:])


def _spreads(scale: tuple[int, ...], shape: tuple[int, ...], axis: int, block_size: int) -> bool:
    """Whether scales of one shape fit a weight of another."""
    if prod(scale) == 1:
        return True
    if not 0 <= axis < len(shape):
        return False
    if block_size > 0:
        return scale == (*shape[:axis], -(-shape[axis] // block_size), *shape[axis + 1 :])
    return prod(scale) == shape[axis] and block_size == 0


def _spread(scale: Tensor, shape: torch.Size, axis: int, block_size: int = 0) -> Tensor:
    """Gives scales a shape that broadcasts with the weight, or with `_in_blocks` of it."""
    scale = scale.to(torch.float32)
    if scale.numel() == 1:
        return scale.reshape(())
    if not block_size:
        return scale.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    if shape[axis] % block_size == 0:
        return scale.unsqueeze(axis + 1)
    return scale.repeat_interleave(block_size, dim=axis).narrow(axis, 0, shape[axis])


def _in_blocks(weight: Tensor, axis: int, block_size: int) -> Tensor:
    """Returns a view of a weight with an axis cut into blocks; the weight itself if blocks do not fill the axis."""
    if not block_size or weight.shape[axis] % block_size:
        return weight
    return weight.unflatten(axis, (-1, block_size))


def _identity(node: Node) -> Outputs:
    return [node.constant(0)]


def _cast(node: Node) -> Outputs:
    kind, constant = TYPES.get(node.integer("to", 0)), node.constant(0)
    if kind is None or constant is None or kind.bits < 8 or kind.name == "float8_e8m0fnu":
        return []
    if kind.loaded == constant.dtype:
        return [constant]
    return [derive(lambda v: v[0].to(kind.loaded), [constant], constant.shape, kind.loaded, is_plain=True)]


def _transpose(node: Node) -> Outputs:
    constant = node.constant(0)
    if constant is None:
        return []
    return [transpose(constant, node.integers("perm") or list(reversed(range(len(constant.shape)))))]


def _reshape(node: Node) -> Outputs:
    constant, shape = node.constant(0), numbers(node.constant(1)) or node.integers("shape")
    if constant is None or shape is None:
        return []
    if not node.integer("allowzero", 0):
        if any(size == 0 and axis >= len(constant.shape) for axis, size in enumerate(shape)):
            return []
        shape = [constant.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return [reshape(constant, shape)]


def _flatten(node: Node) -> Outputs:
    constant, axis = node.constant(0), node.integer("axis", 1)
    if constant is None or not -len(constant.shape) <= axis <= len(constant.shape):
        return []
    rows = 1
    for size in constant.shape[: axis if axis >= 0 else axis + len(constant.shape)]:
        rows *= size
    return [reshape(constant, [rows, constant.num_entries // max(rows, 1)])]


def _axes(node: Node) -> list[int] | None:
    """Returns the axes of a node, which are an attribute in old versions and an input in new ones."""
    return numbers(node.constant(1)) if node.constant(1) is not None else node.integers("axes")


def _squeeze(node: Node) -> Outputs:
    constant, axes = node.constant(0), _axes(node)
    if constant is None:
        return []
    ndim = len(constant.shape)
    chosen = range(ndim) if axes is None else [axis + ndim if axis < 0 else axis for axis in axes]
    return [reshape(constant, [size for axis, size in enumerate(constant.shape) if axis not in chosen or size != 1])]


def _unsqueeze(node: Node) -> Outputs:
    constant, axes = node.constant(0), _axes(node)
    if constant is None or not axes:
        return []
    ndim = len(constant.shape) + len(axes)
    places = sorted(axis + ndim if axis < 0 else axis for axis in axes)
    if len(set(places)) != len(places) or not all(0 <= place < ndim for place in places):
        return []
    rest = iter(constant.shape)
    return [reshape(constant, [1 if axis in places else next(rest) for axis in range(ndim)])]


def _slice(node: Node) -> Outputs:
    constant = node.constant(0)
    starts = numbers(node.constant(1)) if node.constant(1) is not None else node.integers("starts")
    ends = numbers(node.constant(2)) if node.constant(2) is not None else node.integers("ends")
    axes = numbers(node.constant(3)) if node.constant(3) is not None else node.integers("axes")
    steps = numbers(node.constant(4)) if node.constant(4) is not None else None
    if constant is None or starts is None or ends is None:
        return []
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if len({len(starts), len(ends), len(axes), len(steps)}) > 1 or any(step <= 0 for step in steps):
        return []
    if not all(-len(constant.shape) <= axis < len(constant.shape) for axis in axes):
        return []
    cut = [slice(None)] * len(constant.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(*slice(start, end, step).indices(constant.shape[axis]))
    shape = [len(range(size)[part]) for size, part in zip(constant.shape, cut, strict=True)]
    return [derive(lambda v: v[0][tuple(cut)], [constant], shape)]


def _split(node: Node) -> Outputs:
    constant, axis = node.constant(0), node.integer("axis", 0)
    if constant is None or not -len(constant.shape) <= axis < len(constant.shape):
        return []
    sizes = numbers(node.constant(1)) if node.constant(1) is not None else node.integers("split")
    if sizes is None:
        count, size = node.integer("num_outputs", 2), constant.shape[axis]
        if not 0 < count <= 64:
            return []
        each = -(-size // count)
        sizes = [max(min(each, size - each * part), 0) for part in range(count)]
    if min(sizes, default=0) < 0 or sum(sizes) != constant.shape[axis] or len(sizes) > 64:
        return []
    outputs, start = [], 0
    for size in sizes:
        shape = list(constant.shape)
        shape[axis] = size
        outputs.append(derive(lambda v, start=start, size=size: v[0].narrow(axis, start, size), [constant], shape))
        start += size
    return outputs


def _concat(node: Node) -> Outputs:
    given = [value.constant for value in node.inputs if value is not None and value.constant is not None]
    axis = node.integer("axis", 0)
    ndim = len(given[0].shape)
    if not -ndim <= axis < ndim:
        return []
    axis %= ndim
    rest = {(*constant.shape[:axis], *constant.shape[axis + 1 :]) for constant in given}
    if len(rest) > 1 or len({constant.dtype for constant in given}) > 1:
        return []
    shape = list(given[0].shape)
    shape[axis] = sum(constant.shape[axis] for constant in given)
    return [derive(lambda v: torch.cat(v, dim=axis), given, shape)]


def _gather(node: Node) -> Outputs:
    """Follows the choice of sizes and of parts; a row of a table is left to the node that reads the table."""
    constant, index, axis = node.constant(0), numbers(node.constant(1)), node.integer("axis", 0)
    if constant is None or index is None or (constant.is_floating and len(constant.shape) == 2 and axis == 0):
        return []
    chosen, shape = node.constant(1), constant.shape
    if chosen is None or not -len(shape) <= axis < len(shape):
        return []
    axis += len(shape) if axis < 0 else 0
    places = [place + shape[axis] if place < 0 else place for place in index]
    if not all(0 <= place < shape[axis] for place in places):
        return []
    result_shape = (*shape[:axis], *chosen.shape, *shape[axis + 1 :])

    def compute(values: list[Tensor]) -> Tensor:
        where = torch.tensor(places, dtype=torch.int64, device=values[0].device)
        return values[0].index_select(axis, where).reshape(result_shape)

    return [derive(compute, [constant], result_shape)]


def _binary(operation: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node], Outputs]:
    def follow(node: Node) -> Outputs:
        first, second = node.constant(0), node.constant(1)
        if first is None or second is None or len(node.inputs) != 2:
            return []
        shape = _broadcast(first.shape, second.shape)
        dtype = torch.promote_types(first.dtype, second.dtype)
        return [derive(lambda v: operation(v[0], v[1]), [first, second], shape, dtype)]

    return follow


def _broadcast(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...] | None:
    """Returns the shape of two values that are computed with entry by entry, None if they do not fit."""
    ndim = max(len(first), len(second))
    pairs = list(zip((1,) * (ndim - len(first)) + first, (1,) * (ndim - len(second)) + second, strict=True))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        return None
    return tuple(b if a == 1 else a for a, b in pairs)


def _divide(first: Tensor, second: Tensor) -> Tensor:
    both_integers = not first.is_floating_point() and not second.is_floating_point()
    return torch.div(first, second, rounding_mode="trunc" if both_integers else None)


def _unary(operation: Callable[[Tensor], Tensor]) -> Callable[[Node], Outputs]:
    def follow(node: Node) -> Outputs:
        constant = node.constant(0)
        if constant is None or not constant.is_floating:
            return []
        return [derive(lambda v: operation(v[0]), [constant], constant.shape)]

    return follow


def _reduce(operation: Callable[..., Tensor]) -> Callable[[Node], Outputs]:
    """Follows a reduction, as in weight normalisation that the exporter did not fold."""

    def follow(node: Node) -> Outputs:
        constant, axes = node.constant(0), _axes(node)
        keeps = bool(node.integer("keepdims", 1))
        if constant is None or not constant.is_floating:
            return []
        ndim = len(constant.shape)
        chosen = list(range(ndim)) if axes is None else sorted({axis + ndim if axis < 0 else axis for axis in axes})
        if not chosen or not all(0 <= axis < ndim for axis in chosen):
            return []
        sizes = [1 if axis in chosen else size for axis, size in enumerate(constant.shape)]
        shape = sizes if keeps else [size for axis, size in enumerate(sizes) if axis not in chosen]
        return [derive(lambda v: operation(v[0], dim=chosen, keepdim=keeps), [constant], shape)]

    return follow


def _dequantize(node: Node) -> Outputs:
    weight, scale = node.constant(0), node.constant(1)
    if weight is None or scale is None:
        return []
    block = node.integer("block_size", 0)
    return [dequantise(weight, scale, node.constant(2), axis=node.integer("axis", 1), block_size=block)]


def _quantize(node: Node) -> Outputs:
    """Follows the rounding of a weight that is stored in full and dequantised again by the next node."""
    weight, scale, zero = node.constant(0), node.constant(1), node.constant(2)
    if weight is None or scale is None or node.integer("block_size", 0):
        return []
    axis = node.integer("axis", 1)
    axis = axis + len(weight.shape) if axis < 0 else axis
    dtype = torch.uint8 if zero is None else zero.dtype
    if dtype not in (torch.uint8, torch.int8, torch.uint16, torch.int16):
        return []
    given = [weight, scale, *([] if zero is None else [zero])]
    if not all(_spreads(one.shape, weight.shape, axis, 0) for one in given[1:]):
        return []

    def compute(values: list[Tensor]) -> Tensor:
        spread = [_spread(one, values[0].shape, axis) for one in values[1:]]
        result = torch.round(values[0].to(torch.float32) / spread[0])
        result = result + spread[1] if len(spread) > 1 else result
        ends = torch.iinfo(dtype)
        return result.clamp(ends.min, ends.max).to(dtype)

    return [derive(compute, given, weight.shape, dtype, companions=given[1:])]


FOLLOWED: Mapping[str, Callable[[Node], Outputs]] = {
    "Identity": _identity,
    "CastLike": _identity,
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Gather": _gather,
    "Add": _binary(torch.add),
    "Sub": _binary(torch.sub),
    "Mul": _binary(torch.mul),
    "Div": _binary(_divide),
    "Pow": _binary(torch.pow),
    "Sqrt": _unary(torch.sqrt),
    "Reciprocal": _unary(torch.reciprocal),
    "Neg": _unary(torch.neg),
    "Abs": _unary(torch.abs),
    "Exp": _unary(torch.exp),
    "Sigmoid": _unary(torch.sigmoid),
    "Tanh": _unary(torch.tanh),
    "ReduceL2": _reduce(torch.linalg.vector_norm),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMean": _reduce(torch.mean),
    "DequantizeLinear": _dequantize,
    "QuantizeLinear": _quantize,
}
"""Functions from a node whose inputs are all constants to its outputs, by operator."""
