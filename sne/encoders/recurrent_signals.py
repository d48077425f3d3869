"""Signals through recurrent layers: a few steps of the gates."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sne.encoders.flow import Flow, Read, fit, multiply, part_of
from sne.encoders.layer_signals import MAX_ALIGNED, meeting_features, signal
from sne.networks import Layer, LayerType, Role
from sne.networks.recurrent import GATES

RECURRENT_STEPS = 4


def recurrent_signals(flow: Flow, gates: Sequence[Layer], read: Read) -> list[Tensor]:
    """Passes the values through one recurrent layer, each of its directions, side by side.

    Returns:
        The signal features of each gate, in the order given; none where the layer cannot be followed.
    """
    directions: dict[str, list[Layer]] = {}
    for gate in gates:
        is_whole = gate.type is LayerType.RNN
        directions.setdefault(gate.name if is_whole else gate.name.rpartition(".")[0], []).append(gate)
    results = [_direction(flow, own, read) for own in directions.values()]
    followed = [result for result in results if result is not None]
    if len(followed) < len(results):
        flow.values = None
        return []
    flow.values = torch.cat([state for _, state, _ in followed], -1)
    flow.is_linear, flow.level, flow.bias = True, gates[0].level, None
    width = flow.values.shape[-1]
    flow.gain = flow.values.new_full((flow.values.shape[1], width), 1.0 / width)
    flow.incoming = torch.cat([matrix for _, _, matrix in followed], 1) if width <= MAX_ALIGNED else None
    # Layers are sorted by name, so that the gates of one direction follow each other.
    return [row for features, _, _ in followed for row in features]


def _direction(flow: Flow, gates: Sequence[Layer], read: Read) -> tuple[list[Tensor], Tensor, Tensor] | None:
    """A few steps of the gates of one direction from a zero state.

    Returns:
        Each gate's signal features, the last state, the matrix that feeds it; None where a part lacks or is projected.
    """
    weights = [part_of(gate, Role.WEIGHT) for gate in gates]
    recurrent = [part_of(gate, Role.RECURRENT_WEIGHT) for gate in gates]
    # Sorted by name, so that a gate is known by its label alone.
    at = {part.label: place for place, part in enumerate(weights) if part is not None}
    is_square = all(part is not None and part.canonical_shape[0] == part.canonical_shape[1] for part in recurrent)
    if not is_square or sorted(at) != sorted(GATES[gates[0].type]):
        return None
    into = [read(part) for part in weights if part is not None]
    back = [read(part).sum(-1) for part in recurrent if part is not None]
    biases = []
    for gate, matrix in zip(gates, into, strict=True):
        pair = [part_of(gate, role) for role in (Role.BIAS, Role.RECURRENT_BIAS)]
        zero = matrix.new_zeros(matrix.shape[:2])
        biases.append([zero if part is None else read(part).flatten(1) for part in pair])
    meetings = [meeting_features(flow, matrix) for matrix in into]
    values, gain = fit(flow, into[0].sum(-1), into[0].shape[2])
    inputs = [multiply(values, w.sum(-1), b[0]) for w, b in zip(into, biases, strict=True)]
    state = torch.zeros_like(inputs[0])
    cell = torch.zeros_like(state)
    gate_values = inputs
    for _ in range(RECURRENT_STEPS):
        fed = [multiply(state, w, b[1]) for w, b in zip(back, biases, strict=True)]
        gate_values = [a + b for a, b in zip(inputs, fed, strict=True)]
        if gates[0].type is LayerType.GRU:
            reset, update = (gate_values[at[label]].sigmoid() for label in ("reset gate", "update gate"))
            new = at["new gate"]
            gate_values[new] = inputs[new] + reset * fed[new]
            state = (1 - update) * gate_values[new].tanh() + update * state
        elif gates[0].type is LayerType.LSTM:
            let, keep, out = (gate_values[at[f"{name} gate"]].sigmoid() for name in ("input", "forget", "output"))
            cell = keep * cell + let * gate_values[at["cell gate"]].tanh()
            state = out * cell.tanh()
        else:
            state = gate_values[0].tanh()
    features = []
    for value, matrix, meeting in zip(gate_values, into, meetings, strict=True):
        out_gain = torch.einsum("bi,boi->bo", gain, matrix.square().sum(-1))
        features.append(signal(value, out_gain, matrix.shape[2], meeting))
    main = into[at.get("new gate", at.get("cell gate", 0))]
    return features, state, main.flatten(2)
