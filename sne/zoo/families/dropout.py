"""Dropout whose masks are cheap on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ByteDropout(nn.Module):
    """Dropout with one random byte an entry, eight to a draw: cheaper than a small convolution.

    Args:
        probability: of an entry being zeroed; rounded to 1/256. Kept entries are scaled to keep the mean.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self._threshold = min(round(probability * 256), 255)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Zeroes entries at random while training; the identity otherwise. Uses torch's default generator."""
        if not self.training or self._threshold == 0:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self._threshold
        return x * (kept * (256 / (256 - self._threshold)))
