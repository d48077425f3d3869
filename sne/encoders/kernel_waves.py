"""Waves of convolution kernels: sums over all kernels of a tensor, which can be added up piece by piece."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

WAVES = 3
"""Number of wave orders along each axis of a kernel."""


@cache
def cosine_waves(positions: int) -> Float[Tensor, "waves positions"]:
    """Returns the waves of orders 0, 1 and 2 along each axis of a kernel (discrete cosine transform).

    Args:
        positions: Number of kernel positions. A square number is read as a square kernel, any other as a line.

    Returns:
        At most nine orthonormal rows; a kernel with two positions per axis has fewer orders.
    """
    side = math.isqrt(positions)
    side = side if side * side == positions else positions
    orders = torch.arange(min(side, WAVES), dtype=torch.float32)
    waves = torch.cos(math.pi * (torch.arange(side, dtype=torch.float32) + 0.5) * orders[:, None] / side)
    waves = waves / waves.norm(dim=1, keepdim=True)
    if side == positions:
        return waves
    return torch.einsum("pi,qj->pqij", waves, waves).reshape(-1, positions)


@dataclass(frozen=True)
class WaveSums:
    """Sums over the kernels of a tensor, for several networks.

    Args:
        energy: Squared coefficients of each wave of `cosine_waves`.
        signed: The coefficients.
        positions: Squares of the weights at each kernel position.
    """

    energy: Float[Tensor, "batch waves"]
    signed: Float[Tensor, "batch waves"]
    positions: Float[Tensor, "batch positions"]

    @classmethod
    def zeros(cls, batch: int, kernel: int) -> "WaveSums":
        """Returns the sums from which `add` starts.

        Args:
            batch: Number of networks.
            kernel: Number of kernel positions.
        """
        waves = len(cosine_waves(kernel))
        return cls(*(torch.zeros(batch, size, dtype=torch.float32) for size in (waves, waves, kernel)))

    @classmethod
    def concat(cls, items: Sequence["WaveSums"]) -> "WaveSums":
        """Joins the sums of several batches, networks in order."""
        return cls(*(torch.cat([getattr(item, field.name) for item in items]) for field in fields(cls)))

    def times(self, factor: float) -> "WaveSums":
        """Returns the sums for `factor` times as many kernels, such as all of a tensor, from those of a sample."""
        return WaveSums(self.energy * factor, self.signed * factor, self.positions * factor)

    def add(self, weights: Float[Tensor, "batch out in kernel"], squares: Float[Tensor, "batch out in kernel"]) -> None:
        """Adds kernels.

        Args:
            weights: The kernels.
            squares: Their squares.
        """
        waves = cosine_waves(weights.shape[-1])
        kernels = weights.flatten(1, 2)
        self.signed.add_(kernels.sum(1) @ waves.T)
        self.energy.add_(torch.linalg.vector_norm(waves @ kernels.transpose(1, 2), dim=2).square())
        self.positions.add_(squares.flatten(1, 2).sum(1))
