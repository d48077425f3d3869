"""Reading rows by number: the numbered axis cannot move."""

from sne.symmetry.axes import Axis, axis_size
from sne.symmetry.call import Call
from sne.symmetry.rules.elementwise import broadcast
from sne.symmetry.rules.reasons import ROWS
from sne.symmetry.scales import Passing
from sne.symmetry.values import Value


def embedding_rule(call: Call) -> Value:
    """Rows of a table."""
    table, numbers = call.value("weight"), call.value("indices")
    call.workings.hold(table.axes[0], ROWS)
    return Value((*numbers.axes, table.axes[1]), from_parameters=table.from_parameters)


def index_rule(call: Call) -> Value | None:
    """x[i, :, j]: the axes that are read by number are held, the others stay."""
    x, indices = call.value("self"), list(call["indices"])
    indices += [None] * (len(x.axes) - len(indices))
    numbered = [i for i, one in enumerate(indices) if isinstance(one, Value)]
    numbers = [one for one in indices if isinstance(one, Value)]
    if not numbers or len(indices) != len(x.axes):
        return None
    for i in numbered:
        call.workings.hold(x.axes[i], ROWS)
    found: list[Axis] = [
        next(axis for axis in column if axis is not None) for column in broadcast(call.workings, numbers)
    ]
    kept = [axis for i, axis in enumerate(x.axes) if i not in numbered]
    is_together = numbered == list(range(numbered[0], numbered[-1] + 1))
    at = numbered[0] if is_together else 0
    axes = (*kept[:at], *found, *kept[at:])
    return Value(axes, True) if [axis_size(a) for a in axes] == list(call.shape) else None


def index_select_rule(call: Call) -> Value:
    """Rows along one dimension."""
    x, numbers = call.value("self"), call.value("index")
    dim = call["dim"] % len(x.axes)
    call.workings.hold(x.axes[dim], ROWS)
    return Value((*x.axes[:dim], *numbers.axes, *x.axes[dim + 1 :]), x.from_parameters)


def gather_rule(call: Call) -> Value:
    """gather(x, dim, index): along `dim` entries are read by number, the other axes are those of the index too."""
    workings, x, numbers = call.workings, call.value("self"), call.value("index")
    dim = call["dim"] % len(x.axes)
    workings.hold(x.axes[dim], ROWS)
    axes = list(numbers.axes)
    for place, (axis, number) in enumerate(zip(x.axes, numbers.axes, strict=True)):
        if place == dim:
            continue
        if axis_size(axis) != axis_size(number):
            workings.hold(axis, ROWS)
            continue
        workings.unify(axis, number)
        axes[place] = axis if place in numbers.uniform else workings.passed(axis, Passing(1, 1))
    return Value(tuple(axes), x.from_parameters)
