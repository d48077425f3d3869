"""Norms: their statistics are shared by the neurons they are taken over."""

from collections.abc import Sequence

from sne.symmetry.axes import ONE, Axis, axis_size, join
from sne.symmetry.call import Call
from sne.symmetry.rules.elementwise import add, multiply
from sne.symmetry.scales import NONLINEAR, ODD
from sne.symmetry.values import Result, Value
from sne.symmetry.workings import Workings


def batch_norm_rule(call: Call) -> Value:
    """Batch norm and instance norm: all vectors move with the channels; the sign passes where statistics are kept."""
    workings, x = call.workings, call.value("input")
    mean, variance = call["running_mean"], call["running_var"]
    axes = [workings.passed(axis, NONLINEAR) if dim != 1 else axis for dim, axis in enumerate(x.axes)]
    channels = axes[1]
    if call["training"] or call["use_input_stats"] or mean is None or variance is None:
        axes[1] = workings.passed(channels, NONLINEAR)
    else:
        workings.same(channels, mean.axes[0])
        workings.unify(channels, variance.axes[0])
        workings.unscaled(variance.axes[0])
        axes[1] = workings.passed(channels, ODD)
    return _affine(call, Value(tuple(axes), x.from_parameters), len(axes) - 2)


def native_batch_norm_rule(call: Call) -> Result:
    """Batch norm with its statistics; nothing reads those."""
    return (batch_norm_rule(call), *[None] * (len(call.node.meta["val"]) - 1))


def layer_norm_rule(call: Call) -> Value:
    """Layer norm: nothing may be scaled before it."""
    x, rank = call.value("input"), len(call["normalized_shape"])
    call.workings.see(Value(x.axes[: len(x.axes) - rank]))
    return _affine(call, _held(call.workings, x), 0)


def rms_norm_rule(call: Call) -> Value:
    """RMS norm: signs pass, for only squares are summed."""
    x, rank = call.value("input"), len(call["normalized_shape"])
    call.workings.see(Value(x.axes[: len(x.axes) - rank]))
    axes = [call.workings.passed(axis, ODD) for axis in x.axes]
    return _affine(call, Value(tuple(axes), x.from_parameters), 0)


def group_norm_rule(call: Call) -> Value:
    """Group norm: channels move inside of groups, groups among themselves."""
    workings, x = call.workings, _held(call.workings, call.value("input"))
    groups = call["num_groups"]
    group, inside = workings.split(x.axes[1], axis_size(x.axes[1]) // groups)
    workings.see(Value((x.axes[0], group)))
    y = Value((x.axes[0], join(group, inside), *x.axes[2:]), x.from_parameters)
    return _affine(call, y, len(y.axes) - 2)


def weight_norm_rule(call: Call) -> Value:
    """_weight_norm(v, g, dim): v over its norm in all dimensions but one, times g."""
    v, g = call.value("v"), call.value("g")
    return multiply(call.workings, [_held(call.workings, v), g])


def _held(workings: Workings, x: Value) -> Value:
    return Value(tuple(workings.passed(axis, NONLINEAR) for axis in x.axes), x.from_parameters)


def _affine(call: Call, y: Value, trailing: int) -> Value:
    """Times weight, plus bias, each where there is one."""
    weight, bias = call["weight"], call["bias"]
    after: Sequence[Axis] = [ONE] * trailing
    if isinstance(weight, Value):
        y = multiply(call.workings, [y, Value((*weight.axes, *after), from_parameters=True)])
    if isinstance(bias, Value):
        y = add(call.workings, [y, Value((*bias.axes, *after), from_parameters=True)])
    return y
