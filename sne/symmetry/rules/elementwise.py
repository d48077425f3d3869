"""Functions of single entries, with broadcasting."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from sne.symmetry.axes import ONE, Axis, axis_size
from sne.symmetry.call import Call, tensors
from sne.symmetry.scales import EVEN, LINEAR, NONLINEAR, ODD, RELU_LIKE, Passing
from sne.symmetry.values import Value
from sne.symmetry.workings import Workings

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


def broadcast(workings: Workings, values: Sequence[Value]) -> list[list[Axis | None]]:
    """The axes of every dimension of the result, aligned from the last one; None where a value is stretched."""
    rank = max((len(value.axes) for value in values), default=0)
    columns: list[list[Axis | None]] = []
    for dim in range(rank):
        axes = [value.axes[dim - rank] if dim - rank >= -len(value.axes) else ONE for value in values]
        widest = max(axis_size(axis) for axis in axes)
        column: list[Axis | None] = [axis if axis_size(axis) == widest else None for axis in axes]
        present = [axis for axis in column if axis is not None]
        for other in present[1:]:
            workings.unify(present[0], other)
        columns.append(column)
    return columns


def add(workings: Workings, values: Sequence[Value], passing: Passing = LINEAR, scalar: bool = False) -> Value:
    """Values of which all must be scaled alike: sums, maxima, choices.

    Args:
        workings: of the trace.
        values: broadcast.
        passing: of what is done with them.
        scalar: whether a number takes part too: then nothing is scaled.
    """
    axes = []
    for column in broadcast(workings, values):
        present = [axis for axis in column if axis is not None]
        for other in present[1:]:
            workings.same(present[0], other)
        if scalar or len(present) < len(column):
            workings.unscaled(*present)
        axes.append(workings.passed(present[0], passing))
    return _value(axes, values)


def multiply(workings: Workings, values: Sequence[Value], powers: Sequence[int] | None = None) -> Value:
    """Products and quotients of entries.

    Args:
        workings: of the trace.
        values: broadcast.
        powers: -1 for divisors; None for all 1.
    """
    powers = powers or [1] * len(values)
    axes = []
    for column in broadcast(workings, values):
        present = [(axis, power) for axis, power in zip(column, powers, strict=True) if axis is not None]
        axes.append(workings.product([axis for axis, _ in present], [power for _, power in present]))
    return _value(axes, values)


def sum_rule(call: Call) -> Value:
    """add, sub: numbers added are as good as tensors without axes."""
    values, others = _operands(call, ("self", "other"))
    return add(call.workings, values, scalar=any(other != 0 for other in others))


def maximum_rule(call: Call) -> Value:
    """Maxima and minima of two tensors."""
    values, others = _operands(call, ("self", "other"))
    return add(call.workings, values, RELU_LIKE, scalar=any(other != 0 for other in others))


def product_rule(call: Call) -> Value:
    """Mul."""
    values, _ = _operands(call, ("self", "other"))
    return multiply(call.workings, values)


def quotient_rule(call: Call) -> Value:
    """Div, true division."""
    if call.arguments.get("rounding_mode") is not None:
        return nonlinear_rule(call)
    top, bottom = call["self"], call["other"]
    if not isinstance(top, Value):
        return multiply(call.workings, [bottom], [-1])
    return multiply(call.workings, [top, bottom], [1, -1]) if isinstance(bottom, Value) else top


def power_rule(call: Call) -> Value:
    """Pow: whole exponents keep scales and signs."""
    base, exponent = call["self"], call["exponent"]
    if not isinstance(base, Value) or not isinstance(exponent, int | float):
        return nonlinear_rule(call)
    sign = int(exponent) % 2 if float(exponent).is_integer() else None
    return unary(call.workings, base, Passing(Fraction(exponent).limit_denominator(64), sign, exponent == 1))


def choice_rule(call: Call) -> Value:
    """where(condition, a, b)."""
    condition = call.value("condition")
    chosen, others = _operands(call, ("self", "other"))
    held = unary(call.workings, condition, NONLINEAR)
    return add_conditioned(call.workings, chosen, held, any(other != 0 for other in others))


def masked_fill_rule(call: Call) -> Value:
    """masked_fill(x, mask, value)."""
    fill, mask = call["value"], unary(call.workings, call.value("mask"), NONLINEAR)
    values = [call.value("self"), *([fill] if isinstance(fill, Value) else [])]
    return add_conditioned(call.workings, values, mask, not isinstance(fill, Value) and fill != 0)


def add_conditioned(workings: Workings, values: Sequence[Value], condition: Value, scalar: bool) -> Value:
    """Values of which a condition chooses; where the condition differs along an axis, that axis is not mixed."""
    chosen = add(workings, values, scalar=scalar)
    axes = []
    for column in broadcast(workings, [chosen, condition]):
        first, second = column
        axes.append(first if second is None else workings.passed(first or second, Passing(1, 1)))
    return _value(axes, [chosen, condition])


def clamp_rule(call: Call) -> Value:
    """Clamp: clamp(min=0) is a relu."""
    low, high = call["min"], call["max"]
    is_relu = low == 0 and high is None and not isinstance(low, Value)
    if is_relu:
        return unary(call.workings, call.value("self"), RELU_LIKE)
    return nonlinear_rule(call)


def unary_rule(call: Call) -> Value:
    """A function of `PASSINGS`."""
    return unary(call.workings, call.value("self" if "self" in call.arguments else "input"), PASSINGS[call.name])


def prelu_rule(call: Call) -> Value:
    """prelu(x, slope): one slope for all, or one a channel."""
    x, slope = call.value("self"), call.value("weight")
    if len(slope.axes) == 1 and len(x.axes) > 1:
        slope = Value((slope.axes[0], *[ONE] * (len(x.axes) - 2)), slope.from_parameters)
    for axis in slope.axes:
        call.workings.unscaled(axis)
    return multiply(call.workings, [unary(call.workings, x, RELU_LIKE), slope])


def gate_rule(call: Call) -> Value:
    """glu: the first half of an axis times the sigmoid of the second."""
    workings, x = call.workings, call.value("self")
    dim = call["dim"] % len(x.axes)
    first, second = workings.cut(x.axes[dim], axis_size(x.axes[dim]) // 2)
    gate = unary(workings, x.with_axis(dim, second), NONLINEAR)
    return multiply(workings, [x.with_axis(dim, first), gate])


def nonlinear_rule(call: Call) -> Value:
    """Any function of single entries: nothing may be scaled before it."""
    return add(call.workings, tensors(joined_arguments(call)), NONLINEAR, scalar=True)


def constant_rule(call: Call) -> Value:
    """Tensors filled with one number."""
    axes = tuple(call.workings.fresh(size) for size in call.shape)
    return Value(axes, uniform=frozenset(range(len(axes))), is_zero="zeros" in call.name)


def unary(workings: Workings, value: Value, passing: Passing) -> Value:
    """A function of single entries."""
    axes = tuple(workings.passed(axis, passing) for axis in value.axes)
    return Value(axes, value.from_parameters, value.uniform, value.is_zero and passing is LINEAR)


def joined_arguments(call: Call) -> list[object]:
    """All arguments, stacks joined."""
    return [call[name] for name in call.arguments]


def _operands(call: Call, names: Sequence[str]) -> tuple[list[Value], list[int | float]]:
    """Tensors, and numbers, among some arguments."""
    found = [call[name] for name in names]
    return [one for one in found if isinstance(one, Value)], [one for one in found if isinstance(one, int | float)]


def _value(axes: Sequence[Axis], values: Sequence[Value]) -> Value:
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
