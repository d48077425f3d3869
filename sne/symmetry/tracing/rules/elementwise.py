"""Elementwise functions, with broadcasting."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from sne.symmetry.tracing.axes import ONE, Axis, Value, axis_size
from sne.symmetry.tracing.call import Call, values_in
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.scales import EVEN, LINEAR, NONLINEAR, ODD, RELU_LIKE, Passing

PASSINGS: Mapping[str, Passing] = {
    **dict.fromkeys(
        ("neg", "positive", "feature_dropout"),
        LINEAR,
    ),
    **dict.fromkeys(("relu", "leaky_relu", "rrelu"), RELU_LIKE),
    **dict.fromkeys(("tanh", "sin", "asin", "atan", "sinh", "asinh", "erf", "softsign", "sign",
                     "tanhshrink", "hardshrink", "softshrink"), ODD),
    **dict.fromkeys(("cos", "cosh"), EVEN),
    "abs": Passing(1, 0),
    "square": Passing(2, 0),
    "sqrt": Passing(Fraction(1, 2)),
    "rsqrt": Passing(Fraction(-1, 2)),
    "reciprocal": Passing(-1, 1),
    **dict.fromkeys(
        ("sigmoid", "silu", "gelu", "elu", "selu", "celu", "mish", "softplus", "exp", "exp2", "expm1", "log", "log1p",
         "log2", "hardsigmoid", "hardswish", "hardtanh", "relu6", "log_sigmoid", "threshold", "floor", "ceil", "round",
         "trunc", "erfc", "logit", "tan", "isnan", "isinf", "logical_not", "bitwise_not", "nan_to_num", "frac"),
        NONLINEAR,
    ),
}  # fmt: skip


def broadcast(constraints: Constraints, values: Sequence[Value]) -> list[list[Axis | None]]:
    """Unifies the axes of each dimension; returns them per dimension of the result, None where a value is broadcast."""
    rank = max((len(value.axes) for value in values), default=0)
    columns: list[list[Axis | None]] = []
    for dim in range(rank):
        axes = [value.axes[dim - rank] if dim - rank >= -len(value.axes) else ONE for value in values]
        widest = max(axis_size(axis) for axis in axes)
        column: list[Axis | None] = [axis if axis_size(axis) == widest else None for axis in axes]
        present = [axis for axis in column if axis is not None]
        for other in present[1:]:
            constraints.unify(present[0], other)
        columns.append(column)
    return columns


def add(constraints: Constraints, values: Sequence[Value], passing: Passing = LINEAR, scalar: bool = False) -> Value:
    """Combines values that must all be scaled alike: sums, maxima, choices.

    Args:
        constraints: Constraints of the trace.
        values: Values, which are broadcast.
        passing: How the operation passes on scales.
        scalar: Whether a number takes part as well, which forbids scales.
    """
    axes = []
    for column in broadcast(constraints, values):
        present = [axis for axis in column if axis is not None]
        for other in present[1:]:
            constraints.equate(present[0], other)
        if scalar or len(present) < len(column):
            constraints.forbid_scaling(*present)
        axes.append(constraints.pass_through(present[0], passing))
    return _value(axes, values)


def multiply(constraints: Constraints, values: Sequence[Value], powers: Sequence[int] | None = None) -> Value:
    """Multiplies and divides values.

    Args:
        constraints: Constraints of the trace.
        values: Values, which are broadcast.
        powers: 1 per factor or -1 per divisor; None if all are factors.
    """
    powers = powers or [1] * len(values)
    axes = []
    for column in broadcast(constraints, values):
        present = [(axis, power) for axis, power in zip(column, powers, strict=True) if axis is not None]
        axes.append(constraints.product([axis for axis, _ in present], [power for _, power in present]))
    return _value(axes, values)


def sum_rule(call: Call) -> Value:
    """add, sub; adding a number other than 0 forbids scales."""
    values, others = _operands(call, ("self", "other"))
    return add(call.constraints, values, scalar=any(other != 0 for other in others))


def maximum_rule(call: Call) -> Value:
    """Maximum and minimum of two tensors."""
    values, others = _operands(call, ("self", "other"))
    return add(call.constraints, values, RELU_LIKE, scalar=any(other != 0 for other in others))


def product_rule(call: Call) -> Value:
    """Mul."""
    values, _ = _operands(call, ("self", "other"))
    return multiply(call.constraints, values)


def quotient_rule(call: Call) -> Value:
    """Div; division with rounding counts as nonlinear."""
    if call.arguments.get("rounding_mode") is not None:
        return nonlinear_rule(call)
    top, bottom = call["self"], call["other"]
    if not isinstance(top, Value):
        return multiply(call.constraints, [bottom], [-1])
    return multiply(call.constraints, [top, bottom], [1, -1]) if isinstance(bottom, Value) else top


def power_rule(call: Call) -> Value:
    """Pow: multiplies exponents of scales; integer exponents pass signs."""
    base, exponent = call["self"], call["exponent"]
    if not isinstance(base, Value) or not isinstance(exponent, int | float):
        return nonlinear_rule(call)
    sign = int(exponent) % 2 if float(exponent).is_integer() else None
    return unary(call.constraints, base, Passing(Fraction(exponent).limit_denominator(64), sign, exponent == 1))


def choice_rule(call: Call) -> Value:
    """where(condition, a, b)."""
    condition = call.value("condition")
    chosen, others = _operands(call, ("self", "other"))
    held = unary(call.constraints, condition, NONLINEAR)
    return add_conditioned(call.constraints, chosen, held, any(other != 0 for other in others))


def masked_fill_rule(call: Call) -> Value:
    """masked_fill(x, mask, value)."""
    fill, mask = call["value"], unary(call.constraints, call.value("mask"), NONLINEAR)
    values = [call.value("self"), *([fill] if isinstance(fill, Value) else [])]
    return add_conditioned(call.constraints, values, mask, not isinstance(fill, Value) and fill != 0)


def add_conditioned(constraints: Constraints, values: Sequence[Value], condition: Value, scalar: bool) -> Value:
    """Combines values among which a condition chooses; axes along which the condition varies are not mixed."""
    chosen = add(constraints, values, scalar=scalar)
    axes = []
    for column in broadcast(constraints, [chosen, condition]):
        first, second = column
        axes.append(first if second is None else constraints.pass_through(first or second, Passing(1, 1)))
    return _value(axes, [chosen, condition])


def clamp_rule(call: Call) -> Value:
    """Clamp: clamp(min=0) is a ReLU, others are nonlinear."""
    low, high = call["min"], call["max"]
    is_relu = low == 0 and high is None and not isinstance(low, Value)
    if is_relu:
        return unary(call.constraints, call.value("self"), RELU_LIKE)
    return nonlinear_rule(call)


def unary_rule(call: Call) -> Value:
    """A function listed in `PASSINGS`."""
    return unary(call.constraints, call.value("self" if "self" in call.arguments else "input"), PASSINGS[call.name])


def prelu_rule(call: Call) -> Value:
    """prelu(x, slope): one slope for all channels, or one per channel."""
    x, slope = call.value("self"), call.value("weight")
    if len(slope.axes) == 1 and len(x.axes) > 1:
        slope = Value((slope.axes[0], *[ONE] * (len(x.axes) - 2)), slope.from_parameters)
    for axis in slope.axes:
        call.constraints.forbid_scaling(axis)
    return multiply(call.constraints, [unary(call.constraints, x, RELU_LIKE), slope])


def gate_rule(call: Call) -> Value:
    """Glu: the first half of an axis times the sigmoid of the second."""
    constraints, x = call.constraints, call.value("self")
    dim = call["dim"] % len(x.axes)
    first, second = constraints.cut(x.axes[dim], axis_size(x.axes[dim]) // 2)
    gate = unary(constraints, x.with_axis(dim, second), NONLINEAR)
    return multiply(constraints, [x.with_axis(dim, first), gate])


def nonlinear_rule(call: Call) -> Value:
    """Any elementwise function: forbids scales of its inputs."""
    return add(call.constraints, values_in(joined_arguments(call)), NONLINEAR, scalar=True)


def constant_rule(call: Call) -> Value:
    """Tensors filled with one number."""
    axes = tuple(call.constraints.new_axis(size) for size in call.shape)
    return Value(axes, uniform=frozenset(range(len(axes))), is_zero="zeros" in call.name)


def unary(constraints: Constraints, value: Value, passing: Passing) -> Value:
    """Applies an elementwise function."""
    axes = tuple(constraints.pass_through(axis, passing) for axis in value.axes)
    return Value(axes, value.from_parameters, value.uniform, value.is_zero and passing is LINEAR)


def joined_arguments(call: Call) -> list[object]:
    """Returns all arguments, with stacks joined."""
    return [call[name] for name in call.arguments]


def _operands(call: Call, names: Sequence[str]) -> tuple[list[Value], list[int | float]]:
    """Returns the tensors and the numbers among some arguments."""
    found = [call[name] for name in names]
    return [one for one in found if isinstance(one, Value)], [one for one in found if isinstance(one, int | float)]


def _value(axes: Sequence[Axis], values: Sequence[Value]) -> Value:
    """The result of an operation on broadcast values; uniform along dimensions where all of them are."""
    rank = len(axes)
    uniform = [
        dim
        for dim in range(rank)
        if all(
            dim + len(value.axes) < rank
            or axis_size(value.axes[dim - rank]) == 1
            or dim - rank + len(value.axes) in value.uniform
            for value in values
        )
    ]
    return Value(tuple(axes), any(value.from_parameters for value in values), frozenset(uniform))
