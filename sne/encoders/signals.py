"""Signals: what a network's layers do to a uniform input, worked out from its weights.

A uniform image stays uniform through a convolution (away from the border), so its way through a network needs no
geometry: kernels are summed over their positions and every layer is a matrix. Tokens of one kind likewise leave
attention as the value projection alone. Nine uniform inputs are followed layer by layer, once as if every activation
were a rectifier and once as if it were a tanh, for weights do not tell which it was. Where the widths of two layers do
not meet, the inputs start anew. The network is never run, and no code of its own is needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.descriptors import FLOOR, TINY, evenly, signed_log
from sne.networks import Layer, LayerType, Part, Role
from sne.networks.recurrent import GATES

NUM_PROBES = 9
ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.relu, torch.tanh)
MAX_ALIGNED = 512
"""Wider layers are compared over evenly spaced neurons."""
MAX_OUTPUTS = 64
"""A network with more outputs has no output rows."""
LARGEST = 1e6
RECURRENT_STEPS = 4

RESPONSE_SIZE = 8
POWERS = 3
MEETING_SIZE = 9 + 6 * POWERS
SIGNAL_SIZE = 2 * RESPONSE_SIZE + 2 + MEETING_SIZE
OUTPUT_SIZE = 2 + 2 * 4

MATRIX_TYPES = frozenset(
    {
        LayerType.LINEAR,
        LayerType.CONV1D,
        LayerType.CONV2D,
        LayerType.CONV3D,
        LayerType.CONV_TRANSPOSE1D,
        LayerType.CONV_TRANSPOSE2D,
        LayerType.CONV_TRANSPOSE3D,
        LayerType.ATTENTION_QUERY,
        LayerType.ATTENTION_KEY,
        LayerType.ATTENTION_VALUE,
        LayerType.ATTENTION_OUT,
    }
)
ATTENTION_TYPES = frozenset(
    {LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE, LayerType.ATTENTION_OUT}
)
SIDE_TYPES = frozenset({LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY})
TOKEN_NORMS = frozenset({LayerType.LAYER_NORM, LayerType.RMS_NORM})
NORMS = frozenset({LayerType.BATCH_NORM, LayerType.GROUP_NORM}) | TOKEN_NORMS
RECURRENT_TYPES = frozenset({LayerType.LSTM, LayerType.GRU, LayerType.RNN})

Read = Callable[[Part], Float[Tensor, "batch out in kernel"]]


@dataclass
class _Flow:
    """Where the uniform inputs have come to, for each activation: [activation, batch, probe, neuron]."""

    values: Tensor | None = None
    gain: Tensor | None = None
    """Expected square of each neuron for independent inputs of unit variance, as a share: [batch, neuron]."""
    incoming: Tensor | None = None
    """The matrix that feeds these neurons: [batch, neuron, inputs]."""
    bias: Tensor | None = None
    is_linear: bool = True
    """Whether the values have passed their activation, or a norm that is followed by none."""
    stream: Tensor | None = None
    level: int = -1


def _part(layer: Layer, role: Role) -> Part | None:
    return next((part for part in layer.parts if part.role is role), None)


def _activate(values: Tensor) -> Tensor:
    return torch.stack([act(v) for act, v in zip(ACTIVATIONS, values, strict=True)])


def _start(batch: int, width: int, like: Tensor) -> Tensor:
    levels = torch.linspace(-1.0, 1.0, NUM_PROBES, dtype=like.dtype)
    return levels[None, None, :, None].expand(len(ACTIVATIONS), batch, NUM_PROBES, width)


def _response(values: Float[Tensor, "act batch probe n"]) -> Float[Tensor, "batch features"]:
    """Size, spread over neurons, sensitivity to the input, sign, saturation and agreement of a layer's values."""
    magnitude = values.abs().mean((2, 3))
    over_neurons = values.std(3, unbiased=False).mean(2)
    over_probes = values.std(2, unbiased=False).mean(2)
    negative = (values <= 0).float().mean((2, 3))
    saturated = (values.abs() > 2).float().mean((2, 3))
    mean = values.mean((2, 3))
    relative = (over_probes + TINY) / (magnitude + TINY)
    always_off = (values.amax(2) <= 0).float().mean(2)
    features = torch.stack(
        [
            signed_log(magnitude),
            signed_log(over_neurons),
            signed_log(over_probes),
            4 * negative,
            4 * saturated,
            signed_log(mean),
            (relative + FLOOR).log(),
            4 * always_off,
        ],
        -1,
    )
    return features.permute(1, 0, 2).flatten(1)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    return (a * b).sum(-1) / ((a.square().sum(-1) * b.square().sum(-1)).sqrt() + 1e-6)


