"""Labelled images, kept as bytes, and how bytes become the numbers that a network reads."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """Scales bytes: byte * multiply + add, with one pair for all channels or one per channel.

    Args:
        multiply: Factors.
        add: Offsets, one per factor.
    """

    multiply: tuple[float, ...]
    add: tuple[float, ...]

    def __call__(
        self, images: UInt8[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """Scales images."""
        scaled = images.to(torch.float32)
        if len(self.multiply) == 1:  # plain numbers are faster in the training loop
            return scaled.mul_(self.multiply[0]).add_(self.add[0])
        return scaled.mul_(_by_channel(self.multiply, images.device)).add_(_by_channel(self.add, images.device))


UNIT = Scaling((2 / 255,), (-1.0,))
_ZERO_ONE = Scaling((1 / 255,), (0.0,))


def standard(x_train: UInt8[Tensor, "train channels height width"]) -> Scaling:
    """Returns the scaling to mean 0 and variance 1 per channel. Constant channels are only centred."""
    levels = torch.arange(256, dtype=torch.float64)
    multiply, add = [], []
    for channel in x_train.unbind(1):
        counts = sum(torch.bincount(piece.flatten(), minlength=256) for piece in channel.split(4096))
        share = torch.as_tensor(counts).double() / channel.numel()
        mean = float(share @ levels)
        deviation = float(share @ (levels - mean).square()) ** 0.5 or 1.0
        multiply.append(1 / deviation)
        add.append(-mean / deviation)
    return Scaling(tuple(multiply), tuple(add))


NORMALISATIONS: Mapping[str, Callable[[Tensor], Scaling]] = {
    "unit": lambda x_train: UNIT,  # [-1, 1]
    "zero_one": lambda x_train: _ZERO_ONE,
    "standard": standard,
}


@lru_cache(maxsize=64)
def _by_channel(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "channels 1 1"]:
    with torch.inference_mode(False):  # the tensors are cached for calls outside inference mode
        return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, kept as bytes and scaled batch by batch.

    Args:
        name: Name of the image set, the value of the column `dataset`.
        x_train: Training images.
        y_train: Classes of the training images, from 0.
        x_test: Test images.
        y_test: Classes of the test images.
        classes: Names of the classes in order; empty if the source has none.
        scaling: Scaling from bytes to the inputs of networks.
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
        """Channels, height and width."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of named classes, or the largest label of the training images plus one."""
        return len(self.classes) or int(self.y_train.max()) + 1

    @property
    def checksum(self) -> str:
        """CRC-32 of all images and labels, as eight hexadecimal digits."""
        crc = 0
        for tensor in (self.x_train, self.y_train, self.x_test, self.y_test):
            crc = zlib.crc32(tensor.cpu().contiguous().numpy().data, crc)
        return f"{crc:08x}"

    def scale(
        self, images: UInt8[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """Returns images as normalised float32.

        Args:
            images: Rows of `x_train` or `x_test`, on any device.
        """
        return self.scaling(images)

    def to(self, device: torch.device | str) -> "ImageSet":
        """Returns the same images on another device."""
        names = ("x_train", "y_train", "x_test", "y_test")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})
