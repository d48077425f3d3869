"""Signals: the response of a network's layers to uniform inputs, computed from its weights.

A uniform image stays uniform through a convolution (away from the border). Its way through a network therefore needs no
geometry: kernels are summed over their positions, and every layer is a matrix. Likewise, if all tokens are equal,
attention returns the value projection. Nine uniform inputs are followed layer by layer, once as if every activation
were a rectifier and once as if it were a tanh, because weights do not show which one it is. Where the widths of two
layers do not match, fresh inputs start. The network itself is never run, and none of its code is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.features import TINY, FeatureBlock, compute_features, names_of, signed_log, softmax
from sne.encoders.flow import (
    IMAGES,
    NUM_PROBES,
    RELU,
    TANH,
    TOKEN_NORMS,
    Flow,
    PartReader,
    add_bias,
    inputs_of,
    part_of,
    pass_norm,
    with_images,
)
from sne.encoders.image_maps import convolve, first_maps, first_rows, kernel_sides
from sne.encoders.layer_signals import LayerResponse, Meeting, layer_signal
from sne.encoders.measures import MeasuredTensor, Probes, Reply, WholeTensor
from sne.networks import Layer, LayerType, Part, Role
from sne.networks.recurrent import GATES

MAX_OUTPUTS = 64
"""Largest number of outputs that a network may have to get output features."""

RECURRENT_STEPS = 4
"""Number of steps that a recurrent layer is followed from a zero state."""

ATTENTION_TYPES = frozenset(
    {LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE, LayerType.ATTENTION_OUT}
)
SIDE_TYPES = frozenset({LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY})
CONVOLUTION_TYPES = frozenset(
    {
        LayerType.CONV1D,
        LayerType.CONV2D,
        LayerType.CONV3D,
        LayerType.CONV_TRANSPOSE1D,
        LayerType.CONV_TRANSPOSE2D,
        LayerType.CONV_TRANSPOSE3D,
    }
)
MATRIX_TYPES = frozenset({LayerType.LINEAR}) | CONVOLUTION_TYPES | ATTENTION_TYPES
NORM_TYPES = frozenset({LayerType.BATCH_NORM, LayerType.GROUP_NORM}) | TOKEN_NORMS
RECURRENT_TYPES = frozenset({LayerType.LSTM, LayerType.GRU, LayerType.RNN})


def follow(
    layers: Sequence[Layer], reader: PartReader
) -> tuple[dict[int, Float[Tensor, "batch signal"]], Float[Tensor, "batch outputs features"] | None]:
    """Follows uniform inputs through the layers of several networks of one layout.

    Args:
        layers: The layers, in order of level.
        reader: Reads and measures the parts of the networks.

    Returns:
        The signal features (`sne.encoders.layer_signals.SIGNAL_BLOCKS`) of every layer that has a matrix, by position
        in `layers`; and the output features (`OUTPUT_BLOCKS`) of the last such layer, one row per output, or None if
        it has one output or more than `MAX_OUTPUTS`.

    Source: the propagation of a signal's scale through random layers, Poole et al., arXiv 1606.05340, section 2.
    Differs: follows the actual weights, and uniform inputs rather than random ones.
    """
    flow = Flow()
    features: dict[int, Tensor] = {}
    has_attention = any(layer.type in ATTENTION_TYPES for layer in layers)
    last: OutputResponse | None = None
    position = 0
    while position < len(layers):
        layer = layers[position]
        weight = part_of(layer, Role.WEIGHT)
        if layer.type in NORM_TYPES:
            pass_norm(flow, layer, reader)
        elif layer.type in RECURRENT_TYPES:
            end = position
            while end < len(layers) and layers[end].type is layer.type and layers[end].level == layer.level:
                end += 1
            rows = _recurrent_layer(flow, layers[position:end], reader)
            features.update(zip(range(position, position + len(rows)), rows, strict=True))
            position = end
            continue
        elif layer.type in MATRIX_TYPES and weight is not None:
            features[position] = _matrix_layer(flow, layer, weight, reader, has_attention)
            if flow.values is not None and flow.values.shape[-1] == weight.arranged_shape[0]:
                last = OutputResponse(flow.values, flow.bias)
        position += 1
    if last is None or not 1 < last.values.shape[-1] <= MAX_OUTPUTS:
        return features, None
    return features, compute_features(OUTPUT_BLOCKS, last)


def _matrix_layer(
    flow: Flow, layer: Layer, part: Part, reader: PartReader, has_attention: bool
) -> Float[Tensor, "batch signal"]:
    """Passes the values through a linear or convolutional layer, and returns the layer's signal features."""
    bias_part = part_of(layer, Role.BIAS)
    bias = None if bias_part is None else reader.read(bias_part).flatten(1)
    tensor = reader.measure(part)  # last, since nothing else may be read before it responds
    if bias is not None and bias.shape[1] != tensor.num_out:
        bias = None
    is_branch = layer.level == flow.level and layer.type not in ATTENTION_TYPES
    if is_branch and flow.before is not None:
        flow = replace(flow.before)
    elif not is_branch:
        flow.before = replace(flow, before=None)
    if layer.type in ATTENTION_TYPES:
        flow.needs_activation = False
    if layer.type is LayerType.ATTENTION_OUT and flow.values is not None and flow.values.shape[-1] != tensor.num_in:
        flow.values = flow.incoming = None  # heads share values, and weights do not show how
    out, gain, meeting, maps = _through(flow, layer, part, tensor, bias)
    features = layer_signal(LayerResponse(out, gain, tensor.num_in, meeting, maps))
    if layer.type in SIDE_TYPES or is_branch:
        return features
    closes_block = flow.is_block_open and layer.type is not LayerType.ATTENTION_VALUE
    flow.is_block_open = True
    if has_attention and closes_block and flow.stream is not None and flow.stream.shape == out.shape:
        out = out + flow.stream  # a transformer's block adds its result to the residual stream
        flow.needs_activation = False
    else:
        flow.needs_activation = layer.type not in ATTENTION_TYPES
    flow.values, flow.gain, flow.level = out, gain / (gain.sum(1, keepdim=True) + TINY**2), layer.level
    flow.incoming, flow.bias, flow.maps = tensor, bias, maps
    return features


