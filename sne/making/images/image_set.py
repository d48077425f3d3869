"""Labelled images to train on, kept as bytes."""

import zlib
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sne.making.images.normalising import UNIT, Scaling


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, kept as bytes; a batch is scaled when it is taken.

    Args:
        name: what the column `dataset` says.
        x_train: training images.
        y_train: their classes, from 0.
        x_test: test images.
        y_test: their classes.
        classes: names of the classes in order; empty where the source has none.
        scaling: from a byte to what a network sees.
    """

    name: str
    x_train: UInt8[Tensor, "train channels height width"]
    y_train: Int[Tensor, " train"]
    x_test: UInt8[Tensor, "test channels height width"]
    y_test: Int[Tensor, " test"]
    classes: tuple[str, ...] = ()
    scaling: Scaling = UNIT

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of named classes, or the largest label of the training images plus one."""
        return len(self.classes) or int(self.y_train.max()) + 1

    @property
    def checksum(self) -> str:
        """CRC-32 of all images and labels, eight hex digits."""
        crc = 0
        for tensor in (self.x_train, self.y_train, self.x_test, self.y_test):
            crc = zlib.crc32(tensor.cpu().contiguous().numpy().data, crc)
        return f"{crc:08x}"

    def scale(
        self, images: UInt8[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """Bytes to float32, normalised as the set says.

        Args:
            images: rows of `x_train` or `x_test`, on any device.
        """
        return self.scaling(images)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same images on another device."""
        names = ("x_train", "y_train", "x_test", "y_test")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})
