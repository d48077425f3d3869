"""Sums of products: linear layers, matrix products, einsum, convolutions."""

from collections.abc import Sequence
from string import ascii_letters

from sne.symmetry.axes import ONE, Axis, axis_size, join
from sne.symmetry.call import Call
from sne.symmetry.rules.elementwise import add
from sne.symmetry.rules.reasons import KERNEL, SPACE
from sne.symmetry.values import Value
from sne.symmetry.workings import Workings


def einsum(workings: Workings, values: Sequence[Value], labels: Sequence[str], out: str) -> Value:
    """Einstein's sum: axes of one letter are one; letters that are not in `out` are summed over.

    Args:
        workings: of the trace.
        values: the operands.
        labels: of each operand's axes, one letter an axis; axes of size 1 are stretched.
        out: of the result's axes.
    """
    found: dict[str, list[Axis]] = {}
    for value, letters in zip(values, labels, strict=True):
        for axis, letter in zip(value.axes, letters, strict=True):
            found.setdefault(letter, []).append(axis)
    axes: dict[str, Axis] = {}
    for letter, several in found.items():
        wide = [axis for axis in several if axis_size(axis) > 1] or [ONE]
        for other in wide[1:]:
            workings.unify(wide[0], other)
        if letter in out:
            axes[letter] = workings.product(wide)
        elif len(wide) == 2:
            workings.opposite(*wide)
        else:
            workings.unscaled(*wide)
    return Value(tuple(axes[letter] for letter in out), any(value.from_parameters for value in values))


def linear_rule(call: Call) -> Value:
    """linear(x, weight, bias)."""
    x, weight = call.value("input"), call.value("weight")
    letters = ascii_letters[: len(x.axes)]
    if len(weight.axes) == 1:
        return _with_bias(call, einsum(call.workings, [x, weight], [letters, letters[-1]], letters[:-1]), "bias")
    return _with_bias(
        call, einsum(call.workings, [x, weight], [letters, "Z" + letters[-1]], letters[:-1] + "Z"), "bias"
    )


def bilinear_rule(call: Call) -> Value:
    """bilinear(x, y, weight [out, x, y], bias)."""
    x, y = call.value("input1"), call.value("input2")
    letters = ascii_letters[: len(x.axes) - 1]
    operands, labels = [x, y, call.value("weight")], [letters + "X", letters + "Y", "ZXY"]
    return _with_bias(call, einsum(call.workings, operands, labels, letters + "Z"), "bias")


def matmul_rule(call: Call) -> Value:
    """matmul, mm, bmm, mv, dot."""
    return _matmul(call.workings, call.value("self"), call["mat2"] or call["other"] or call["vec"] or call["tensor"])


def addmm_rule(call: Call) -> Value:
    """addmm, baddbmm: a sum and a matrix product."""
    first, second = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    return add(call.workings, [call.value("self"), _matmul(call.workings, call.value(first), call.value(second))])


def einsum_rule(call: Call) -> Value | None:
    """einsum(equation, tensors), without dots and diagonals."""
    equation = str(call["equation"]).replace(" ", "")
    operands, _, out = equation.partition("->")
    labels = operands.split(",")
    if "." in equation or "->" not in equation or any(len(set(letters)) < len(letters) for letters in (*labels, out)):
        return None
    return einsum(call.workings, call["tensors"], labels, out)


def convolution_rule(call: Call) -> Value:
    """Convolutions of any rank, with groups, transposed or not; stride, padding and dilation do not matter."""
    workings, x, weight = call.workings, call.value("input"), call.value("weight")
    is_transposed = "transpose" in call.name or bool(call["transposed"])
    groups = int(call["groups"])
    rank = len(weight.axes) - 2
    *batch, channels = x.axes[: len(x.axes) - rank]
    for axis in weight.axes[2:]:
        workings.hold(axis, KERNEL)
    for axis in (*batch, *x.axes[len(x.axes) - rank :]):
        workings.hold(axis, SPACE)
    group, entering = workings.split(channels, axis_size(channels) // groups)
    weight_group, rest = workings.split(weight.axes[0], axis_size(weight.axes[0]) // groups)
    read, written = (rest, weight.axes[1]) if is_transposed else (weight.axes[1], rest)
    workings.opposite(entering, read)
    several = workings.product([group, weight_group]) if groups > 1 else ONE
    space = [workings.fresh(size, SPACE) for size in call.shape[len(batch) + 1 :]]
    y = Value((*batch, join(several, written), *space), from_parameters=True)
    return _with_bias(call, y, "bias", rank)


def _matmul(workings: Workings, one: Value, other: Value) -> Value:
    batches = ascii_letters[: max(len(one.axes), len(other.axes))]
    left = "K" if len(one.axes) == 1 else batches[len(batches) - len(one.axes) + 2 :] + "MK"
    right = "K" if len(other.axes) == 1 else batches[len(batches) - len(other.axes) + 2 :] + "KN"
    longest = max((letters[:-2] for letters in (left, right)), key=len)
    out = longest + ("M" if "M" in left else "") + ("N" if "N" in right else "")
    return einsum(workings, [one, other], [left, right], out)


def _with_bias(call: Call, y: Value, name: str, trailing: int = 0) -> Value:
    bias = call[name]
    if bias is None:
        return y
    return add(call.workings, [y, Value((*bias.axes, *[ONE] * trailing), from_parameters=True)])
