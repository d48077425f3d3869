"""Operations that move entries without changing them: views, transpositions, joins."""

from math import prod

from torch.fx import Node

from sne.symmetry.axes import ONE, Axis, axis_size, concatenate, join
from sne.symmetry.call import Call, tensors
from sne.symmetry.rules.elementwise import unary
from sne.symmetry.scales import LINEAR, NONLINEAR
from sne.symmetry.values import Result, Stack, Value
from sne.symmetry.workings import Workings, sizes

_THROUGH = ("clone", "contiguous", "alias", "detach", "dropout", "_to_copy", "to", "lift_fresh_copy")


def view_rule(call: Call) -> Value | Stack:
    """view, reshape, flatten, unflatten: axes are joined and split."""
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
            for i, one in zip(given, split_into(call.workings, axis, [shape[i] for i in given]), strict=True):
                outs[i] = one
            continue
        before, after = given[: given.index(apart)], given[given.index(apart) + 1 :]
        inner = prod(shape[i] for i in after)
        outer, rest = call.workings.split(axis, shape[apart] * inner)
        for i, one in zip(before, split_into(call.workings, outer, [shape[i] for i in before]), strict=True):
            outs[i] = one
        slabs = []
        for _ in range(shape[apart]):
            slab, rest = call.workings.cut(rest, inner)
            slabs.append(split_into(call.workings, slab, [shape[i] for i in after]))
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


def split_into(workings: Workings, axis: Axis, shape: list[int]) -> list[Axis]:
    """Axes of the given sizes, outermost first, from the axis of all their pairs. Inverse: `join` of all."""
    found: list[Axis] = []
    for size in reversed(shape):
        axis, inner = workings.split(axis, size)
        found.insert(0, inner)
    return found


def is_taken_apart(node: Node, dim: int) -> bool:
    """Whether the network reads slices of a result along a dimension one by one."""
    for user in node.users:
        if user.op != "call_function":
            continue
        name, rank = user.target.__name__.partition(".")[0], node.meta["val"].ndim
        if name in ("select", "unbind"):
            along = user.args[1] if len(user.args) > 1 else 0
            if isinstance(along, int) and along % rank == dim:
                return True
        moved = _moved(user, name, rank, dim)
        if moved is not None and is_taken_apart(user, moved):
            return True
    return False


def permute_rule(call: Call) -> Value | Stack:
    """permute, transpose, t, movedim as permute."""
    value = call.arguments["self"]
    rank = len(value.axes) if isinstance(value, Value) else len(value.parts[0].axes) + 1
    order = _order(call.name, rank, call.arguments)
    if isinstance(value, Value):
        return value.rearranged(order)
    inner = [i - (i > value.dim) for i in order if i != value.dim]
    parts = (part.rearranged(inner) for part in value.parts)
    return Stack(order.index(value.dim), tuple(parts))


def unsqueeze_rule(call: Call) -> Value | Stack:
    """A dimension of size 1 more."""
    value, dim = call.arguments["self"], call.arguments["dim"] % len(call.shape)
    if isinstance(value, Stack):
        at = value.dim + (dim <= value.dim)
        return Stack(at, tuple(_inserted(part, dim - (dim > at)) for part in value.parts))
    return _inserted(value, dim)


def squeeze_rule(call: Call) -> Value | Stack:
    """Dimensions of size 1 less."""
    value = call.arguments["self"]
    rank = len(call.node.args[0].meta["val"].shape)  # pyright: ignore
    dims = call.arguments.get("dim")
    chosen = range(rank) if dims is None else [dim % rank for dim in ([dims] if isinstance(dims, int) else dims)]
    old = call.node.args[0].meta["val"].shape  # pyright: ignore
    gone = [dim for dim in chosen if old[dim] == 1]
    kept = [dim for dim in range(rank) if dim not in gone]
    if isinstance(value, Stack):
        inner = [dim - (dim > value.dim) for dim in kept if dim != value.dim]
        return Stack(kept.index(value.dim), tuple(part.rearranged(inner) for part in value.parts))
    return value.rearranged(kept)


