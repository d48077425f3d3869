"""Operations along an axis: sums, maxima, softmax, pooling, and operations that depend on the order."""

from sne.symmetry.tracing.axes import ONE, Result, Value
from sne.symmetry.tracing.call import SPACE, Call, values_in
from sne.symmetry.tracing.scales import LINEAR, NONLINEAR, RELU_LIKE, Passing


def reduction_rule(call: Call) -> Value:
    """sum, mean: linear in the axes that are not summed over."""
    return _reduced(call, LINEAR)


def extremum_rule(call: Call) -> Value:
    """amax, amin and norms pass positive scales of the other axes; logsumexp, var and std pass none."""
    return _reduced(call, RELU_LIKE if call.name in ("amax", "amin", "norm", "linalg_vector_norm") else NONLINEAR)


def softmax_rule(call: Call) -> Value:
    """softmax, log_softmax: keep the structure of the input and forbid its scales."""
    x = values_in(call["self"])[0]
    dim = call["dim"] % max(len(x.axes), 1)
    call.constraints.record(Value(x.axes[:dim] + x.axes[dim + 1 :]))
    return _passed(call, x, NONLINEAR)


def ordered_rule(call: Call) -> Result:
    """Operations that depend on the order along an axis: cumsum, sort, topk, flip, roll, argmax."""
    x = call.value("self")
    rank = len(x.axes)
    named = call["dim"] if call["dim"] is not None else call["dims"]
    dims = range(rank) if named is None else [named] if isinstance(named, int) else named
    places = [dim % rank for dim in dims] or list(range(rank))
    for dim in places:
        call.constraints.fix(x.axes[dim], f"an order along the axis, in {call.name}")
    call.constraints.record(Value(tuple(axis for dim, axis in enumerate(x.axes) if dim not in places)))
    held = _passed(call, x, NONLINEAR)
    shapes = call.shapes if isinstance(call.node.meta["val"], tuple | list) else [call.shape]
    results = []
    for shape in shapes:
        if len(shape) == rank:
            axes = [
                call.constraints.new_axis(shape[dim], f"an order along the axis, in {call.name}")
                if dim in places
                else axis
                for dim, axis in enumerate(held.axes)
            ]
        else:
            axes = [axis for dim, axis in enumerate(held.axes) if dim not in places]
        results.append(Value(tuple(axes), x.from_parameters))
    return tuple(results) if isinstance(call.node.meta["val"], tuple | list) else results[0]


def pooling_rule(call: Call) -> Result:
    """Pooling and interpolation: positions are fixed, channels pass."""
    x = call.value("self") if "self" in call.arguments else call.value("input")
    is_linear = "avg" in call.name or "upsample" in call.name or "pad" in call.name
    shapes = call.shapes if isinstance(call.node.meta["val"], tuple | list) else [call.shape]
    shape = shapes[0]
    rank = _spatial_rank(call.name)
    kept = len(x.axes) - rank
    for axis in x.axes[kept:]:
        call.constraints.fix(axis, SPACE)
    passing = LINEAR if is_linear else RELU_LIKE
    axes = [call.constraints.pass_through(axis, passing) for axis in x.axes[:kept]]
    space = [call.constraints.new_axis(size, SPACE) for size in shape[kept:]]
    result = Value((*axes, *space), x.from_parameters)
    return (result, *[None] * (len(shapes) - 1)) if isinstance(call.node.meta["val"], tuple | list) else result


def _spatial_rank(name: str) -> int:
    for rank in (1, 2, 3):
        if f"{rank}d" in name:
            return rank
    return {"upsample_linear": 1}.get(name, 2)


def _reduced(call: Call, passing: Passing) -> Value:
    x = call.value("self")
    rank = len(x.axes)
    named = call["dim"]
    dims = range(rank) if named is None or named == [] else [named] if isinstance(named, int) else named
    gone = {dim % rank for dim in dims}
    for dim in gone:
        call.constraints.forbid_scaling(x.axes[dim])
    keeps = bool(call["keepdim"])
    axes = []
    for dim, axis in enumerate(x.axes):
        if dim not in gone:
            axes.append(call.constraints.pass_through(axis, passing))
        elif keeps:
            axes.append(ONE)
    return Value(tuple(axes), x.from_parameters)


def _passed(call: Call, x: Value, passing: Passing) -> Value:
    return Value(tuple(call.constraints.pass_through(axis, passing) for axis in x.axes), x.from_parameters)
