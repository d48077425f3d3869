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
    activated = values.relu() if maps is None else maps.relu().mean((2, 3))
    centred = values - values.mean(-1, keepdim=True)
    least = ROUNDING**2 * _mean_square(values)
    signs = [4 * (values <= 0).float().mean((1, 2)), 4 * (values.amax(1) <= 0).float().mean(-1)]
    spreads = [*_spread(activated, least), *_spread(centred, least)]
    return torch.stack([*spreads, *signs, *_choice(values), *_ends_of_spread(centred, least)], -1)


def _mean_square(values: Float[Tensor, "batch m n"]) -> Float[Tensor, " batch"]:
    return values.flatten(1).square().mean(1)


def _unless_rounding(squares: Float[Tensor, "batch *n"], least: Tensor) -> Float[Tensor, "batch *n"]:
    """Returns mean squares with those of mere rounding replaced by zero."""
    return torch.where(squares > least, squares, 0.0)


def _spread(values: Float[Tensor, "batch image n"], least: Float[Tensor, " batch"]) -> list[Float[Tensor, " batch"]]:
    """Size, spread over images, its share between patterns, and the number of directions that images fill.

    All but the size is computed from the Gram matrix of the deviations of the images from their mean.
    """
    magnitude = _unless_rounding(_mean_square(values), least)
    varied = values - values.mean(1, keepdim=True)
    gram = torch.bmm(varied, varied.transpose(1, 2)) / values.shape[2]
    of_patterns = gram.unflatten(2, (PATTERNS, COPIES)).mean(3).unflatten(1, (PATTERNS, COPIES)).mean(2)
    total, between = (_unless_rounding(one.diagonal(dim1=1, dim2=2).mean(1), least) for one in (gram, of_patterns))
    return [
        (magnitude.sqrt() + SMALL).log(),
        0.5 * (total / (magnitude + TINY) + SMALL).log(),
        4 * between / (total + SMALL * magnitude + TINY),
        _directions(gram, total),
        _directions(of_patterns, between),
    ]


def _directions(gram: Float[Tensor, "batch m m"], mean: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Returns the logarithm of the number of directions that rows fill about evenly (their participation ratio).

    Args:
        gram: Gram matrix of the rows.
        mean: Mean of its diagonal; 0 if the rows are rounding.
    """
    size = gram.shape[1] * mean + TINY**2
    shares = gram.flatten(1) * (mean > 0)[:, None] / size[:, None]
    return -(shares.square().sum(1) + 1e-3).log()


def _choice(values: Float[Tensor, "batch image n"]) -> list[Float[Tensor, " batch"]]:
    """How surely and how differently the outputs, read as logits, choose for the images."""
    shares = softmax(values)
    mean, of_patterns = shares.mean(1), shares.unflatten(1, (PATTERNS, COPIES)).mean(2)
    entropy, mean_entropy = _entropy(mean), _entropy(shares).mean(1)
    top = values.topk(min(2, values.shape[-1]), -1).values
    largest = (values > top[..., -1:]).float().mean(1)  # of equal outputs, none is the largest
    return [
        entropy,
        mean_entropy,
        entropy - mean_entropy,
        entropy - _entropy(of_patterns).mean(1),
        4 * shares.amax(-1).mean(1),
        4 * (largest > 0).float().mean(1),
        _entropy(largest),
        signed_log((top[..., 0] - top[..., -1]).mean(1)),
        (mean.amax(-1) + SMALL).log(),
        (mean.amin(-1) + SMALL).log(),
    ]


def _ends_of_spread(
    centred: Float[Tensor, "batch image n"], least: Float[Tensor, " batch"]
) -> list[Float[Tensor, " batch"]]:
    """Least and largest deviation of one output over the images."""
    squares = _unless_rounding(deviation(centred, 1).square(), least[:, None])
    spreads = (squares.sqrt() + SMALL).log()
    return [spreads.amin(-1), spreads.amax(-1)]


def _entropy(shares: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    return -torch.linalg.vecdot(shares, (shares + 1e-9).log())
