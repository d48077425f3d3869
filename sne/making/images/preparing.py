"""Brings images to the channels and the size of a recipe, and checks and splits their labels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from sne.errors import ZooError

CHANNELS = ("as_is", "grey", "rgb")
_PIECE = 4096  # images at a time, which limits the memory for floats
_LUMA = (19595, 38470, 7471)  # of 65,536: ITU-R 601 as Pillow rounds it


@dataclass(frozen=True)
class Form:
    """The form that images are brought into.

    Args:
        size: Height and width in pixels to resample to; None keeps their size.
        channels: "as_is", "grey" (one channel, the luminance) or "rgb" (three channels).

    Raises:
        ZooError: A setting is not valid.
    """

    size: int | None = None
    channels: str = "as_is"

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ZooError(f"image_size is {self.size}, expected at least 1")
        if self.channels not in CHANNELS:
            raise ZooError(f"channels {self.channels!r} is not known, expected one of {', '.join(CHANNELS)}")

    def apply(
        self, images: UInt8[Tensor, "n channels height width"], where: str
    ) -> UInt8[Tensor, "n out_channels out_height out_width"]:
        """Brings images of one shape into this form.

        Args:
            images: The images.
            where: Name of the images in error messages.

        Raises:
            ZooError: Grey or RGB is requested, and the images have neither one nor three channels.
        """
        if self.channels != "as_is" and images.shape[1] not in (1, 3):
            raise ZooError(
                f"{where}: {images.shape[1]} channels cannot be converted to {self.channels}, expected 1 or 3"
            )
        if self.channels == "grey" and images.shape[1] == 3:
            images = torch.cat([_grey(piece) for piece in images.split(_PIECE)])
        elif self.channels == "rgb" and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1).contiguous()
        if self.size is None or tuple(images.shape[2:]) == (self.size, self.size):
            return images
        return torch.cat([_resample(piece, self.size) for piece in images.split(_PIECE)])

    def collect(
        self, images: Iterable[tuple[str, UInt8[Tensor, "_ _ _"]]]
    ) -> UInt8[Tensor, "n out_channels out_height out_width"]:
        """Brings images into this form, one by one, and returns them as one tensor.

        Args:
            images: Pairs of a name for error messages and an image [channels, height, width]; at least one.

        Raises:
            ZooError: The resulting images differ in size or channels; the message names two that differ.
        """
        collected: list[Tensor] = []
        first = ""
        for where, image in images:
            image = self.apply(image[None], where)
            if collected and image.shape != collected[0].shape:
                raise ZooError(_mixed(first, collected[0], where, image))
            first = first or where
            collected.append(image)
        return torch.cat(collected)


def _mixed(first: str, one: Tensor, second: str, other: Tensor) -> str:
    if one.shape[2:] != other.shape[2:]:
        sizes = [f"{image.shape[2]} x {image.shape[3]}" for image in (one, other)]
        return f"images of mixed sizes: {first} is {sizes[0]}, {second} is {sizes[1]}; give an image_size"
    counts = f"{first} has {one.shape[1]} channels, {second} has {other.shape[1]}"
    return f"images of mixed channels: {counts}; set channels to grey or rgb"


def _grey(images: Tensor) -> Tensor:
    red, green, blue = (images[:, i : i + 1].to(torch.int32) * _LUMA[i] for i in range(3))
    return ((red + green + blue + (1 << 15)) >> 16).to(torch.uint8)


def _resample(images: Tensor, size: int) -> Tensor:
    floats = interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return floats.round().clamp(0, 255).to(torch.uint8)


def check_labels(labels: np.ndarray, count: int, where: str) -> Int[Tensor, " n"]:
    """Returns class numbers as a tensor.

    Args:
        labels: Labels as they were read.
        count: Number of images.
        where: Name of the labels in error messages.

    Raises:
        ZooError: The labels are not one whole number per image, from 0.
    """
    if labels.ndim != 1 or len(labels) != count or not np.issubdtype(labels.dtype, np.integer):
        raise ZooError(f"{where}: expected {count} whole numbers, got {labels.dtype} {list(labels.shape)}")
    if labels.min() < 0 or labels.max() > 9999:
        raise ZooError(f"{where}: classes must lie in 0..9999, got {labels.min()}..{labels.max()}")
    return torch.from_numpy(labels.astype(np.int64))


_SHARE = 0.2


def hold_out(labels: Sequence[int], where: str) -> tuple[list[int], list[int]]:
    """Splits images: a fixed random fifth of every class is held out, at least one image.

    Args:
        labels: Class of each image.
        where: Name of the images in error messages.

    Returns:
        Training rows and test rows, in increasing order. The same labels give the same rows.

    Raises:
        ZooError: A class has only one image.
    """
    rng = np.random.default_rng(0)
    held: list[int] = []
    by_class = np.asarray(labels)
    for label in np.unique(by_class):
        rows = np.flatnonzero(by_class == label)
        if len(rows) < 2:
            raise ZooError(f"{where}: class {int(label)} has one image; without a test part it needs two")
        held += rng.permutation(rows)[: max(round(_SHARE * len(rows)), 1)].tolist()
    return sorted(set(range(len(labels))) - set(held)), sorted(held)
