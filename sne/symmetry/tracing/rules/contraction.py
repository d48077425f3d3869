"""Sums of products: linear layers, matrix products, einsum, convolutions, attention."""

from collections.abc import Sequence
from string import ascii_letters

from sne.symmetry.tracing.axes import ONE, Axis, Value, axis_size, join
from sne.symmetry.tracing.call import KERNEL, SPACE, Call
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.rules.elementwise import add
from sne.symmetry.tracing.scales import NONLINEAR


def einsum(constraints: Constraints, values: Sequence[Value], labels: Sequence[str], out: str) -> Value:
    """Einstein summation: axes with the same letter are unified, and letters that are not in `out` are summed over.

    Args:
        constraints: Constraints of the trace.
        values: Operands.
        labels: Letters of each operand, one per axis; axes of size 1 are broadcast.
        out: Letters of the result.
    """
    found: dict[str, list[Axis]] = {}
    for value, letters in zip(values, labels, strict=True):
        for axis, letter in zip(value.axes, letters, strict=True):
            found.setdefault(letter, []).append(axis)
    axes: dict[str, Axis] = {}
    for letter, several in found.items():
        wide = [axis for axis in several if axis_size(axis) > 1] or [ONE]
        for other in wide[1:]:
            constraints.unify(wide[0], other)
        if letter in out:
            axes[letter] = constraints.product(wide)
        elif len(wide) == 2:
            constraints.contract(*wide)
        else:
            constraints.forbid_scaling(*wide)
    return Value(tuple(axes[letter] for letter in out), any(value.from_parameters for value in values))


def linear_rule(call: Call) -> Value:
    """linear(x, weight, bias)."""
    x, weight = call.value("input"), call.value("weight")
    letters = ascii_letters[: len(x.axes)]
    if len(weight.axes) == 1:
        return _with_bias(call, einsum(call.constraints, [x, weight], [letters, letters[-1]], letters[:-1]), "bias")
    return _with_bias(
        call, einsum(call.constraints, [x, weight], [letters, "Z" + letters[-1]], letters[:-1] + "Z"), "bias"
    )


def bilinear_rule(call: Call) -> Value:
    """bilinear(x, y, weight [out, x, y], bias)."""
    x, y = call.value("input1"), call.value("input2")
    letters = ascii_letters[: len(x.axes) - 1]
    operands, labels = [x, y, call.value("weight")], [letters + "X", letters + "Y", "ZXY"]
    return _with_bias(call, einsum(call.constraints, operands, labels, letters + "Z"), "bias")


def matmul_rule(call: Call) -> Value:
    """matmul, mm, bmm, mv, dot."""
    return _matmul(call.constraints, call.value("self"), call["mat2"] or call["other"] or call["vec"] or call["tensor"])


def addmm_rule(call: Call) -> Value:
    """addmm, baddbmm: a matrix product added to a tensor."""
    first, second = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    return add(call.constraints, [call.value("self"), _matmul(call.constraints, call.value(first), call.value(second))])


def einsum_rule(call: Call) -> Value | None:
    """einsum(equation, tensors) without ellipses and diagonals."""
    equation = str(call["equation"]).replace(" ", "")
    operands, _, out = equation.partition("->")
    labels = operands.split(",")
    if "." in equation or "->" not in equation or any(len(set(letters)) < len(letters) for letters in (*labels, out)):
        return None
    return einsum(call.constraints, call["tensors"], labels, out)


def convolution_rule(call: Call) -> Value:
    """Convolutions of any rank, grouped or transposed; stride, padding and dilation do not affect the result."""
    constraints, x, weight = call.constraints, call.value("input"), call.value("weight")
    is_transposed = "transpose" in call.name or bool(call["transposed"])
    groups = int(call["groups"])
    rank = len(weight.axes) - 2
    *batch, channels = x.axes[: len(x.axes) - rank]
    for axis in weight.axes[2:]:
        constraints.fix(axis, KERNEL)
    for axis in (*batch, *x.axes[len(x.axes) - rank :]):
        constraints.fix(axis, SPACE)
    group, entering = constraints.split(channels, axis_size(channels) // groups)
    weight_group, rest = constraints.split(weight.axes[0], axis_size(weight.axes[0]) // groups)
    read, written = (rest, weight.axes[1]) if is_transposed else (weight.axes[1], rest)
    constraints.contract(entering, read)
    several = constraints.product([group, weight_group]) if groups > 1 else ONE
    space = [constraints.new_axis(size, SPACE) for size in call.shape[len(batch) + 1 :]]
    y = Value((*batch, join(several, written), *space), from_parameters=True)
    return _with_bias(call, y, "bias", rank)


def attention_rule(call: Call) -> Value:
    """softmax(q k + mask) v: unifies the channels of queries and keys, and the heads of all three."""
    constraints = call.constraints
    q, k, v, mask = call.value("query"), call.value("key"), call.value("value"), call["attn_mask"]
    if call["enable_gqa"]:
        repeats = constraints.new_axis(max(axis_size(q.axes[-3]) // axis_size(k.axes[-3]), 1))
        k, v = (
            Value((*one.axes[:-3], join(one.axes[-3], repeats), *one.axes[-2:]), one.from_parameters) for one in (k, v)
        )
    batch = ascii_letters[: len(q.axes) - 2]
    scores = einsum(constraints, [q, k], [batch + "LE", batch[len(q.axes) - len(k.axes) :] + "SE"], batch + "LS")
    constraints.record(scores)
    scores = Value(tuple(constraints.pass_through(axis, NONLINEAR) for axis in scores.axes), scores.from_parameters)
    if isinstance(mask, Value):
        scores = add(constraints, [scores, mask], NONLINEAR)
    if call["is_causal"]:
        for axis in scores.axes[-2:]:
            constraints.fix(axis, "an order along the axis, in causal attention")
    constraints.record(Value(scores.axes[:-1]))
    return einsum(constraints, [scores, v], [batch + "LS", batch[len(q.axes) - len(v.axes) :] + "SV"], batch + "LV")


def _matmul(constraints: Constraints, one: Value, other: Value) -> Value:
    batches = ascii_letters[: max(len(one.axes), len(other.axes))]
    left = "K" if len(one.axes) == 1 else batches[len(batches) - len(one.axes) + 2 :] + "MK"
    right = "K" if len(other.axes) == 1 else batches[len(batches) - len(other.axes) + 2 :] + "KN"
    longest = max((letters[:-2] for letters in (left, right)), key=len)
    out = longest + ("M" if "M" in left else "") + ("N" if "N" in right else "")
    return einsum(constraints, [one, other], [left, right], out)


def _with_bias(call: Call, y: Value, name: str, trailing: int = 0) -> Value:
    bias = call[name]
    if bias is None:
        return y
    return add(call.constraints, [y, Value((*bias.axes, *[ONE] * trailing), from_parameters=True)])
