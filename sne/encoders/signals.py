"""Signals: the response of a network's layers to uniform inputs and images, computed from its weights.

A uniform image stays uniform through a convolution (away from the border). Its way through a network therefore needs no
geometry: kernels are summed over their positions, and every layer is a matrix. Likewise, if all tokens are equal,
attention returns the value projection. Nine uniform inputs are followed layer by layer, once as if every activation
were a rectifier and once as if it were a tanh, because weights do not show which one it is. Where the widths of two
layers do not match, fresh inputs start. The network itself is never run, and none of its code is needed.

Where the first layer may read images, a few synthetic ones are followed as well, position by position through
convolutions of stride 1 without padding, as long as they are large enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.features import TINY, FeatureBlock, compute_features, names_of, signed_log, softmax
from sne.encoders.flow import (
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
from sne.encoders.image_maps import convolve, first_maps, first_vectors, kernel_sides
from sne.encoders.layer_signals import LayerResponse, Meeting, layer_signal, meeting_of, shared_neurons
from sne.encoders.measures import MeasuredTensor, Probes, WholeTensor
from sne.encoders.recurrent_signals import RECURRENT_TYPES, recurrent_layer
from sne.networks import Layer, LayerType, Part, Role

MAX_OUTPUTS = 64
"""Largest number of outputs that a network may have to get output features."""

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


def follow(
    layers: Sequence[Layer], reader: PartReader
) -> tuple[dict[int, Float[Tensor, "batch signal"]], Float[Tensor, "batch outputs features"] | None]:
    """Follows uniform inputs and images through the layers of several networks of one layout.

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
    flow = Flow(has_begun=_reads_tokens(layers))
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
            rows = recurrent_layer(flow, layers[position:end], reader)
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


def _reads_tokens(layers: Sequence[Layer]) -> bool:
    """Returns whether a table of tokens comes before the first matrix; class tokens are tables with one row."""
    tables = [
        layer.level
        for layer in layers
        if layer.type is LayerType.EMBEDDING and any(part.arranged_shape[1] > 1 for part in layer.parts)
    ]
    matrices = [layer.level for layer in layers if layer.type in MATRIX_TYPES | RECURRENT_TYPES]
    return bool(tables and matrices) and min(tables) < min(matrices)


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
    flow.has_begun = True
    features = layer_signal(LayerResponse(out, gain, tensor.num_in, meeting, maps))
    if layer.type in SIDE_TYPES or is_branch:
        return features
    closes_block = flow.is_block_open and layer.type is not LayerType.ATTENTION_VALUE
    flow.is_block_open = True
    if has_attention and closes_block and flow.stream is not None and flow.stream.shape[-1] == out.shape[-1]:
        # A transformer's block adds its result to the residual stream; fresh inputs in the block have no images.
        out = out + flow.stream[:, : out.shape[1]]
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
    maps = _maps_behind(flow, layer, part, tensor, bias)
    images = None if maps is None else maps.mean((2, 3))
    given = flow if maps is None else flow.without_images()
    width = 0 if flow.values is None or flow.gain is None else flow.values.shape[-1]
    if tensor.num_in == 1 and tensor.kernel > 1 and width == tensor.num_out:
        read, gain = inputs_of(given, tensor.batch, tensor.num_out)
        ones = torch.ones(tensor.batch, 1, dtype=torch.float32)
        sums = tensor.respond(Probes(ones[..., None], ones))
        out = with_images(add_bias(read * sums.values, bias), images)
        return out, gain * sums.gain, None, maps
    read, gain = inputs_of(given, tensor.batch, tensor.num_in)
    if not flow.has_begun and layer.type is LayerType.LINEAR and isinstance(tensor, WholeTensor):
        vectors = first_vectors(tensor.num_in)
        read = with_images(read, None if vectors is None else vectors.expand(tensor.batch, -1, -1))
    reply = tensor.respond(Probes(read, gain, shared_neurons(flow, tensor)))
    out = with_images(add_bias(reply.values, bias), images)
    return out, reply.gain, meeting_of(flow, tensor, reply), maps


def _maps_behind(
    flow: Flow, layer: Layer, part: Part, tensor: MeasuredTensor, bias: Tensor | None
) -> Float[Tensor, "batch image height width out"] | None:
    """Returns the maps behind a layer; None if it does not keep the positions of images."""
    sides = kernel_sides(part) if layer.type is LayerType.CONV2D else None
    if sides is None or not isinstance(tensor, WholeTensor):
        return None
    maps = flow.active_maps if flow.has_begun else first_maps(tensor.num_in, sides)
    out = None if maps is None else convolve(maps, tensor, sides)
    return None if out is None else add_bias(out, bias)


@dataclass(frozen=True)
class OutputResponse:
    """Response of a network's last layer.

    Args:
        values: Outputs: [batch, row, output], with the rows of `sne.encoders.flow.Flow`.
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
