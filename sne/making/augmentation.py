"""Random changes of training images, as functions of key and step."""

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from sne.making.hashing import bytes_of, mask_keys

AUGMENTATIONS = ("none", "crop", "crop_flip")
"""Values of the hyper-parameter `augment`; "none" leaves the images as they are."""

_REACH = 2
_SALT = 1 << 20  # beyond those of dropout layers


def augment(
    images: Float[Tensor, "networks batch channels height width"],
    keys: Int32[Tensor, " networks"],
    kind: str,
    step: int,
) -> Float[Tensor, "networks batch channels height width"]:
    """Returns images with a random change each, which depends on the key, the step and the place in the batch only.

    Source: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2.
    Differs: images move by up to 2 pixels in place of 4, and their borders are repeated in place of padding with zeros,
    so that the result does not depend on the scaling of the images.

    Args:
        images: Images of one step.
        keys: Key per network.
        kind: "crop" for a move by up to 2 pixels in each direction; "crop_flip" for a move, and a reflection
            of every second image from left to right.
        step: Number of the step.
    """
    networks, batch, channels, height, width = images.shape
    drawn = bytes_of(mask_keys(keys, step, _SALT), 3 * batch).to(torch.int64).view(networks, batch, 3)
    rows, columns = _moved(height, drawn[..., 0]), _moved(width, drawn[..., 1])
    if kind == "crop_flip":
        columns = torch.where(drawn[..., 2:] < 128, width - 1 - columns, columns)
    places = (rows[..., :, None] * width + columns[..., None, :]).flatten(2)[:, :, None]
    return images.flatten(3).gather(3, places.expand(-1, -1, channels, -1)).view_as(images)


def _moved(size: int, drawn: Int64[Tensor, "networks batch"]) -> Int64[Tensor, "networks batch size"]:
    """Returns the row (or column) of the image that each row of the result shows."""
    moves = drawn * (2 * _REACH + 1) // 256 - _REACH
    return (torch.arange(size, device=drawn.device) + moves[..., None]).clamp(0, size - 1)