def _through(
    flow: Flow, layer: Layer, part: Part, tensor: MeasuredTensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Meeting | None, Tensor | None]:
    """Returns values and gain behind a matrix or a depthwise convolution, its meeting with its feeder, and maps."""
    if not flow.has_begun:
        read, gain, maps = _first_inputs(flow, layer, part, tensor)
    else:
        read, gain = inputs_of(flow, tensor.batch, tensor.num_in)
        maps = flow.active_maps
    sides = kernel_sides(part) if layer.type is LayerType.CONV2D and isinstance(tensor, WholeTensor) else None
    new_maps = None if maps is None or sides is None else convolve(maps, tensor, sides)
    new_maps = None if new_maps is None else add_bias(new_maps, bias)
    images = None if new_maps is None else new_maps.mean((2, 3))
    is_depthwise = tensor.num_in == 1 and tensor.kernel > 1 and flow.values is not None and flow.gain is not None
    if is_depthwise and flow.values.shape[-1] == tensor.num_out:
        read, gain = inputs_of(flow, tensor.batch, tensor.num_out)
        sums = tensor.respond(Probes(torch.ones(tensor.batch, 1, 1), torch.ones(tensor.batch, 1)))
        out = with_images(add_bias(read * sums.values, bias), images)
        return out, gain * sums.gain, None, new_maps
    reply = tensor.respond(Probes(read, gain, _shared_neurons(flow, tensor)))
    out = with_images(add_bias(reply.values, bias), images)
    return out, reply.gain, _meeting(flow, tensor, reply), new_maps


