"""Signal features of one layer: its response to uniform inputs and images, and how it matches the layer before it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.features import FLOOR, TINY, FeatureBlock, compute_features, deviation, names_of, signed_log
from sne.encoders.flow import IMAGES, RELU, TANH, Flow
from sne.encoders.image_signals import IMAGE_ENTRIES, image_features
from sne.encoders.measures import MeasuredTensor, Reply

LEAST_SPREAD = 1e-6
"""Spreads below this share of the magnitude of the values are rounding."""

POWERS = (1, 2, 4)
"""Powers of the Gram matrices of two neighbouring layers; each one is the square of the one before."""


@dataclass(frozen=True)
class Meeting:
    """Two layers that meet in the same neurons: one feeds them, the next one reads them.

    Args:
        written: Norm of the incoming weights of each neuron.
        read: Norm of the outgoing weights of each neuron.
        bias: Bias of each neuron; zeros if it has none.
        feeds: Incoming weights of each neuron of a sample.
        reads: Outgoing weights of the same neurons.
    """

    written: Float[Tensor, "batch n"]
    read: Float[Tensor, "batch n"]
    bias: Float[Tensor, "batch n"]
    feeds: Float[Tensor, "batch sample inputs"]
    reads: Float[Tensor, "batch sample outputs"]


def shared_neurons(flow: Flow, tensor: MeasuredTensor) -> Tensor | slice | None:
    """Returns the neurons of a sample in which a tensor meets its feeder; None if their widths differ."""
    if flow.incoming is None or flow.incoming.num_out != tensor.num_in or tensor.num_in < 2:
        return None
    sampled = flow.incoming.sampled_rows
    return slice(None) if sampled is None else sampled


def meeting_of(flow: Flow, tensor: MeasuredTensor, reply: Reply) -> Meeting | None:
    """Returns the meeting of the layer that gave the values with their reader; None if their widths differ."""
    if reply.reads is None or flow.incoming is None:
        return None
    written, read = flow.incoming.squared_norms[0].sqrt(), tensor.squared_norms[1].sqrt()
    bias = torch.zeros_like(read) if flow.bias is None else flow.bias
    return Meeting(written, read, bias, flow.incoming.rows, reply.reads)


@dataclass(frozen=True)
class LayerResponse:
    """Response of one layer to uniform inputs and images, for several networks of one layout.

    Args:
        values: Outputs before the layer's own activation, with the rows of `sne.encoders.flow.Flow`.
        gain: Expected square of each output for independent inputs whose squares add up to one.
        num_in: Number of neurons that the layer reads.
        meeting: The layer and the one before it; None if they do not share their neurons one by one.
        maps: What the layer makes of the images, position by position; None where positions are not followed.
    """

    values: Float[Tensor, "batch row n"]
    gain: Float[Tensor, "batch n"]
    num_in: int
    meeting: Meeting | None
    maps: Float[Tensor, "batch image height width n"] | None = None

    @cached_property
    def responses(self) -> Float[Tensor, "act batch features"]:
        """The features of the blocks `response_relu` and `response_tanh`."""
        return _responses(torch.stack([self.values[:, RELU], self.values[:, TANH]]))


def _responses(values: Float[Tensor, "act batch probe n"]) -> Float[Tensor, "act batch features"]:
    """Size, spread over neurons, sensitivity to the input, sign, saturation and agreement of a layer's values."""
    magnitude = values.abs().mean((2, 3))
    least = LEAST_SPREAD * magnitude
    over_neurons = deviation(values, 3).mean(2).maximum(least)
    over_probes = deviation(values, 2).mean(2).maximum(least)
    negative = (values <= 0).float().mean((2, 3))
    saturated = (values.abs() > 2).float().mean((2, 3))
    mean = values.mean((2, 3))
    relative = (over_probes + TINY) / (magnitude + TINY)
    always_off = (values.amax(2) <= 0).float().mean(2)
    features = [
        signed_log(magnitude),
        signed_log(over_neurons),
        signed_log(over_probes),
        4 * negative,
        4 * saturated,
        signed_log(mean),
        (relative + FLOOR).log(),
        4 * always_off,
    ]
    return torch.stack(features, -1)


