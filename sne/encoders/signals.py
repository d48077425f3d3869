"""Signals: what a network's layers do to a uniform input, worked out from its weights.

A uniform image stays uniform through a convolution (away from the border), so its way through a network needs no
geometry: kernels are summed over their positions and every layer is a matrix. Tokens of one kind likewise leave
attention as the value projection alone. Nine uniform inputs are followed layer by layer, once as if every activation
were a rectifier and once as if it were a tanh, for weights do not tell which it was. Where the widths of two layers do
not meet, the inputs start anew. The network is never run, and no code of its own is needed.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.descriptors import TINY, evenly, signed_log
from sne.encoders.flow import LARGEST, NUM_PROBES, Flow, Read, activate, fit, multiply, part_of
from sne.encoders.layer_signals import MAX_ALIGNED, meeting_features, signal
from sne.encoders.recurrent_signals import recurrent_signals
from sne.networks import Layer, LayerType, Part, Role

MAX_OUTPUTS = 64
"""A network with more outputs has no output rows."""
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


def _norm(flow: Flow, layer: Layer, read: Read) -> None:
    """Passes the values through a normalisation layer; weights do not tell the groups of a group norm: one is taken."""
    parts = {part.role: read(part).flatten(1) for part in layer.parts}
    values = flow.values
    width = next(iter(parts.values())).shape[1] if parts else 0
    if values is None or values.shape[-1] != width or layer.level == flow.norm_level:
        return
    flow.norm_level = layer.level
    if layer.type in TOKEN_NORMS:
        flow.stream, flow.is_opened = values, False
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


def _matrix_layer(flow: Flow, layer: Layer, part: Part, read: Read, has_attention: bool) -> Tensor:
    """Passes the values through a linear or convolutional layer.

    Returns:
        The layer's signal features, [batch, SIGNAL_SIZE].
    """
    weights = read(part)
    batch, num_out, num_in, kernel = weights.shape
    bias_part = part_of(layer, Role.BIAS)
    bias = None if bias_part is None else read(bias_part).flatten(1)
    if bias is not None and bias.shape[1] != num_out:
        bias = None
    is_branch = layer.level == flow.level and layer.type not in ATTENTION_TYPES
    if is_branch and flow.before is not None:
        flow = replace(flow.before)
    elif not is_branch:
        flow.before = replace(flow, before=None)
    if layer.type in ATTENTION_TYPES:
        flow.is_linear = True
    if layer.type is LayerType.ATTENTION_OUT and flow.values is not None and flow.values.shape[-1] != num_in:
        flow.values = flow.incoming = None  # values are shared by heads, and weights do not tell how
    matrix = weights.sum(-1)
    meeting = meeting_features(flow, weights)
    depthwise = num_in == 1 and flow.values is not None and flow.values.shape[-1] == num_out and kernel > 1
    if depthwise and flow.values is not None and flow.gain is not None:
        values = flow.values if flow.is_linear else activate(flow.values)
        out = values * matrix[None, :, None, :, 0]
        if bias is not None:
            out = out + bias[None, :, None]
        out = out.clamp(-LARGEST, LARGEST)
        gain = flow.gain * weights.square().sum((2, 3))
    else:
        values, gain = fit(flow, matrix, num_in)
        out = multiply(values, matrix, bias)
        gain = torch.einsum("bi,boi->bo", gain, weights.square().sum(-1))
    features = signal(out, gain, num_in, meeting)
    if layer.type in SIDE_TYPES or is_branch:
        return features
    closes = flow.is_opened and layer.type is not LayerType.ATTENTION_VALUE
    flow.is_opened = True
    if has_attention and closes and flow.stream is not None and flow.stream.shape == out.shape:
        # A transformer's block gives its result back to the residual stream.
        out = out + flow.stream
        flow.is_linear = True
    else:
        flow.is_linear = layer.type in ATTENTION_TYPES
    flow.values, flow.gain, flow.level = out, gain / (gain.sum(1, keepdim=True) + TINY**2), layer.level
    flow.incoming = weights[:, evenly(num_out, MAX_ALIGNED)].reshape(batch, min(num_out, MAX_ALIGNED), -1)
    if num_out > MAX_ALIGNED:
        flow.incoming = None
    flow.bias = bias
    return features


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
    flow = Flow()
    features: dict[int, Tensor] = {}
    has_attention = any(layer.type in ATTENTION_TYPES for layer in layers)
    last: tuple[Tensor, Tensor | None] | None = None
    position = 0
    while position < len(layers):
        layer = layers[position]
        weight = part_of(layer, Role.WEIGHT)
        if layer.type in NORMS:
            _norm(flow, layer, read)
        elif layer.type in RECURRENT_TYPES:
            end = position
            while end < len(layers) and layers[end].type is layer.type and layers[end].level == layer.level:
                end += 1
            gates = layers[position:end]
            for offset, row in enumerate(recurrent_signals(flow, gates, read)):
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