def _first_inputs(flow: Flow, layer: Layer, part: Part, tensor: MeasuredTensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns the inputs of a network: values, gains, and the images as maps if its first layer is a convolution."""
    flow.has_begun = True
    read, gain = inputs_of(flow, tensor.batch, tensor.num_in)
    images = first_maps(layer.type, part) if isinstance(tensor, WholeTensor) else None
    if images is None:
        return read, gain, None
    if layer.type is LayerType.LINEAR:
        values = images.movedim(3, 1).flatten(1)
        return with_images(read, values.expand(tensor.batch, *values.shape)), gain, None
    values = images.mean((1, 2))
    return with_images(read, values.expand(tensor.batch, *values.shape)), gain, images[None]


def _shared_neurons(flow: Flow, tensor: MeasuredTensor) -> Tensor | slice | None:
    """Returns the neurons of a sample in which a tensor meets its feeder; None if their widths differ."""
    if flow.incoming is None or flow.incoming.num_out != tensor.num_in or tensor.num_in < 2:
        return None
    sampled = flow.incoming.sampled_rows
    return slice(None) if sampled is None else sampled


def _meeting(flow: Flow, tensor: MeasuredTensor, reply: Reply) -> Meeting | None:
    """Returns the meeting of the layer that gave the values with their reader; None if their widths differ."""
    if reply.reads is None or flow.incoming is None:
        return None
    written, read = flow.incoming.squared_norms[0].sqrt(), tensor.squared_norms[1].sqrt()
    bias = torch.zeros_like(read) if flow.bias is None else flow.bias
    return Meeting(written, read, bias, flow.incoming.rows, reply.reads)


def _recurrent_layer(flow: Flow, gates: Sequence[Layer], reader: PartReader) -> list[Float[Tensor, "batch signal"]]:
    """Passes the values through one recurrent layer, each of its directions, side by side.

    Returns:
        The signal features of each gate, in the order given; none if the layer cannot be followed.
    """
    directions: dict[str, list[Layer]] = {}
    for gate in gates:
        is_whole = gate.type is LayerType.RNN
        directions.setdefault(gate.name if is_whole else gate.name.rpartition(".")[0], []).append(gate)
    results = [_recurrent_direction(flow, own, reader) for own in directions.values()]
    followed = [result for result in results if result is not None]
    if len(followed) < len(results):
        flow.values = None
        return []
    flow.values, flow.maps, flow.has_begun = torch.cat([state for _, state, _ in followed], -1), None, True
    flow.needs_activation, flow.level, flow.bias = False, gates[0].level, None
    width = flow.values.shape[-1]
    flow.gain = flow.values.new_full((len(flow.values), width), 1.0 / width)
    flow.incoming = WholeTensor(torch.cat([matrix for _, _, matrix in followed], 1))
    # Layers are sorted by name, so the gates of one direction follow each other.
    return [row for features, _, _ in followed for row in features]


def _recurrent_direction(
    flow: Flow, gates: Sequence[Layer], reader: PartReader
) -> tuple[list[Tensor], Tensor, Tensor] | None:
    """Follows the gates of one direction for a few steps from a zero state.

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
        zero = torch.zeros(tensor.batch, tensor.num_out)
        biases.append([zero if part is None else reader.read(part).flatten(1) for part in pair])
    read, gain = inputs_of(flow, into[0].batch, into[0].num_in)
    images = None if flow.has_begun else first_rows(into[0].num_in)
    if images is not None:
        rows = images.flatten(0, 1)
        read = torch.cat([read, rows.expand(len(read), *rows.shape)], 1)
    fed = Probes(read, gain, _shared_neurons(flow, into[0]))
    replies = [tensor.respond(fed) for tensor in into]
    inputs = [add_bias(reply.values, b[0]) for reply, b in zip(replies, biases, strict=True)]
    take = partial(_recurrent_steps, gates[0].type, at, back=back, back_biases=[b[1] for b in biases])
    if images is None:
        gate_values, state = take([inputs] * RECURRENT_STEPS)
    else:
        constant = [gate[:, : IMAGES.start] for gate in inputs]
        by_step = [gate[:, IMAGES.start :].unflatten(1, images.shape[:2]) for gate in inputs]
        ends = take([constant] * RECURRENT_STEPS), take([[g[:, :, n] for g in by_step] for n in range(images.shape[1])])
        gate_values = [torch.cat(pair, 1) for pair in zip(ends[0][0], ends[1][0], strict=True)]
        state = torch.cat([ends[0][1], ends[1][1]], 1)
    features = []
    for gate_value, tensor, reply in zip(gate_values, into, replies, strict=True):
        meeting = _meeting(flow, tensor, reply)
        features.append(layer_signal(LayerResponse(gate_value, reply.gain, tensor.num_in, meeting)))
    main = into[at.get("new gate", at.get("cell gate", 0))]
    return features, state, main.weights


def _recurrent_steps(
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


@dataclass(frozen=True)
class OutputResponse:
    """Response of a network's last layer to the uniform inputs.

    Args:
        values: Outputs: [batch, row, output].
        bias: Bias of the layer: [batch, output]; None if it has none.
    """

    values: Tensor
    bias: Tensor | None


def _output_bias(response: OutputResponse) -> Float[Tensor, "batch outputs features"]:
    batch, _, num_outputs = response.values.shape
    bias = response.values.new_zeros(batch, num_outputs) if response.bias is None else response.bias
    centred = bias - bias.mean(1, keepdim=True)
    return torch.stack([signed_log(centred, 0.1), bias.softmax(-1)], -1)


def _output_shares(values: Float[Tensor, "batch probe outputs"]) -> Float[Tensor, "batch outputs features"]:
    shares = softmax(values)
    return torch.stack([shares.mean(1), shares[:, 0], shares[:, NUM_PROBES // 2], shares[:, -1]], -1)


SHARE_ENTRIES = ("mean_share", "share_of_lowest_probe", "share_of_middle_probe", "share_of_highest_probe")
OUTPUT_BLOCKS: tuple[FeatureBlock[OutputResponse], ...] = (
    FeatureBlock("output_bias", ("centred", "share"), _output_bias),
    FeatureBlock("output_relu", SHARE_ENTRIES, lambda response: _output_shares(response.values[:, RELU])),
    FeatureBlock("output_tanh", SHARE_ENTRIES, lambda response: _output_shares(response.values[:, TANH])),
)
"""The features of one output of the last layer; a share is its softmax probability."""

OUTPUT_NAMES = names_of(OUTPUT_BLOCKS)
