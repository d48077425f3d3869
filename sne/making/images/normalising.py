"""From the bytes of an image to the numbers that a network sees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """byte * multiply + add; one pair for all channels, or one for each.

    Args:
        multiply: factors.
        add: summands, as many.
    """

    multiply: tuple[float, ...]
    add: tuple[float, ...]

    def __call__(
        self, images: UInt8[Tensor, "*batch channels height width"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """Scales images."""
        scaled = images.to(torch.float32)
        if len(self.multiply) == 1:  # numbers, not tensors: nothing to broadcast in the training loop
            return scaled.mul_(self.multiply[0]).add_(self.add[0])
        return scaled.mul_(_by_channel(self.multiply, images.device)).add_(_by_channel(self.add, images.device))


UNIT = Scaling((2 / 255,), (-1.0,))
_ZERO_ONE = Scaling((1 / 255,), (0.0,))


def standard(x_train: UInt8[Tensor, "train channels height width"]) -> Scaling:
    """Mean 0 and variance 1 over the training images, channel by channel; a constant channel is only centred."""
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
    with torch.inference_mode(False):  # kept for later calls, which may be outside inference mode
        return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
