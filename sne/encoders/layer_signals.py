"""What a layer does to the uniform inputs, and how it meets the layer before, in a few numbers."""

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.descriptors import FLOOR, TINY, evenly, signed_log
from sne.encoders.flow import Flow

MAX_ALIGNED = 512
"""Wider layers are compared over evenly spaced neurons."""

LEAST_SPREAD = 1e-6
"""Spreads below this share of the size of values are rounding."""

RESPONSE_SIZE = 8
POWERS = 3
MEETING_SIZE = 9 + 6 * POWERS
GROWTH_SIZE = 2
SIGNAL_SIZE = 2 * RESPONSE_SIZE + GROWTH_SIZE + MEETING_SIZE


def _response(values: Float[Tensor, "act batch probe n"]) -> Float[Tensor, "batch features"]:
    """Size, spread over neurons, sensitivity to the input, sign, saturation and agreement of a layer's values."""
    magnitude = values.abs().mean((2, 3))
    least = LEAST_SPREAD * magnitude
    over_neurons = values.std(3, unbiased=False).mean(2).maximum(least)
    over_probes = values.std(2, unbiased=False).mean(2).maximum(least)
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


def meeting_features(flow: Flow, weights: Float[Tensor, "batch out in kernel"]) -> Float[Tensor, "batch features"]:
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


def _growth(gain: Float[Tensor, "batch n"], num_in: int) -> Float[Tensor, "batch features"]:
    """How much a layer lets independent inputs grow, and how unevenly over its neurons."""
    total = gain.mean(1)
    spread = (gain / (total[:, None] + TINY**2) + FLOOR).log().std(1, unbiased=False)
    return torch.stack([0.5 * (total * num_in + TINY).log(), spread], -1)


def signal(
    values: Float[Tensor, "act batch probe n"],
    gain: Float[Tensor, "batch n"],
    num_in: int,
    meeting: Float[Tensor, "batch meeting"],
) -> Float[Tensor, "batch signal"]:
    """All signal features of a layer.

    Args:
        values: what it answers to the uniform inputs, under each activation.
        gain: the expected square of each neuron for independent inputs whose squares add up to one.
        num_in: number of neurons it reads.
        meeting: what `meeting_features` gave.

    Returns:
        `SIGNAL_SIZE` numbers a network.
    """
    return torch.cat([_response(values), _growth(gain, num_in), meeting], -1)
