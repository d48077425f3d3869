"""Operations that cut axes and put them together: slices, concatenations, padding."""

from sne.symmetry.axes import concatenate
from sne.symmetry.call import Call, tensors
from sne.symmetry.rules.regrouping import inserted
from sne.symmetry.values import Result, Stack, Value
from sne.symmetry.workings import Workings, sizes


def cat_rule(call: Call) -> Value:
    """Concatenation; along the other axes all are the same."""
    values = [value for value in tensors(call["tensors"]) if sizes(value) != [0]]
    dim = call["dim"] % len(values[0].axes)
    return _concatenated(call.workings, values, dim)


def stack_rule(call: Call) -> Value:
    """Values side by side along a new dimension."""
    dim = call["dim"] % len(call.shape)
    return _concatenated(call.workings, [inserted(value, dim) for value in tensors(call["tensors"])], dim)


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