def _growth(response: LayerResponse) -> Float[Tensor, "batch features"]:
    """Measures how much a layer lets independent inputs grow, and how unevenly over its neurons."""
    total = response.gain.mean(1)
    spread = deviation((response.gain / (total[:, None] + TINY**2) + FLOOR).log())
    return torch.stack([0.5 * (total * response.num_in + TINY).log(), spread], -1)


def _correlation(a: Float[Tensor, "batch n"], b: Float[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    return (a * b).sum(-1) / ((a.square().sum(-1) * b.square().sum(-1)).sqrt() + 1e-6)


def _norm_match(response: LayerResponse) -> Float[Tensor, "batch features"]:
    """Compares, per shared neuron, the norm of the weights that read it with those that feed it, and with its bias."""
    meeting = response.meeting
    if meeting is None:
        return response.gain.new_zeros(len(response.gain), len(MATCH_ENTRIES))
    written, read = meeting.written + TINY, meeting.read + TINY
    log_read, log_written = (read + 1e-6).log(), (written + 1e-6).log()
    ratio = signed_log(meeting.bias / (written + 1e-6))
    features = [
        torch.ones_like(log_read[:, 0]),
        _correlation(log_read, log_written),
        _correlation(log_read, meeting.bias),
        _correlation(log_written, meeting.bias),
        ratio.mean(1),
        deviation(ratio),
        ratio.amin(1),
        ratio.amax(1),
        deviation(log_read + log_written),
    ]
    return torch.stack(features, -1)


def _subspaces(response: LayerResponse) -> Float[Tensor, "batch features"]:
    """Whether a layer reads the directions that the layer before it writes, in the strong directions of both.

    Powers of the two Gram matrices emphasise the largest singular values more and more and, unlike singular vectors,
    change little when the weights do.
    """
    if response.meeting is None:
        return response.gain.new_zeros(len(response.gain), len(SUBSPACE_ENTRIES))
    feeds, reads = response.meeting.feeds, response.meeting.reads
    count = feeds.shape[1]
    grams = [matrix @ matrix.transpose(1, 2) for matrix in (feeds, reads)]
    written, read = (gram / (gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + TINY**2) for gram in grams)
    features = []
    for _ in POWERS:
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
    return torch.stack(features, -1)


RESPONSE_ENTRIES = (
    "magnitude", "spread_over_neurons", "spread_over_probes", "share_negative", "share_saturated", "mean",
    "relative_spread_over_probes", "share_of_neurons_always_off",
)  # fmt: skip
MATCH_ENTRIES = (
    "is_compared", "correlation_read_written", "correlation_read_bias", "correlation_written_bias", "bias_ratio_mean",
    "bias_ratio_deviation", "bias_ratio_least", "bias_ratio_largest", "deviation_of_norm_product",
)  # fmt: skip
SUBSPACE_ENTRIES = tuple(
    f"{entry}_of_power_{power}"
    for power in POWERS
    for entry in ("overlap", "written_sum", "read_sum", "written_diagonal", "read_diagonal", "written_largest")
)

SIGNAL_BLOCKS: tuple[FeatureBlock[LayerResponse], ...] = (
    FeatureBlock("response_relu", RESPONSE_ENTRIES, lambda response: response.responses[0]),
    FeatureBlock("response_tanh", RESPONSE_ENTRIES, lambda response: response.responses[1]),
    FeatureBlock("images", IMAGE_ENTRIES, lambda response: image_features(response.values[:, IMAGES], response.maps)),
    FeatureBlock("growth", ("log_gain", "spread_over_neurons"), _growth),
    FeatureBlock("norm_match", MATCH_ENTRIES, _norm_match),
    FeatureBlock("subspaces", SUBSPACE_ENTRIES, _subspaces),
)
"""The signal features of a layer. Magnitudes, spreads and means are on a logarithmic scale, shares are times four.

`norm_match` and `subspaces` compare what the layer before writes to the shared neurons with what this layer reads; they
are zero if the layers are not compared.
"""

SIGNAL_NAMES = names_of(SIGNAL_BLOCKS)


def layer_signal(response: LayerResponse) -> Float[Tensor, "batch signal"]:
    """Computes the features of `SIGNAL_BLOCKS` of a layer, one row per network."""
    return compute_features(SIGNAL_BLOCKS, response)