def through_rule(call: Call) -> Value | Stack:
    """Copies and conversions, of slices too."""
    value = call.arguments.get("self", call.arguments.get("input"))
    if isinstance(value, Stack) and call.node.meta["val"].is_floating_point():
        return value
    value = call.value("self" if "self" in call.arguments else "input")
    keeps = call.node.meta["val"].is_floating_point()
    return unary(call.workings, value, LINEAR if keeps else NONLINEAR)


def expand_rule(call: Call) -> Value:
    """Stretching: entries along a stretched axis are all the same, so they may trade places and are not scaled."""
    value, shape = call.value("self"), call.shape
    added = len(shape) - len(value.axes)
    value = value.rearranged([None] * added + list(range(len(value.axes))))
    stretched = [call.workings.fresh(size) for size in shape]
    widened = [dim for dim, size in enumerate(shape) if axis_size(value.axes[dim]) != size]
    axes = tuple(stretched[dim] if dim in widened else axis for dim, axis in enumerate(value.axes))
    return Value(axes, value.from_parameters, value.uniform | set(widened), value.is_zero)


def repeat_rule(call: Call) -> Value:
    """Repeat: copies stand outside of each axis."""
    value, shape = call.value("self"), call.shape
    axes = [ONE] * (len(shape) - len(value.axes)) + list(value.axes)
    copies = [call.workings.fresh(n // axis_size(axis)) for n, axis in zip(shape, axes, strict=True)]
    joined = (join(copy, axis) for copy, axis in zip(copies, axes, strict=True))
    return Value(tuple(joined), value.from_parameters)


def repeat_interleave_rule(call: Call) -> Value | None:
    """repeat_interleave by one number: copies stand inside of the axis."""
    value, dim = call.value("self"), call["dim"]
    if dim is None or not isinstance(call["repeats"], int):
        return None
    dim %= len(value.axes)
    copies = join(value.axes[dim], call.workings.fresh(call["repeats"]))
    return value.with_axis(dim, copies)


def cat_rule(call: Call) -> Value:
    """Concatenation; along the other axes all are the same."""
    values = [value for value in tensors(call["tensors"]) if sizes(value) != [0]]
    dim = call["dim"] % len(values[0].axes)
    return _concatenated(call.workings, values, dim)


def stack_rule(call: Call) -> Value:
    """Values side by side along a new dimension."""
    dim = call["dim"] % len(call.shape)
    return _concatenated(call.workings, [_inserted(value, dim) for value in tensors(call["tensors"])], dim)


def pad_rule(call: Call) -> Value:
    """Padding: numbers before and after; where entries are repeated, nothing may move along the axis."""
    value, widths = call.value("self"), list(call["pad"])
    axes = list(value.axes)
    for i in range(len(widths) // 2):
        before, after = widths[2 * i : 2 * i + 2]
        dim = len(axes) - 1 - i
        sides = [call.workings.fresh(max(width, 0), "padding") for width in (before, after)]
        is_plain = call["mode"] in (None, "constant") and before >= 0 and after >= 0
        if not is_plain and (before or after):
            call.workings.hold(axes[dim], "padding by other entries")
            axes[dim] = call.workings.fresh(call.shape[dim], "padding")
        elif before or after:
            pieces = [sides[0] if before else (), axes[dim], sides[1] if after else ()]
            axes[dim] = concatenate(pieces)
    return Value(tuple(axes), value.from_parameters)


def unbind_rule(call: Call) -> Result:
    """Unbind: slices one by one."""
    value, dim = call.arguments["self"], call.arguments.get("dim", 0)
    rank = len(value.axes) if isinstance(value, Value) else len(value.parts[0].axes) + 1
    if isinstance(value, Stack) and value.dim == dim % rank:
        return value.parts
    return tuple(slice_of(call.workings, call.value("self"), dim % rank, i) for i in range(len(call.shapes)))


def select_rule(call: Call) -> Value:
    """One slice."""
    value, dim, index = call.arguments["self"], call.arguments["dim"], call.arguments["index"]
    if isinstance(value, Stack) and value.dim == dim % (len(value.parts[0].axes) + 1):
        return value.parts[index]
    value = call.value("self")
    dim %= len(value.axes)
    return slice_of(call.workings, value, dim, index % sizes(value)[dim])


def slice_of(workings: Workings, value: Value, dim: int, index: int) -> Value:
    """One slice along a dimension."""
    start, _ = workings.cut(value.axes[dim], index + 1)
    if index:
        workings.cut(start, index)
    return value.rearranged([place for place in range(len(value.axes)) if place != dim])


def slice_rule(call: Call) -> Value:
    """A range along a dimension; with steps, nothing may move along it."""
    value, dim = call.value("self"), call["dim"]
    dim %= len(value.axes)
    size = sizes(value)[dim]
    start, end, _ = slice(call["start"], call["end"]).indices(size)
    return ranged(call.workings, value, dim, start, max(end, start), call["step"])


def narrow_rule(call: Call) -> Value:
    """narrow(x, dim, start, length)."""
    value = call.value("self")
    dim, start = call["dim"] % len(value.axes), call["start"]
    return ranged(call.workings, value, dim, start, start + call["length"], 1)


def split_rule(call: Call) -> Result:
    """split, split_with_sizes, chunk: the pieces of an axis."""
    value = call.value("self")
    dim, start, pieces = call["dim"] % len(value.axes), 0, []
    for shape in call.shapes:
        pieces.append(ranged(call.workings, value, dim, start, start + shape[dim], 1))
        start += shape[dim]
    return tuple(pieces)


def ranged(workings: Workings, value: Value, dim: int, start: int, end: int, step: int) -> Value:
    """Entries start, start + step, ... before `end` along a dimension."""
    axis, size = value.axes[dim], sizes(value)[dim]
    if start == 0 and end == size and step == 1:
        return value
    if step == 1 and end > start:
        axis, _ = workings.cut(axis, end)
        if start:
            _, axis = workings.cut(axis, start)
    else:
        workings.hold(axis, "a slice with steps")
        axis = workings.fresh(len(range(start, end, step)), "a slice with steps")
    return value.with_axis(dim, axis)


def _concatenated(workings: Workings, values: list[Value], dim: int) -> Value:
    axes = list(values[0].axes)
    for value in values[1:]:
        for i, axis in enumerate(value.axes):
            if i != dim:
                workings.same(axes[i], axis)
    axes[dim] = concatenate(value.axes[dim] for value in values)
    return Value(tuple(axes), any(value.from_parameters for value in values))


def _inserted(value: Value, dim: int) -> Value:
    order: list[int | None] = list(range(len(value.axes)))
    return value.rearranged([*order[:dim], None, *order[dim:]])


def _order(name: str, rank: int, arguments: dict[str, object]) -> list[int]:
    if name == "permute":
        return [dim % rank for dim in arguments["dims"]]  # pyright: ignore
    order = list(range(rank))
    if name == "t" and rank < 2:
        return order
    one, other = (0, 1) if name == "t" else (arguments["dim0"], arguments["dim1"])
    assert isinstance(one, int) and isinstance(other, int)
    order[one % rank], order[other % rank] = order[other % rank], order[one % rank]
    return order


def _moved(user: Node, name: str, rank: int, dim: int) -> int | None:
    """Where a dimension goes in an operation that only rearranges; None in others."""
    args = user.args[1:]
    if name in _THROUGH:
        return dim
    if name in ("permute", "transpose"):
        keys = ("dims",) if name == "permute" else ("dim0", "dim1")
        return _order(name, rank, dict(zip(keys, args, strict=False))).index(dim)
    if name == "unsqueeze":
        at = args[0] % (rank + 1)  # pyright: ignore
        return dim + (at <= dim)
    if name == "squeeze":
        old, new = user.args[0].meta["val"].shape, user.meta["val"].shape  # pyright: ignore
        if old[dim] == 1:
            return None
        dims = range(rank) if not args else [one % rank for one in ([args[0]] if isinstance(args[0], int) else args[0])]  # pyright: ignore
        gone = [one for one in dims if old[one] == 1]
        assert len(new) == rank - len(gone)
        return dim - sum(one < dim for one in gone)
    return None
