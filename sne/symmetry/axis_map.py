"""Where the entries of one axis come from, and what they are multiplied by."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class AxisMap:
    """The change of one axis: `new[i] = factor[i] * old[index[i]]`.

    Args:
        index: a permutation of the axis.
        factor: of each new entry; None where all are 1.
    """

    index: Int64[Tensor, " axis"]
    factor: Float[Tensor, " axis"] | None = None

    def inverse(self) -> "AxisMap":
        """The map that undoes this one."""
        back = torch.empty_like(self.index)
        back[self.index] = torch.arange(len(back))
        return AxisMap(back, None if self.factor is None else self.factor[back].reciprocal())

    def after(self, first: "AxisMap") -> "AxisMap":
        """The map that does `first`, then this one."""
        factor = None if first.factor is None else first.factor[self.index]
        if self.factor is not None:
            factor = self.factor if factor is None else self.factor * factor
        return AxisMap(first.index[self.index], factor)

    def apply(self, tensor: Tensor, dim: int) -> Tensor:
        """A changed copy of a tensor, on its device and in its dtype."""
        moved = tensor.index_select(dim, self.index.to(tensor.device))
        if self.factor is not None:
            shape = [1] * tensor.ndim
            shape[dim] = -1
            moved = moved * self.factor.to(tensor.device, tensor.dtype).view(shape)
        return moved


@dataclass(frozen=True)
class AxisMixing:
    """Entries of one axis that a matrix mixes.

    Args:
        positions: of the mixed entries; each row is mixed by itself.
        matrix: new = matrix @ old, float64.
    """

    positions: Int64[Tensor, "repeats size"]
    matrix: Float[Tensor, "size size"]

    def apply(self, tensor: Tensor, dim: int) -> Tensor:
        """A changed copy of a tensor, on its device and in its dtype."""
        positions = self.positions.to(tensor.device)
        precise = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        moved = tensor.movedim(dim, 0)
        old = moved[positions].to(precise)
        new = torch.einsum("ij,rj...->ri...", self.matrix.to(tensor.device, precise), old)
        return moved.index_put((positions,), new.to(tensor.dtype)).movedim(0, dim)
