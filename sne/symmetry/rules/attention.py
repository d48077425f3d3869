"""Scaled dot product attention."""

from string import ascii_letters

from sne.symmetry.axes import axis_size, join
from sne.symmetry.call import Call
from sne.symmetry.rules.contraction import einsum
from sne.symmetry.rules.elementwise import add
from sne.symmetry.scales import NONLINEAR
from sne.symmetry.values import Value


def attention_rule(call: Call) -> Value:
    """softmax(q k + mask) v: channels of queries and keys are one, heads of all three are one."""
    workings = call.workings
    q, k, v, mask = call.value("query"), call.value("key"), call.value("value"), call["attn_mask"]
    if call["enable_gqa"]:
        repeats = workings.fresh(max(axis_size(q.axes[-3]) // axis_size(k.axes[-3]), 1))
        k, v = (
            Value((*one.axes[:-3], join(one.axes[-3], repeats), *one.axes[-2:]), one.from_parameters) for one in (k, v)
        )
    batch = ascii_letters[: len(q.axes) - 2]
    scores = einsum(workings, [q, k], [batch + "LE", batch[len(q.axes) - len(k.axes) :] + "SE"], batch + "LS")
    workings.see(scores)
    scores = Value(tuple(workings.passed(axis, NONLINEAR) for axis in scores.axes), scores.from_parameters)
    if isinstance(mask, Value):
        scores = add(workings, [scores, mask], NONLINEAR)
    if call["is_causal"]:
        for axis in scores.axes[-2:]:
            workings.hold(axis, "an order along the axis, in causal attention")
    workings.see(Value(scores.axes[:-1]))
    return einsum(workings, [scores, v], [batch + "LS", batch[len(q.axes) - len(v.axes) :] + "SV"], batch + "LV")
