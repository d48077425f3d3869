"""Signal features of one layer: what it makes of the synthetic images.

The copies of a pattern should be alike to a network that has learned, and patterns should differ. The outputs of each
layer are also read as if they were logits, which they are in the last layer.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.features import TINY, deviation, signed_log, softmax
from sne.encoders.images import COPIES, PATTERNS

SMALL = 1e-6
"""Added to magnitudes before a logarithm."""

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
    activated = values.relu() if maps is None else maps.relu().mean((2, 3))
    centred = values - values.mean(-1, keepdim=True)
    signs = [4 * (values <= 0).float().mean((1, 2)), 4 * (values.amax(1) <= 0).float().mean(-1)]
    return torch.stack([*_spread(activated), *_spread(centred), *signs, *_choice(values, centred)], -1)


def _spread(values: Float[Tensor, "batch image n"]) -> list[Float[Tensor, " batch"]]:
    """Size, spread over images, its share between patterns, and the number of directions that images fill."""
    magnitude = values.square().mean((1, 2))
    varied = values - values.mean(1, keepdim=True)
    patterns = varied.unflatten(1, (PATTERNS, COPIES)).mean(2)
    total, between = varied.square().mean((1, 2)), patterns.square().mean((1, 2))
    return [
        (magnitude.sqrt() + SMALL).log(),
        0.5 * (total / (magnitude + TINY) + SMALL).log(),
        4 * between / (total + SMALL * magnitude + TINY),
        _directions(varied),
        _directions(patterns),
    ]


def _directions(rows: Float[Tensor, "batch m n"]) -> Float[Tensor, " batch"]:
    """Returns the logarithm of the number of directions that rows fill about evenly (their participation ratio)."""
    rows = rows / (rows.flatten(1).norm(dim=1) + TINY)[:, None, None]
    gram = (
        torch.bmm(rows, rows.transpose(1, 2))
        if rows.shape[1] < rows.shape[2]
        else torch.bmm(rows.transpose(1, 2), rows)
    )
    return -(gram.flatten(1).square().sum(1) + 1e-3).log()


def _choice(
    values: Float[Tensor, "batch image n"], centred: Float[Tensor, "batch image n"]
) -> list[Float[Tensor, " batch"]]:
    """How surely and how differently the outputs, read as logits, choose for the images."""
    shares = softmax(values)
    mean, of_patterns = shares.mean(1), shares.unflatten(1, (PATTERNS, COPIES)).mean(2)
    entropy, mean_entropy = _entropy(mean), _entropy(shares).mean(1)
    top = values.topk(min(2, values.shape[-1]), -1)
    largest = (values > top.values[..., -1:]).float().mean(1)  # of equal outputs, none is the largest
    spreads = (deviation(centred, 1) + SMALL).log()
    return [
        entropy,
        mean_entropy,
        entropy - mean_entropy,
        entropy - _entropy(of_patterns).mean(1),
        4 * shares.amax(-1).mean(1),
        4 * (largest > 0).float().mean(1),
        _entropy(largest),
        signed_log((top.values[..., 0] - top.values[..., -1]).mean(1)),
        (mean.amax(-1) + SMALL).log(),
        (mean.amin(-1) + SMALL).log(),
        spreads.amin(-1),
        spreads.amax(-1),
    ]


def _entropy(shares: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    return -torch.linalg.vecdot(shares, (shares + 1e-9).log())