def _meeting(flow: _Flow, weights: Float[Tensor, "batch out in kernel"]) -> Float[Tensor, "batch features"]:
    """How the weights that read some neurons fit the weights that feed them."""
    batch, num_in = len(weights), weights.shape[2]
    if flow.incoming is None or flow.incoming.shape[1] != num_in or num_in < 2:
        return weights.new_zeros(batch, MEETING_SIZE)
    kept = evenly(num_in, MAX_ALIGNED)
    feeds = flow.incoming[:, kept]
    reads = weights[:, :, kept].transpose(1, 2).reshape(batch, len(kept), -1)
    feed_norms, read_norms = feeds.norm(dim=-1) + TINY, reads.norm(dim=-1) + TINY
    u, v = (read_norms + 1e-6).log(), (feed_norms + 1e-6).log()
    bias = torch.zeros_like(u) if flow.bias is None else flow.bias[:, kept]
    ratio = signed_log(bias / (feed_norms + 1e-6))
    plain = [
        torch.ones_like(u[:, 0]),
        _correlation(u, v),
        _correlation(u, bias),
        _correlation(v, bias),
        ratio.mean(1),
        ratio.std(1, unbiased=False),
        ratio.amin(1),
        ratio.amax(1),
        (u + v).std(1, unbiased=False),
    ]
    return torch.stack([*plain, *_subspaces(feeds, reads)], -1)


def _subspaces(
    feeds: Float[Tensor, "batch n inputs"], reads: Float[Tensor, "batch n outputs"]
) -> list[Float[Tensor, " batch"]]:
    """Whether what is read is what is written, in the strong directions of both.

    Powers of the two Gram matrices stress the largest singular values more and more and, unlike singular vectors,
    change little when the weights do.
    """
    count = feeds.shape[1]
    grams = [matrix @ matrix.transpose(1, 2) for matrix in (feeds, reads)]
    written, read = (gram / (gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + TINY**2) for gram in grams)
    features = []
    for _ in range(POWERS):
        sizes = [gram.flatten(1).norm(dim=1) + TINY**2 for gram in (written, read)]
        written, read = written / sizes[0][:, None, None], read / sizes[1][:, None, None]
        diagonals = [gram.diagonal(dim1=1, dim2=2) for gram in (written, read)]
        features += [
            4 * (written * read).sum((1, 2)),
            written.sum((1, 2)) / count,
            read.sum((1, 2)) / count,
            diagonals[0].norm(dim=1),
            diagonals[1].norm(dim=1),
            diagonals[0].amax(1),
        ]
        written, read = written @ written, read @ read
    return features


def _fit(flow: _Flow, matrix: Tensor, num_in: int) -> tuple[Tensor, Tensor]:
    """The values and gains that a matrix reads: as they are, repeated after a flatten, or started anew."""
    batch = len(matrix)
    values, gain = flow.values, flow.gain
    if values is not None and gain is not None and not flow.is_linear:
        values = _activate(values)
    if values is None or gain is None or num_in % values.shape[-1] or (values.shape[-1] == 1 and num_in > 1):
        return _start(batch, num_in, matrix), matrix.new_full((batch, num_in), 1.0 / num_in)
    times = num_in // values.shape[-1]
    return values.repeat_interleave(times, -1), gain.repeat_interleave(times, -1) / times


def _multiply(values: Tensor, matrix: Float[Tensor, "batch out in"], bias: Tensor | None) -> Tensor:
    out = torch.einsum("abpi,boi->abpo", values, matrix)
    if bias is not None:
        out = out + bias[None, :, None]
    return out.clamp(-LARGEST, LARGEST)


