"""Operations that cut, select and concatenate entries: slices, concatenation, padding, rows read by index."""

from sne.symmetry.tracing.axes import Axis, Result, Stack, Value, axis_size, concatenate, sizes
from sne.symmetry.tracing.call import Call, values_in
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.rules.elementwise import broadcast
from sne.symmetry.tracing.rules.regrouping import inserted
from sne.symmetry.tracing.scales import Passing

ROWS = "rows are read by number"


def cat_rule(call: Call) -> Value:
    """Concatenation; the other axes are unified."""
    values = [value for value in values_in(call["tensors"]) if sizes(value) != [0]]
    dim = call["dim"] % len(values[0].axes)
    return _concatenated(call.constraints, values, dim)


def stack_rule(call: Call) -> Value:
    """Concatenation along a new dimension."""
    dim = call["dim"] % len(call.shape)
    return _concatenated(call.constraints, [inserted(value, dim) for value in values_in(call["tensors"])], dim)


def pad_rule(call: Call) -> Value:
    """Padding by constants; the axis is fixed if entries are repeated instead."""
    value, widths = call.value("self"), list(call["pad"])
    axes = list(value.axes)
    for i in range(len(widths) // 2):
        before, after = widths[2 * i : 2 * i + 2]
        dim = len(axes) - 1 - i
        sides = [call.constraints.new_axis(max(width, 0), "padding") for width in (before, after)]
        is_plain = call["mode"] in (None, "constant") and before >= 0 and after >= 0
        if not is_plain and (before or after):
            call.constraints.fix(axes[dim], "padding by other entries")
            axes[dim] = call.constraints.new_axis(call.shape[dim], "padding")
        elif before or after:
            pieces = [sides[0] if before else (), axes[dim], sides[1] if after else ()]
            axes[dim] = concatenate(pieces)
    return Value(tuple(axes), value.from_parameters)


def unbind_rule(call: Call) -> Result:
    """Unbind: all slices along a dimension."""
    value, dim = call.arguments["self"], call.arguments.get("dim", 0)
    rank = len(value.axes) if isinstance(value, Value) else len(value.parts[0].axes) + 1
    if isinstance(value, Stack) and value.dim == dim % rank:
        return value.parts
    return tuple(slice_of(call.constraints, call.value("self"), dim % rank, i) for i in range(len(call.shapes)))


def select_rule(call: Call) -> Value:
    """Select: one slice along a dimension."""
    value, dim, index = call.arguments["self"], call.arguments["dim"], call.arguments["index"]
    if isinstance(value, Stack) and value.dim == dim % (len(value.parts[0].axes) + 1):
        return value.parts[index]
    value = call.value("self")
    dim %= len(value.axes)
    return slice_of(call.constraints, value, dim, index % sizes(value)[dim])


def slice_of(constraints: Constraints, value: Value, dim: int, index: int) -> Value:
    """Returns one slice along a dimension."""
    start, _ = constraints.cut(value.axes[dim], index + 1)
    if index:
        constraints.cut(start, index)
    return value.rearranged([place for place in range(len(value.axes)) if place != dim])


def slice_rule(call: Call) -> Value:
    """Slice: a range along a dimension; with steps, the axis is fixed."""
    value, dim = call.value("self"), call["dim"]
    dim %= len(value.axes)
    size = sizes(value)[dim]
    start, end, _ = slice(call["start"], call["end"]).indices(size)
    return ranged(call.constraints, value, dim, start, max(end, start), call["step"])


def narrow_rule(call: Call) -> Value:
    """narrow(x, dim, start, length)."""
    value = call.value("self")
    dim, start = call["dim"] % len(value.axes), call["start"]
    return ranged(call.constraints, value, dim, start, start + call["length"], 1)


def split_rule(call: Call) -> Result:
    """split, split_with_sizes, chunk: pieces along an axis."""
    value = call.value("self")
    dim, start, pieces = call["dim"] % len(value.axes), 0, []
    for shape in call.shapes:
        pieces.append(ranged(call.constraints, value, dim, start, start + shape[dim], 1))
        start += shape[dim]
    return tuple(pieces)


def ranged(constraints: Constraints, value: Value, dim: int, start: int, end: int, step: int) -> Value:
    """Returns the entries start, start + step, ... before `end` along a dimension."""
    axis, size = value.axes[dim], sizes(value)[dim]
    if start == 0 and end == size and step == 1:
        return value
    if step == 1 and end > start:
        axis, _ = constraints.cut(axis, end)
        if start:
            _, axis = constraints.cut(axis, start)
    else:
        constraints.fix(axis, "a slice with steps")
        axis = constraints.new_axis(len(range(start, end, step)), "a slice with steps")
    return value.with_axis(dim, axis)


def embedding_rule(call: Call) -> Value:
    """Embedding: rows of a table."""
    table, numbers = call.value("weight"), call.value("indices")
    call.constraints.fix(table.axes[0], ROWS)
    return Value((*numbers.axes, table.axes[1]), from_parameters=table.from_parameters)


def index_rule(call: Call) -> Value | None:
    """x[i, :, j]: axes that are read by index are fixed, the others pass."""
    x, indices = call.value("self"), list(call["indices"])
    indices += [None] * (len(x.axes) - len(indices))
    numbered = [i for i, one in enumerate(indices) if isinstance(one, Value)]
    numbers = [one for one in indices if isinstance(one, Value)]
    if not numbers or len(indices) != len(x.axes):
        return None
    for i in numbered:
        call.constraints.fix(x.axes[i], ROWS)
    found: list[Axis] = [
        next(axis for axis in column if axis is not None) for column in broadcast(call.constraints, numbers)
    ]
    kept = [axis for i, axis in enumerate(x.axes) if i not in numbered]
    is_together = numbered == list(range(numbered[0], numbered[-1] + 1))
    at = numbered[0] if is_together else 0
    axes = (*kept[:at], *found, *kept[at:])
    return Value(axes, True) if [axis_size(a) for a in axes] == list(call.shape) else None


def index_select_rule(call: Call) -> Value:
    """index_select(x, dim, index)."""
    x, numbers = call.value("self"), call.value("index")
    dim = call["dim"] % len(x.axes)
    call.constraints.fix(x.axes[dim], ROWS)
    return Value((*x.axes[:dim], *numbers.axes, *x.axes[dim + 1 :]), x.from_parameters)


def gather_rule(call: Call) -> Value:
    """gather(x, dim, index): `dim` is read by index and fixed, the other axes are unified with those of the index."""
    constraints, x, numbers = call.constraints, call.value("self"), call.value("index")
    dim = call["dim"] % len(x.axes)
    constraints.fix(x.axes[dim], ROWS)
    axes = list(numbers.axes)
    for place, (axis, number) in enumerate(zip(x.axes, numbers.axes, strict=True)):
        if place == dim:
            continue
        if axis_size(axis) != axis_size(number):
            constraints.fix(axis, ROWS)
            continue
        constraints.unify(axis, number)
        axes[place] = axis if place in numbers.uniform else constraints.pass_through(axis, Passing(1, 1))
    return Value(tuple(axes), x.from_parameters)


def _concatenated(constraints: Constraints, values: list[Value], dim: int) -> Value:
    axes = list(values[0].axes)
    for value in values[1:]:
        for i, axis in enumerate(value.axes):
            if i != dim:
                constraints.equate(axes[i], axis)
    axes[dim] = concatenate(value.axes[dim] for value in values)
    return Value(tuple(axes), any(value.from_parameters for value in values))
