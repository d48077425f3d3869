"""Way of the inputs through LSTM, GRU and plain recurrent layers: a few steps from a zero state."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.flow import IMAGES, Flow, PartReader, add_bias, inputs_of, part_of
from sne.encoders.image_maps import first_rows
from sne.encoders.layer_signals import LayerResponse, layer_signal, meeting_of, shared_neurons
from sne.encoders.measures import Probes, WholeTensor
from sne.networks import Layer, LayerType, Role
from sne.networks.recurrent import GATES

RECURRENT_TYPES = frozenset({LayerType.LSTM, LayerType.GRU, LayerType.RNN})

RECURRENT_STEPS = 4
"""Number of steps that a recurrent layer is followed with a uniform input, the same in each step."""


def recurrent_layer(flow: Flow, gates: Sequence[Layer], reader: PartReader) -> list[Float[Tensor, "batch signal"]]:
    """Passes the values through one recurrent layer, each of its directions, side by side.

    Returns:
        The signal features of each gate, in the order given; none if the layer cannot be followed.
    """
    directions: dict[str, list[Layer]] = {}
    for gate in gates:
        is_whole = gate.type is LayerType.RNN
        directions.setdefault(gate.name if is_whole else gate.name.rpartition(".")[0], []).append(gate)
    results = [_direction(flow, own, reader, name.endswith("_reverse")) for name, own in directions.items()]
    flow.maps, flow.has_begun = None, True
    followed = [result for result in results if result is not None]
    if len(followed) < len(results):
        flow.values = None
        return []
    flow.values = torch.cat([state for _, state, _ in followed], -1)
    flow.needs_activation, flow.level, flow.bias = False, gates[0].level, None
    width = flow.values.shape[-1]
    flow.gain = flow.values.new_full((len(flow.values), width), 1.0 / width)
    flow.incoming = WholeTensor(torch.cat([matrix for _, _, matrix in followed], 1))
    # Layers are sorted by name, so the gates of one direction follow each other.
    return [row for features, _, _ in followed for row in features]


def _direction(
    flow: Flow, gates: Sequence[Layer], reader: PartReader, is_reverse: bool
) -> tuple[list[Tensor], Tensor, Tensor] | None:
    """Follows the gates of one direction for a few steps from a zero state.

    Args:
        flow: State in front of the layer.
        gates: The gates.
        reader: Reads the parts of the networks.
        is_reverse: Whether the direction reads the last row of an image first.

    Returns:
        Each gate's signal features, the last state and the matrix that feeds it; None if a part is missing or not
        read whole, or the state is projected.
    """
    weights = [part_of(gate, Role.WEIGHT) for gate in gates]
    recurrent = [part_of(gate, Role.RECURRENT_WEIGHT) for gate in gates]
    # Layers are sorted by name, so only its label identifies a gate.
    at = {part.label: place for place, part in enumerate(weights) if part is not None}
    is_square = all(part is not None and part.arranged_shape[0] == part.arranged_shape[1] for part in recurrent)
    is_whole = all(reader.reads_whole(part) for part in (*weights, *recurrent) if part is not None)
    if not is_whole or not is_square or sorted(at) != sorted(GATES[gates[0].type]):
        return None
    into = [WholeTensor(reader.read(part)) for part in weights if part is not None]
    back = [reader.read(part).sum(-1) for part in recurrent if part is not None]
    biases = []
    for gate, tensor in zip(gates, into, strict=True):
        pair = [part_of(gate, role) for role in (Role.BIAS, Role.RECURRENT_BIAS)]
        zero = torch.zeros(tensor.batch, tensor.num_out, dtype=torch.float32)
        biases.append([zero if part is None else reader.read(part).flatten(1) for part in pair])
    read, gain = inputs_of(flow, into[0].batch, into[0].num_in)
    images = None if flow.has_begun else first_rows(into[0].num_in)
    if images is not None:
        rows = (images.flip(1) if is_reverse else images).flatten(0, 1)
        read = torch.cat([read, rows.expand(len(read), *rows.shape)], 1)
    replies = [tensor.respond(Probes(read, gain, shared_neurons(flow, tensor))) for tensor in into]
    inputs = [add_bias(reply.values, b[0]) for reply, b in zip(replies, biases, strict=True)]
    take = partial(_take_steps, gates[0].type, at, back=back, back_biases=[b[1] for b in biases])
    if images is None:
        gate_values, state = take([inputs] * RECURRENT_STEPS)
    else:
        gate_values, state = take([[gate[:, : IMAGES.start] for gate in inputs]] * RECURRENT_STEPS)
        by_row = [gate[:, IMAGES.start :].unflatten(1, images.shape[:2]).unbind(2) for gate in inputs]
        image_gates, image_state = take([list(gates_of_row) for gates_of_row in zip(*by_row, strict=True)])
        gate_values = [torch.cat(pair, 1) for pair in zip(gate_values, image_gates, strict=True)]
        state = torch.cat([state, image_state], 1)
    features = []
    for gate_value, tensor, reply in zip(gate_values, into, replies, strict=True):
        meeting = meeting_of(flow, tensor, reply)
        features.append(layer_signal(LayerResponse(gate_value, reply.gain, tensor.num_in, meeting)))
    main = into[at.get("new gate", at.get("cell gate", 0))]
    return features, state, main.weights


def _take_steps(
    layer_type: LayerType,
    at: dict[str, int],
    steps: Sequence[list[Tensor]],
    *,
    back: list[Tensor],
    back_biases: list[Tensor],
) -> tuple[list[Tensor], Tensor]:
    """Takes steps from a zero state.

    Args:
        layer_type: LSTM, GRU or RNN.
        at: Place of each gate, by label, in the lists that follow.
        steps: Contribution of the input to each gate, step by step.
        back: Each gate's matrix that reads the state.
        back_biases: Bias of each of these.

    Returns:
        The values of the gates before their activations in the last step, and the state after it.
    """
    state = torch.zeros_like(steps[0][0])
    cell = torch.zeros_like(state)
    gate_values = steps[0]
    for inputs in steps:
        fed = [add_bias(torch.einsum("bpi,boi->bpo", state, w), b) for w, b in zip(back, back_biases, strict=True)]
        gate_values = [a + b for a, b in zip(inputs, fed, strict=True)]
        if layer_type is LayerType.GRU:
            reset, update = (gate_values[at[label]].sigmoid() for label in ("reset gate", "update gate"))
            new = at["new gate"]
            gate_values[new] = inputs[new] + reset * fed[new]
            state = (1 - update) * gate_values[new].tanh() + update * state
        elif layer_type is LayerType.LSTM:
            let, keep, out = (gate_values[at[f"{name} gate"]].sigmoid() for name in ("input", "forget", "output"))
            cell = keep * cell + let * gate_values[at["cell gate"]].tanh()
            state = out * cell.tanh()
        else:
            state = gate_values[0].tanh()
    return gate_values, state
