"""LSTM, GRU and plain recurrent networks, of several layers and both directions."""

from collections.abc import Mapping

from sne.symmetry.axes import Axis, axis_size, concatenate, with_scales
from sne.symmetry.call import Call
from sne.symmetry.scales import UNSCALED, Scales
from sne.symmetry.values import Result, Stack, Value
from sne.symmetry.workings import Workings

# Which blocks of a fused tensor write the state itself, and so carry its sign; the others are gates between 0 and 1.
_WRITES: Mapping[str, tuple[bool, ...]] = {
    "lstm": (False, False, True, False),
    "gru": (False, False, True),
    "rnn_tanh": (True,),
    "rnn_relu": (True,),
}


def recurrent_rule(call: Call) -> Result:
    """All layers of a recurrent module; None for those with projections or packed sequences."""
    workings, x = call.workings, call["input"]
    states = call["hx"] if isinstance(call["hx"], list) else [call["hx"]]
    weights: list[Value] = call["params"]
    directions = 2 if call["bidirectional"] else 1
    each = 4 if call["has_biases"] else 2
    if not isinstance(x, Value) or len(weights) != each * directions * call["num_layers"] or not call.node.meta["val"]:
        return None
    workings.unscaled(*x.axes[:-1])
    workings.hold(x.axes[len(x.axes) - 2 if call["batch_first"] else 0], "steps of a recurrent network")
    last, hidden, features = [], [], x.axes[-1]
    for layer in range(call["num_layers"]):
        last = []
        for direction in range(directions):
            start = (layer * directions + direction) * each
            last.append(_layer(call.name, workings, features, weights[start : start + each]))
        hidden += last
        features = concatenate(last)
    for state in states:
        if not isinstance(state, Value) or state.is_zero:
            continue
        for axis in state.axes[:-1]:
            workings.hold(axis, "layers and sequences of a recurrent state")
        for axis in hidden:
            if len(state.axes) - 1 not in state.uniform:
                workings.unify(axis, state.axes[-1])
            workings.unscaled(axis, state.axes[-1])
    output = Value((*x.axes[:-1], features), from_parameters=True)
    batch = x.axes[:-2][:1] if call["batch_first"] else x.axes[1:-1]
    finals = [Stack(0, tuple(Value((*batch, axis), from_parameters=True) for axis in hidden)) for _ in states]
    return (output, *finals)


def _layer(name: str, workings: Workings, features: Axis, weights: list[Value]) -> Axis:
    """One layer in one direction.

    Args:
        name: of the operation.
        workings: of the trace.
        features: what it reads.
        weights: weight_ih, weight_hh, and biases where there are.

    Returns:
        The axis of its state.
    """
    writes = _WRITES[name]
    size = axis_size(weights[1].axes[1])
    state = workings.with_unknowns(workings.fresh(size))

    def kept(scales: Scales) -> Scales:
        if name == "rnn_relu":
            return Scales(positive=scales.positive)
        return Scales(sign=scales.sign)

    def held(scales: Scales) -> Scales:
        workings.positive.require_zero(scales.positive if name != "rnn_relu" else {})
        workings.sign.require_zero(scales.sign if name == "rnn_relu" else {})
        workings.mixing.require_zero(scales.mixing)
        return kept(scales)

    state = with_scales(state, lambda leaf: held(leaf.scales))
    rows = concatenate(state if does else with_scales(state, lambda _: UNSCALED) for does in writes)
    for weight in (weights[0], *weights[1:]):
        workings.same(weight.axes[0], rows)
    workings.opposite(features, weights[0].axes[1])
    workings.opposite(state, weights[1].axes[1])
    return state
