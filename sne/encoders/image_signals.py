"""Signal features of one layer: what it makes of the synthetic images.

The copies of a pattern should be alike to a network that has learned, and patterns should differ. The outputs of each
layer are also read as if they were logits, which they are in the last layer.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.features import TINY, signed_log
from sne.encoders.images import COPIES, PATTERNS

SMALL = 1e-6
"""Added to magnitudes before a logarithm."""

VAST = 1e30
"""Larger than every output."""

ROUNDING = 1e-5
"""Spreads below this share of the magnitude of the outputs are rounding, and count as zero."""

SPREAD_ENTRIES = (
    "magnitude", "spread_over_images", "share_between_patterns", "directions", "directions_of_patterns",
)  # fmt: skip
CHOICE_ENTRIES = (
    "entropy_of_mean", "mean_entropy", "information", "information_of_patterns", "mean_largest_share",
    "share_ever_largest", "entropy_of_largest", "mean_margin", "largest_mean_share", "least_mean_share",
    "least_spread", "largest_spread",
)  # fmt: skip
IMAGE_ENTRIES = (
    *(f"activated_{entry}" for entry in SPREAD_ENTRIES),
    *(f"centred_{entry}" for entry in SPREAD_ENTRIES),
    "share_negative",
    "share_always_off",
    *CHOICE_ENTRIES,
)
"""Names of the features: those of the neurons after a rectifier, of the neurons relative to their mean, of signs, and
of the outputs as logits."""


def image_features(
    values: Float[Tensor, "batch image n"], maps: Float[Tensor, "batch image height width n"] | None
) -> Float[Tensor, "batch features"]:
    """Computes the features of `IMAGE_ENTRIES`.

    Args:
        values: Outputs of a layer before its activation, means over positions; without images, all features are 0.
        maps: The outputs position by position; None where positions are not followed.

    Returns:
        One row per network. Magnitudes and spreads are logarithms, shares of neurons and images are times four.
    """
    if not values.shape[1]:
        return values.new_zeros(len(values), len(IMAGE_ENTRIES))
    values = values.contiguous()
    rectified = values.relu()
    activated = rectified if maps is None else maps.relu().mean((2, 3))
    centred = values - values.mean(-1, keepdim=True)
    least = ROUNDING**2 * _mean_square(values)
    both = torch.cat([activated, centred])  # together, since operations on small tensors are slow
    varied = both - both.mean(1, keepdim=True)
    spreads = _spread(both, varied, torch.cat([least, least])).split(len(values))
    num_positive = rectified.sign().sum(1)  # as numbers, which is faster than a comparison
    signs = [4 - num_positive.mean(1) * (4 / values.shape[1]), 4 * (num_positive == 0).float().mean(1)]
    squares = varied[len(values) :].square().mean(1)
    deviations = (_unless_rounding(squares, least[:, None]).sqrt() + SMALL).log()
    ends = [deviations.amin(-1), deviations.amax(-1)]
    return torch.cat([*spreads, torch.stack([*signs, *_choice(values), *ends], -1)], -1)


@cache
def _averages() -> Float[Tensor, "image averages"]:
    """Returns the matrix that gives the mean over all images, then those by pattern."""
    of_patterns = torch.eye(PATTERNS, dtype=torch.float32).repeat_interleave(COPIES, 0) / COPIES
    return torch.cat([of_patterns.mean(1, keepdim=True), of_patterns], 1)


def _mean_square(values: Float[Tensor, "batch m n"]) -> Float[Tensor, " batch"]:
    flat = values.flatten(1)
    return torch.linalg.vecdot(flat, flat) / flat.shape[1]


def _unless_rounding(squares: Float[Tensor, "batch *n"], least: Tensor) -> Float[Tensor, "batch *n"]:
    """Returns mean squares with those of mere rounding replaced by zero."""
    return torch.where(squares > least, squares, 0.0)


def _spread(
    values: Float[Tensor, "batch image n"], varied: Float[Tensor, "batch image n"], least: Float[Tensor, " batch"]
) -> Float[Tensor, "batch features"]:
    """Returns size, spread over images, its share between patterns, and the number of directions that images fill.

    Args:
        values: Values of the neurons.
        varied: Their deviations from the mean over images.
        least: Mean squares up to this one are rounding.
    """
    patterns = varied.unflatten(1, (PATTERNS, COPIES)).mean(2)
    magnitude, total, between = (_unless_rounding(_mean_square(some), least) for some in (values, varied, patterns))
    features = [
        (magnitude.sqrt() + SMALL).log(),
        0.5 * (total / (magnitude + TINY) + SMALL).log(),
        4 * between / (total + SMALL * magnitude + TINY),
        _directions(varied, total),
        _directions(patterns, between),
    ]
    return torch.stack(features, -1)


def _directions(rows: Float[Tensor, "batch m n"], squares: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Returns the logarithm of the number of directions that rows fill about evenly (their participation ratio).

    Args:
        rows: The rows.
        squares: Mean square of their entries; 0 if they are rounding.
    """
    _, size, width = rows.shape
    gram = (torch.bmm(rows, rows.mT) if size < width else torch.bmm(rows.mT, rows)).flatten(1)
    scale = (squares > 0) / (size * width * squares + TINY**2)
    gram = gram * scale[:, None]
    return -(torch.linalg.vecdot(gram, gram) + 1e-3).log()


def _choice(values: Float[Tensor, "batch image n"]) -> list[Float[Tensor, " batch"]]:
    """Returns how surely and how differently the outputs, read as logits, choose for the images."""
    outputs = values.movedim(2, 0).contiguous()  # reductions over the first axis are faster
    top = outputs.amax(0)
    below_top = outputs - top
    is_top = below_top.sign().add_(1)  # as numbers, which is faster than a comparison
    is_sole = (is_top.sum(0) == 1) & (len(outputs) > 1)  # of equal outputs, none is the largest
    margin = torch.where(is_sole, -torch.sub(below_top, is_top, alpha=VAST).amax(0), 0.0)
    largest = is_top.mul_(is_sole).mean(2)
    shares = below_top.exp()
    total = shares.sum(0)
    shares /= total
    averages = shares @ _averages()
    mean = averages[..., 0]
    entropy = _entropy(mean)
    mean_entropy = (total.log() - (shares * below_top).sum(0)).mean(1)
    return [
        entropy,
        mean_entropy,
        entropy - mean_entropy,
        entropy - _entropy(averages[..., 1:]).mean(1),
        4 * (1 / total).mean(1),
        4 * (largest > 0).float().mean(0),
        _entropy(largest),
        signed_log(margin.mean(1)),
        (mean.amax(0) + SMALL).log(),
        (mean.amin(0) + SMALL).log(),
    ]


def _entropy(shares: Float[Tensor, "n *batch"]) -> Float[Tensor, "*batch"]:
    return -(shares * (shares + 1e-9).log()).sum(0)
