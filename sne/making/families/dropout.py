"""Dropout with masks that are fast on a CPU, and can be drawn for many networks at once."""

from typing import Any

import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor, nn

from sne.making.hashing import bytes_of


class ByteDropout(nn.Module):
    """Dropout with one random byte per entry, eight bytes per draw: it is faster than a small convolution.

    Masks come from torch's default generator. If `key` is set, they are hashes of key and position, and the module
    can run under `torch.vmap` with one key and one threshold per network.

    Args:
        probability: Probability that an entry is zeroed, rounded to 1/256. Kept entries are scaled to keep the mean.
        salt: Number of the dropout layer within its network, so that each has a key of its own.
    """

    key: Int32[Tensor, ""] | None = None

    def __init__(self, probability: float, salt: int = 0) -> None:
        super().__init__()
        self.salt = salt
        self.threshold: int | Tensor = min(round(probability * 256), 255)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Zeroes entries at random while training; otherwise the identity."""
        if not self.training or (isinstance(self.threshold, int) and self.threshold == 0):
            return x
        if self.key is not None:
            bits = _KeyedBytes.apply(self.key, x.numel())
            assert isinstance(bits, Tensor)
        else:
            words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
            bits = words.view(torch.uint8)[: x.numel()]
        kept = bits.view(x.shape) >= self.threshold
        return x * (kept * (256 / (256 - self.threshold)))


class _KeyedBytes(torch.autograd.Function):
    """`bytes_of` with a rule for vmap, which cannot view 32-bit words as bytes by itself."""

    @staticmethod
    def forward(key: Tensor, count: int) -> UInt8[Tensor, " bytes"]:
        return bytes_of(key, count)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        key, count = args
        return bytes_of(key.movedim(in_dims[0], 0), count), 0
