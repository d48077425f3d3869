"""Operations that rearrange entries: views, transpositions, copies, repetition."""

from math import prod
from typing import Any

from torch.fx import Node

from sne.symmetry.tracing.axes import ONE, Axis, Stack, Value, axis_size, join, sizes
from sne.symmetry.tracing.call import SPACE, Call
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.rules.elementwise import unary
from sne.symmetry.tracing.scales import LINEAR, NONLINEAR

_THROUGH = ("clone", "contiguous", "alias", "detach", "dropout", "_to_copy", "to", "lift_fresh_copy")


def view_rule(call: Call) -> Value | Stack:
    """view, reshape, flatten, unflatten: join and split axes."""
    value, shape = call.value("self"), call.shape
    outs: list[Axis] = [ONE] * len(shape)
    ins, places = [axis for axis in value.axes if axis_size(axis) > 1], [i for i, n in enumerate(shape) if n > 1]
    stacked: tuple[int, list[list[Axis]]] | None = None
    while ins and places:
        taken, given = [ins.pop()], [places.pop()]
        while (have := prod(map(axis_size, taken))) != (want := prod(shape[i] for i in given)):
            if have < want:
                taken.insert(0, ins.pop())
            else:
                given.insert(0, places.pop())
        axis = taken[-1]
        for outer in reversed(taken[:-1]):
            axis = join(outer, axis)
        apart = next((i for i in given if is_taken_apart(call.node, i)), None) if len(given) > 1 else None
        if apart is None or stacked is not None:
            for i, one in zip(given, split_into(call.constraints, axis, [shape[i] for i in given]), strict=True):
                outs[i] = one
            continue
        before, after = given[: given.index(apart)], given[given.index(apart) + 1 :]
        inner = prod(shape[i] for i in after)
        outer, rest = call.constraints.split(axis, shape[apart] * inner)
        for i, one in zip(before, split_into(call.constraints, outer, [shape[i] for i in before]), strict=True):
            outs[i] = one
        slabs = []
        for _ in range(shape[apart]):
            slab, rest = call.constraints.cut(rest, inner)
            slabs.append(split_into(call.constraints, slab, [shape[i] for i in after]))
        stacked = (apart, [[slab[after.index(i)] if i in after else ONE for i in range(len(shape))] for slab in slabs])
    if stacked is None:
        uniform = value.uniform if sizes(value) == list(shape) else frozenset[int]()
        return Value(tuple(outs), value.from_parameters, uniform, value.is_zero)
    apart, slabs = stacked
    parts = []
    for slab in slabs:
        axes = [mine if axis_size(mine) > 1 else shared for mine, shared in zip(slab, outs, strict=True)]
        parts.append(Value(tuple(axes[:apart] + axes[apart + 1 :]), value.from_parameters))
    return Stack(apart, tuple(parts))


def split_into(constraints: Constraints, axis: Axis, shape: list[int]) -> list[Axis]:
    """Splits an axis into axes of the given sizes, outermost first. Inverse: `join` of all."""
    found: list[Axis] = []
    for size in reversed(shape):
        axis, inner = constraints.split(axis, size)
        found.insert(0, inner)
    return found


def is_taken_apart(node: Node, dim: int) -> bool:
    """Whether the network reads the slices of a result along a dimension one by one."""
    for user in node.users:
        if user.op != "call_function":
            continue
        name, rank = str(getattr(user.target, "__name__", "")).partition(".")[0], node.meta["val"].ndim
        if name in ("select", "unbind"):
            along = user.args[1] if len(user.args) > 1 else 0
            if isinstance(along, int) and along % rank == dim:
                return True
        moved = _moved(user, name, rank, dim)
        if moved is not None and is_taken_apart(user, moved):
            return True
    return False


def permute_rule(call: Call) -> Value | Stack:
    """permute, transpose, t; movedim is exported as permute."""
    value = call.arguments["self"]
    rank = len(value.axes) if isinstance(value, Value) else len(value.parts[0].axes) + 1
    order = _order(call.name, rank, call.arguments)
    if isinstance(value, Value):
        return value.rearranged(order)
    inner = [i - (i > value.dim) for i in order if i != value.dim]
    parts = (part.rearranged(inner) for part in value.parts)
    return Stack(order.index(value.dim), tuple(parts))


def unsqueeze_rule(call: Call) -> Value | Stack:
    """Unsqueeze: adds a dimension of size 1."""
    value, dim = call.arguments["self"], call.arguments["dim"] % len(call.shape)
    if isinstance(value, Stack):
        at = value.dim + (dim <= value.dim)
        return Stack(at, tuple(inserted(part, dim - (dim > at)) for part in value.parts))
    return inserted(value, dim)