def _norm(flow: _Flow, layer: Layer, read: Read) -> None:
    """Passes the values through a normalisation layer."""
    parts = {part.role: read(part).flatten(1) for part in layer.parts}
    values = flow.values
    width = next(iter(parts.values())).shape[1] if parts else 0
    if values is None or values.shape[-1] != width:
        return
    if layer.type in TOKEN_NORMS:
        flow.stream = values
        flow.is_linear = True
    if layer.type is LayerType.BATCH_NORM and Role.RUNNING_VAR in parts:
        mean = parts.get(Role.RUNNING_MEAN, torch.zeros_like(parts[Role.RUNNING_VAR]))
        values = (values - mean[None, :, None]) / (parts[Role.RUNNING_VAR].clamp_min(0) + 1e-5).sqrt()[None, :, None]
    elif layer.type is LayerType.RMS_NORM:
        values = values / (values.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    else:
        values = values - values.mean(-1, keepdim=True)
        values = values / (values.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    if Role.SCALE in parts:
        values = values * parts[Role.SCALE][None, :, None]
    if Role.BIAS in parts:
        values = values + parts[Role.BIAS][None, :, None]
    flow.values = values.clamp(-LARGEST, LARGEST)


def _matrix_layer(flow: _Flow, layer: Layer, part: Part, read: Read, has_attention: bool) -> Tensor:
    """Passes the values through a linear or convolutional layer.

    Returns:
        The layer's signal features, [batch, SIGNAL_SIZE].
    """
    weights = read(part)
    batch, num_out, num_in, kernel = weights.shape
    bias_part = _part(layer, Role.BIAS)
    bias = None if bias_part is None else read(bias_part).flatten(1)
    if bias is not None and bias.shape[1] != num_out:
        bias = None
    is_branch = layer.level == flow.level and layer.type not in ATTENTION_TYPES
    if layer.type in ATTENTION_TYPES:
        flow.is_linear = True
    matrix = weights.sum(-1)
    meeting = _meeting(flow, weights)
    depthwise = num_in == 1 and flow.values is not None and flow.values.shape[-1] == num_out and kernel > 1
    if depthwise and flow.values is not None and flow.gain is not None:
        values = flow.values if flow.is_linear else _activate(flow.values)
        out = values * matrix[None, :, None, :, 0]
        if bias is not None:
            out = out + bias[None, :, None]
        out = out.clamp(-LARGEST, LARGEST)
        gain = flow.gain * weights.square().sum((2, 3))
    else:
        values, gain = _fit(flow, matrix, num_in)
        out = _multiply(values, matrix, bias)
        gain = torch.einsum("bi,boi->bo", gain, weights.square().sum(-1))
    total = gain.mean(1)
    spread = ((gain / (total[:, None] + TINY**2)) + FLOOR).log().std(1, unbiased=False)
    growth = 0.5 * (total * num_in + TINY).log()
    features = torch.cat([_response(out), torch.stack([growth, spread], -1), meeting], -1)
    if layer.type in SIDE_TYPES or is_branch:
        return features
    if has_attention and flow.stream is not None and flow.stream.shape == out.shape:
        # A transformer's block gives its result back to the residual stream.
        out = out + flow.stream
        flow.is_linear = True
    else:
        flow.is_linear = layer.type in ATTENTION_TYPES
    flow.values, flow.gain, flow.level = out, gain / (total[:, None] * num_out + TINY**2), layer.level
    flow.incoming = weights[:, evenly(num_out, MAX_ALIGNED)].reshape(batch, min(num_out, MAX_ALIGNED), -1)
    if num_out > MAX_ALIGNED:
        flow.incoming = None
    flow.bias = bias
    return features


def _recurrent(flow: _Flow, gates: Sequence[Layer], read: Read) -> list[Tensor]:
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


def _direction(flow: _Flow, gates: Sequence[Layer], read: Read) -> tuple[list[Tensor], Tensor, Tensor] | None:
    """A few steps of the gates of one direction from a zero state.

    Returns:
        Each gate's signal features, the last state, the matrix that feeds it; None where a part lacks or is projected.
    """
    weights = [_part(gate, Role.WEIGHT) for gate in gates]
    recurrent = [_part(gate, Role.RECURRENT_WEIGHT) for gate in gates]
    # Sorted by name, so that a gate is known by its label alone.
    at = {part.label: place for place, part in enumerate(weights) if part is not None}
    is_square = all(part is not None and part.canonical_shape[0] == part.canonical_shape[1] for part in recurrent)
    if not is_square or sorted(at) != sorted(GATES[gates[0].type]):
        return None
    into = [read(part) for part in weights if part is not None]
    back = [read(part).sum(-1) for part in recurrent if part is not None]
    biases = []
    for gate, matrix in zip(gates, into, strict=True):
        pair = [_part(gate, role) for role in (Role.BIAS, Role.RECURRENT_BIAS)]
        zero = matrix.new_zeros(matrix.shape[:2])
        biases.append([zero if part is None else read(part).flatten(1) for part in pair])
    meetings = [_meeting(flow, matrix) for matrix in into]
    values, gain = _fit(flow, into[0].sum(-1), into[0].shape[2])
    inputs = [_multiply(values, w.sum(-1), b[0]) for w, b in zip(into, biases, strict=True)]
    state = torch.zeros_like(inputs[0])
    cell = torch.zeros_like(state)
    gate_values = inputs
    for _ in range(RECURRENT_STEPS):
        fed = [_multiply(state, w, b[1]) for w, b in zip(back, biases, strict=True)]
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
        total = out_gain.mean(1)
        spread = ((out_gain / (total[:, None] + TINY**2)) + FLOOR).log().std(1, unbiased=False)
        growth = 0.5 * (total * matrix.shape[2] + TINY).log()
        features.append(torch.cat([_response(value), torch.stack([growth, spread], -1), meeting], -1))
    main = into[at.get("new gate", at.get("cell gate", 0))]
    return features, state, main.flatten(2)


def _outputs(values: Tensor, bias: Tensor | None) -> Float[Tensor, "batch outputs features"]:
    """What the last layer answers to the uniform inputs, output by output."""
    shares = values.softmax(-1)
    responses = torch.stack([shares.mean(2), shares[:, :, 0], shares[:, :, NUM_PROBES // 2], shares[:, :, -1]], -1)
    responses = responses.permute(1, 2, 0, 3).flatten(2)
    if bias is None:
        bias = values.new_zeros(values.shape[1], values.shape[3])
    centred = bias - bias.mean(1, keepdim=True)
    own = torch.stack([signed_log(centred, 0.1), bias.softmax(-1)], -1)
    return torch.cat([own, responses], -1)


def follow(
    layers: Sequence[Layer], read: Read
) -> tuple[dict[int, Float[Tensor, "batch signal"]], Float[Tensor, "batch outputs features"] | None]:
    """Follows uniform inputs through the layers of several networks of one layout.

    Args:
        layers: the layers, in order of level.
        read: gives a part's canonical tensor, stacked over the networks.

    Returns:
        Features of every layer that has a matrix, by position in `layers`; and one row for each output of the last
        such layer, None where there is none or where it has more than `MAX_OUTPUTS` outputs.

    Source: the propagation of a signal's scale through random layers, Poole et al., arXiv 1606.05340, section 2.
    Differs: follows the real weights, and uniform inputs rather than random ones.
    """
    flow = _Flow()
    features: dict[int, Tensor] = {}
    has_attention = any(layer.type in ATTENTION_TYPES for layer in layers)
    last: tuple[Tensor, Tensor | None] | None = None
    position = 0
    while position < len(layers):
        layer = layers[position]
        weight = _part(layer, Role.WEIGHT)
        if layer.type in NORMS:
            _norm(flow, layer, read)
        elif layer.type in RECURRENT_TYPES:
            end = position
            while end < len(layers) and layers[end].type is layer.type and layers[end].level == layer.level:
                end += 1
            gates = layers[position:end]
            for offset, row in enumerate(_recurrent(flow, gates, read)):
                features[position + offset] = row
            position = end
            continue
        elif layer.type in MATRIX_TYPES and weight is not None:
            features[position] = _matrix_layer(flow, layer, weight, read, has_attention)
            if flow.values is not None and flow.values.shape[-1] == weight.canonical_shape[0]:
                last = (flow.values, flow.bias)
        position += 1
    outputs = None
    if last is not None and 1 < last[0].shape[-1] <= MAX_OUTPUTS:
        outputs = _outputs(*last)
    return features, outputs
