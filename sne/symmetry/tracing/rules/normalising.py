"""Normalisation layers: the neurons over which statistics are taken share them."""

from collections.abc import Sequence

from sne.symmetry.tracing.axes import ONE, Axis, Result, Value, axis_size, join
from sne.symmetry.tracing.call import Call
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.rules.elementwise import add, multiply
from sne.symmetry.tracing.scales import NONLINEAR, ODD


def batch_norm_rule(call: Call) -> Value:
    """Batch and instance norm: all vectors move with the channels; signs pass if there are running statistics."""
    constraints, x = call.constraints, call.value("input")
    mean, variance = call["running_mean"], call["running_var"]
    axes = [constraints.pass_through(axis, NONLINEAR) if dim != 1 else axis for dim, axis in enumerate(x.axes)]
    channels = axes[1]
    if call["training"] or call["use_input_stats"] or mean is None or variance is None:
        axes[1] = constraints.pass_through(channels, NONLINEAR)
    else:
        constraints.equate(channels, mean.axes[0])
        constraints.unify(channels, variance.axes[0])
        constraints.forbid_scaling(variance.axes[0])
        axes[1] = constraints.pass_through(channels, ODD)
    return _affine(call, Value(tuple(axes), x.from_parameters), len(axes) - 2)


def native_batch_norm_rule(call: Call) -> Result:
    """Batch norm that also returns its statistics, which networks do not read."""
    return (batch_norm_rule(call), *[None] * (len(call.node.meta["val"]) - 1))


def layer_norm_rule(call: Call) -> Value:
    """Layer norm: forbids scales of its input."""
    x, rank = call.value("input"), len(call["normalized_shape"])
    call.constraints.record(Value(x.axes[: len(x.axes) - rank]))
    return _affine(call, _unscaled(call.constraints, x), 0)


def rms_norm_rule(call: Call) -> Value:
    """RMS norm: signs pass because only squares are summed."""
    x, rank = call.value("input"), len(call["normalized_shape"])
    call.constraints.record(Value(x.axes[: len(x.axes) - rank]))
    axes = [call.constraints.pass_through(axis, ODD) for axis in x.axes]
    return _affine(call, Value(tuple(axes), x.from_parameters), 0)


def group_norm_rule(call: Call) -> Value:
    """Group norm: channels move within groups, and groups among each other."""
    constraints, x = call.constraints, _unscaled(call.constraints, call.value("input"))
    groups = call["num_groups"]
    group, inside = constraints.split(x.axes[1], axis_size(x.axes[1]) // groups)
    constraints.record(Value((x.axes[0], group)))
    y = Value((x.axes[0], join(group, inside), *x.axes[2:]), x.from_parameters)
    return _affine(call, y, len(y.axes) - 2)


def weight_norm_rule(call: Call) -> Value:
    """_weight_norm(v, g, dim): v divided by its norm over all dimensions but one, times g."""
    v, g = call.value("v"), call.value("g")
    return multiply(call.constraints, [_unscaled(call.constraints, v), g])


def _unscaled(constraints: Constraints, x: Value) -> Value:
    """Returns the value after a function that passes no scale."""
    return Value(tuple(constraints.pass_through(axis, NONLINEAR) for axis in x.axes), x.from_parameters)


def _affine(call: Call, y: Value, trailing: int) -> Value:
    """Multiplies by the weight and adds the bias, if they exist."""
    weight, bias = call["weight"], call["bias"]
    after: Sequence[Axis] = [ONE] * trailing
    if isinstance(weight, Value):
        y = multiply(call.constraints, [y, Value((*weight.axes, *after), from_parameters=True)])
    if isinstance(bias, Value):
        y = add(call.constraints, [y, Value((*bias.axes, *after), from_parameters=True)])
    return y