def squeeze_rule(call: Call) -> Value | Stack:
    """Squeeze: removes dimensions of size 1."""
    value = call.arguments["self"]
    old = call.node.all_input_nodes[0].meta["val"].shape
    rank, dims = len(old), call.arguments.get("dim")
    chosen = range(rank) if dims is None else [dim % rank for dim in ([dims] if isinstance(dims, int) else dims)]
    gone = [dim for dim in chosen if old[dim] == 1]
    kept = [dim for dim in range(rank) if dim not in gone]
    if isinstance(value, Stack):
        inner = [dim - (dim > value.dim) for dim in kept if dim != value.dim]
        return Stack(kept.index(value.dim), tuple(part.rearranged(inner) for part in value.parts))
    return value.rearranged(kept)


def through_rule(call: Call) -> Value | Stack:
    """Copies and conversions; stacks stay stacks."""
    value = call.arguments.get("self", call.arguments.get("input"))
    if isinstance(value, Stack) and call.node.meta["val"].is_floating_point():
        return value
    value = call.value("self" if "self" in call.arguments else "input")
    keeps = call.node.meta["val"].is_floating_point()
    return unary(call.constraints, value, LINEAR if keeps else NONLINEAR)


def expand_rule(call: Call) -> Value:
    """Expand: entries along an expanded axis are equal, so they may move but not scale."""
    value, shape = call.value("self"), call.shape
    added = len(shape) - len(value.axes)
    value = value.rearranged([None] * added + list(range(len(value.axes))))
    stretched = [call.constraints.new_axis(size) for size in shape]
    widened = [dim for dim, size in enumerate(shape) if axis_size(value.axes[dim]) != size]
    axes = tuple(stretched[dim] if dim in widened else axis for dim, axis in enumerate(value.axes))
    return Value(axes, value.from_parameters, value.uniform | set(widened), value.is_zero)


def pixel_shuffle_rule(call: Call) -> Value:
    """pixel_shuffle: the r * r inner entries of each channel become positions, which are fixed."""
    x, factor = call.value("self"), call["upscale_factor"]
    kept, inner = call.constraints.split(x.axes[-3], factor * factor)
    for axis in (inner, *x.axes[-2:]):
        call.constraints.fix(axis, SPACE)
    space = [call.constraints.new_axis(size, SPACE) for size in call.shape[-2:]]
    return Value((*x.axes[:-3], kept, *space), x.from_parameters)


def repeat_rule(call: Call) -> Value:
    """Repeat: adds copies outside each axis."""
    value, shape = call.value("self"), call.shape
    axes = [ONE] * (len(shape) - len(value.axes)) + list(value.axes)
    copies = [call.constraints.new_axis(n // axis_size(axis)) for n, axis in zip(shape, axes, strict=True)]
    joined = (join(copy, axis) for copy, axis in zip(copies, axes, strict=True))
    return Value(tuple(joined), value.from_parameters)


def repeat_interleave_rule(call: Call) -> Value | None:
    """repeat_interleave by one number: adds copies inside the axis."""
    value, dim = call.value("self"), call["dim"]
    if dim is None or not isinstance(call["repeats"], int):
        return None
    dim %= len(value.axes)
    copies = join(value.axes[dim], call.constraints.new_axis(call["repeats"]))
    return value.with_axis(dim, copies)


def inserted(value: Value, dim: int) -> Value:
    """Returns the value with an additional dimension of size 1."""
    order: list[int | None] = list(range(len(value.axes)))
    return value.rearranged([*order[:dim], None, *order[dim:]])


def _order(name: str, rank: int, arguments: dict[str, Any]) -> list[int]:
    """Returns the source dimension of each dimension of a permuted or transposed result."""
    if name == "permute":
        return [dim % rank for dim in arguments["dims"]]
    order = list(range(rank))
    if name == "t" and rank < 2:
        return order
    one, other = (0, 1) if name == "t" else (arguments["dim0"], arguments["dim1"])
    order[one % rank], order[other % rank] = order[other % rank], order[one % rank]
    return order


def _moved(user: Node, name: str, rank: int, dim: int) -> int | None:
    """Returns the new place of a dimension if the operation only rearranges entries, or else None."""
    args: tuple[Any, ...] = user.args[1:]
    if name in _THROUGH:
        return dim
    if name in ("permute", "transpose"):
        keys = ("dims",) if name == "permute" else ("dim0", "dim1")
        return _order(name, rank, dict(zip(keys, args, strict=False))).index(dim)
    if name == "unsqueeze":
        return dim + int(args[0] % (rank + 1) <= dim)
    if name == "squeeze":
        old = user.all_input_nodes[0].meta["val"].shape
        named = range(rank) if not args else [args[0]] if isinstance(args[0], int) else args[0]
        gone = {one % rank for one in named if old[one] == 1}
        return None if dim in gone else dim - sum(one < dim for one in gone)
    return None
