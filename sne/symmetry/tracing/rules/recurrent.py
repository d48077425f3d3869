"""LSTM, GRU and plain recurrent networks, with several layers and both directions."""

from collections.abc import Mapping

from sne.symmetry.tracing.axes import Axis, Result, Stack, Value, axis_size, concatenate, with_scales
from sne.symmetry.tracing.call import Call
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.scales import UNSCALED, Scales

# Which blocks of a fused tensor write the state, and so carry its sign; the others are gates between 0 and 1.
_WRITES: Mapping[str, tuple[bool, ...]] = {
    "lstm": (False, False, True, False),
    "gru": (False, False, True),
    "rnn_tanh": (True,),
    "rnn_relu": (True,),
}


def recurrent_rule(call: Call) -> Result:
    """All layers of a recurrent module; None for modules with projections or packed sequences."""
    constraints, x = call.constraints, call["input"]
    states = call["hx"] if isinstance(call["hx"], list) else [call["hx"]]
    weights: list[Value] = call["params"]
    directions = 2 if call["bidirectional"] else 1
    each = 4 if call["has_biases"] else 2
    if not isinstance(x, Value) or len(weights) != each * directions * call["num_layers"] or not call.node.meta["val"]:
        return None
    constraints.forbid_scaling(*x.axes[:-1])
    constraints.fix(x.axes[len(x.axes) - 2 if call["batch_first"] else 0], "steps of a recurrent network")
    last, hidden, features = [], [], x.axes[-1]
    for layer in range(call["num_layers"]):
        last = []
        for direction in range(directions):
            start = (layer * directions + direction) * each
            last.append(_layer(call.name, constraints, features, weights[start : start + each]))
        hidden += last
        features = concatenate(last)
    for state in states:
        if not isinstance(state, Value) or state.is_zero:
            continue
        for axis in state.axes[:-1]:
            constraints.fix(axis, "layers and sequences of a recurrent state")
        for axis in hidden:
            if len(state.axes) - 1 not in state.uniform:
                constraints.unify(axis, state.axes[-1])
            constraints.forbid_scaling(axis, state.axes[-1])
    output = Value((*x.axes[:-1], features), from_parameters=True)
    batch = x.axes[:-2][:1] if call["batch_first"] else x.axes[1:-1]
    finals = [Stack(0, tuple(Value((*batch, axis), from_parameters=True) for axis in hidden)) for _ in states]
    return (output, *finals)


def _layer(name: str, constraints: Constraints, features: Axis, weights: list[Value]) -> Axis:
    """One layer in one direction.

    Args:
        name: Name of the operation.
        constraints: Constraints of the trace.
        features: Axis of the features that the layer reads.
        weights: weight_ih, weight_hh, and the biases if they exist.

    Returns:
        The axis of the layer's state.
    """
    writes = _WRITES[name]
    size = axis_size(weights[1].axes[1])
    state = constraints.with_unknowns(constraints.new_axis(size))

    def kept(scales: Scales) -> Scales:
        if name == "rnn_relu":
            return Scales(positive=scales.positive)
        return Scales(sign=scales.sign)

    def held(scales: Scales) -> Scales:
        constraints.positive.require_zero(scales.positive if name != "rnn_relu" else {})
        constraints.sign.require_zero(scales.sign if name == "rnn_relu" else {})
        constraints.mixing.require_zero(scales.mixing)
        return kept(scales)

    state = with_scales(state, lambda leaf: held(leaf.scales))
    rows = concatenate(state if does else with_scales(state, lambda _: UNSCALED) for does in writes)
    for weight in (weights[0], *weights[1:]):
        constraints.equate(weight.axes[0], rows)
    constraints.contract(features, weights[0].axes[1])
    constraints.contract(state, weights[1].axes[1])
    return state
