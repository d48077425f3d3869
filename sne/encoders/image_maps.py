"""Maps: what convolutions make of the synthetic images, position by position, while the images are large enough."""

from math import isqrt, prod

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.images import draw_images
from sne.encoders.measures import WholeTensor
from sne.networks import Part

SIDE = 7
"""Side of the images that a convolution reads, unless its kernel is larger."""

MOST_CHANNELS = 4
"""Largest number of channels of images; each channel holds the same grey image."""

SMALLEST_IMAGE, LARGEST_IMAGE = 4, 64
"""Sides of images that a linear or recurrent layer reads, and largest side of a kernel."""

SEQUENCE = 8
"""Number of rows of an image that a recurrent layer reads, one after the other."""

WINDOW_ENTRIES = 1 << 22
"""Number of entries of the windows that are multiplied at once, unless one network has more; bounds their memory."""


def kernel_sides(part: Part) -> tuple[int, int] | None:
    """Returns height and width of the kernel of a convolution with two axes; None for others."""
    sides = [size for axis, size in enumerate(part.shape) if axis not in (part.out_axis, part.in_axis)]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def first_maps(num_in: int, sides: tuple[int, int]) -> Float[Tensor, "1 image height width channel"] | None:
    """Returns the images as a convolution reads them that is the first layer of a network.

    Args:
        num_in: Number of channels that it reads.
        sides: Height and width of its kernel.

    Returns:
        The images, the same ones in each channel; None if the convolution does not read images.
    """
    if num_in > MOST_CHANNELS or max(sides) > LARGEST_IMAGE or max(sides) == 1:
        return None
    images = draw_images(*(max(SIDE, side) for side in sides))
    return images[None, ..., None].expand(-1, -1, -1, -1, num_in)


def first_vectors(num_in: int) -> Float[Tensor, "image in"] | None:
    """Returns the images as a linear layer reads them that is the first layer of a network, channel by channel.

    Args:
        num_in: Number of its inputs.

    Returns:
        Square images with one channel or three; None if the number of inputs fits neither.
    """
    for channels in (1, 3):
        side = isqrt(num_in // channels)
        if SMALLEST_IMAGE <= side <= LARGEST_IMAGE and channels * side**2 == num_in:
            return draw_images(side, side).flatten(1).repeat(1, channels)
    return None


def first_rows(num_in: int) -> Float[Tensor, "image step in"] | None:
    """Returns the images as a recurrent layer reads them, row by row; None if it reads no rows of images."""
    return draw_images(SEQUENCE, num_in) if SMALLEST_IMAGE <= num_in <= LARGEST_IMAGE else None


def convolve(
    maps: Float[Tensor, "batch image height width in"], tensor: WholeTensor, sides: tuple[int, int]
) -> Float[Tensor, "_ image h w out"] | None:
    """Applies a convolution of stride 1 without padding.

    Args:
        maps: What the convolution reads; those of the first layer are the same for all networks, with a batch of 1.
        tensor: Its weight; depthwise if it reads one neuron and feeds as many as the maps have.
        sides: Height and width of its kernel.

    Returns:
        The maps behind it, without a bias; None if the kernel does not fit.
    """
    height, width, channels = maps.shape[2:]
    if sides[0] > height or sides[1] > width:
        return None
    if tensor.num_in == 1 and channels == tensor.num_out > 1:
        return _convolve_depthwise(maps, tensor.weights[:, :, 0], sides)
    if tensor.num_in != channels:
        return None
    if len(maps) < tensor.batch:
        return _convolve_dense(maps, tensor.weights, sides)
    positions = (height - sides[0] + 1) * (width - sides[1] + 1)
    step = max(1, WINDOW_ENTRIES // (maps.shape[1] * positions * channels * tensor.kernel))
    pieces = zip(maps.split(step), tensor.weights.split(step), strict=True)
    return torch.cat([_convolve_dense(some, weights, sides) for some, weights in pieces])


def _convolve_dense(
    maps: Float[Tensor, "_ image height width in"],
    weights: Float[Tensor, "batch out in kernel"],
    sides: tuple[int, int],
) -> Float[Tensor, "batch image h w out"]:
    windows = maps.unfold(2, sides[0], 1).unfold(3, sides[1], 1).movedim(4, 6)  # batch image h w kh kw in
    rows = windows.reshape(len(maps), prod(windows.shape[1:4]), -1).expand(len(weights), -1, -1)
    kernels = weights.permute(0, 3, 2, 1).flatten(1, 2)  # batch (kernel in) out
    return torch.bmm(rows, kernels).unflatten(1, windows.shape[1:4])


def _convolve_depthwise(
    maps: Float[Tensor, "batch image height width n"], kernels: Float[Tensor, "batch n kernel"], sides: tuple[int, int]
) -> Float[Tensor, "batch image h w n"]:
    high, wide = (size - side + 1 for size, side in zip(maps.shape[2:4], sides, strict=True))
    places = [(top, left) for top in range(sides[0]) for left in range(sides[1])]
    out = maps.new_zeros(*maps.shape[:2], high, wide, maps.shape[4])
    for (top, left), weight in zip(places, kernels.unbind(2), strict=True):
        out.addcmul_(maps[:, :, top : top + high, left : left + wide], weight[:, None, None, None])
    return out


def flattened(
    maps: Float[Tensor, "batch image height width neuron"], times: int
) -> Float[Tensor, "batch image inputs"] | None:
    """Returns the middle of maps as a linear layer with `times` inputs per neuron reads it; None if none fits."""
    side = isqrt(times)
    height, width = maps.shape[2:4]
    if side**2 != times or side > min(height, width):
        return None
    top, left = (height - side) // 2, (width - side) // 2
    return maps[:, :, top : top + side, left : left + side].movedim(4, 2).flatten(2)
