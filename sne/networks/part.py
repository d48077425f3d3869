"""Stored tensors and the parts that layers take of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


class Role(StrEnum):
    """The role of a part inside its layer."""

    WEIGHT = "weight"
    BIAS = "bias"
    RECURRENT_WEIGHT = "recurrent_weight"
    RECURRENT_BIAS = "recurrent_bias"
    SCALE = "scale"
    RUNNING_MEAN = "running_mean"
    RUNNING_VAR = "running_var"
    TABLE = "table"


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and stored type of a tensor, known before its values are read."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def num_entries(self) -> int:
        """Number of scalars."""
        return prod(self.shape)


@runtime_checkable
class TensorSource(Protocol):
    """Source of the values of a network: a file, a module or a row of a zoo."""

    @property
    def name(self) -> str:
        """Name of the source in messages: a path, or the class of a module."""
        ...

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor by name. Reading this property loads no values."""
        ...

    def load(self, name: str) -> Tensor:
        """Loads the values of one tensor on the CPU, with scales applied."""
        ...


@runtime_checkable
class RangeSource(TensorSource, Protocol):
    """A tensor source that can load a range of a tensor without the rest of it."""

    def load_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Loads the entries from `start` to `stop` of one tensor in row-major order, as `load` does.

        Returns:
            The entries [stop - start]; None if the source can load this tensor only as a whole.
        """
        ...


@runtime_checkable
class StackSource(TensorSource, Protocol):
    """A tensor source that can load a tensor of many networks at once, such as a row of a zoo."""

    def load_stack(self, name: str, sources: Sequence[TensorSource]) -> Tensor | None:
        """Loads one tensor of several sources, as `load` does for each.

        Args:
            name: Name of the tensor.
            sources: Sources of networks with the same names and shapes; this one is the first.

        Returns:
            The values [sources, ...] in memory of their own; None if the other sources are of another kind.
        """
        ...


@dataclass(frozen=True)
class Part:
    """A stored tensor, or a slice of one, with one role in one layer.

    Args:
        tensor: Name of the stored tensor.
        role: Role in the layer.
        shape: Shape as stored, after the slice and before any transposition.
        out_axis: Axis that counts the neurons that the part feeds; None for a scalar.
        in_axis: Axis that counts the neurons that the part reads; None for a vector. Other axes are kernel positions.
        axis: Axis along which a fused tensor is cut; None if the part is the whole tensor.
        start: First index of the part along `axis`.
        run: Number of indices that follow one another, if the part repeats along `axis` with period `step`.
        step: Indices from the start of one run to the start of the next; 0 if the part is one run. The part starts in
            the first period, ends in the last one, and no run crosses from one period into the next.
        label: Name of the piece of a fused tensor ("query", "reset gate"); empty if the part is the whole tensor.
    """

    tensor: str
    role: Role
    shape: tuple[int, ...]
    out_axis: int | None = 0
    in_axis: int | None = None
    axis: int | None = None
    start: int = 0
    label: str = ""
    run: int = 0
    step: int = 0

    @property
    def num_entries(self) -> int:
        """Number of scalars in the part."""
        return prod(self.shape)

    @property
    def arranged_shape(self) -> tuple[int, int, int]:
        """Shape that `arrange` returns: (out, in, kernel positions)."""
        num_out = 1 if self.out_axis is None else self.shape[self.out_axis]
        num_in = 1 if self.in_axis is None else self.shape[self.in_axis]
        return num_out, num_in, max(self.num_entries, 1) // max(num_out * num_in, 1)

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of the part along `axis`, in order; empty if the part is the whole tensor."""
        if self.axis is None:
            return ()
        length = self.shape[self.axis]
        if not self.step:
            return tuple(range(self.start, self.start + length))
        return tuple(self.start + i // self.run * self.step + i % self.run for i in range(length))

    def select(self, stored: Tensor) -> Tensor:
        """Cuts the part out of its stored tensor, with the axes as stored.

        Args:
            stored: Values of the whole stored tensor, without batch axes.

        Returns:
            The part, as a view where strides allow.
        """
        if self.axis is None:
            return stored.reshape(self.shape)
        if not self.step:
            return stored.narrow(self.axis, self.start, self.shape[self.axis]).reshape(self.shape)
        periods = stored.unflatten(self.axis, (-1, self.step))
        return periods.narrow(self.axis + 1, self.start, self.run).reshape(self.shape)

    def arrange(self, stored: Tensor) -> Float[Tensor, "out in kernel"]:
        """Cuts the part out of its stored tensor and orders its axes as out, in, kernel positions.

        Args:
            stored: Values of the whole stored tensor, without batch axes.

        Returns:
            The part, as a view where strides allow. Inverse: `restore`.
        """
        piece = self.select(stored)
        first = [a for a in (self.out_axis, self.in_axis) if a is not None]
        rest = [a for a in range(piece.ndim) if a not in first]
        return piece.permute([*first, *rest]).reshape(self.arranged_shape)

    def arrange_stack(self, stored: Tensor) -> Float[Tensor, "networks out in kernel"]:
        """Does what `arrange` does for the stored tensors of several networks at once.

        Args:
            stored: Values of the whole stored tensors, with the networks as the first axis.
        """
        networks = stored.shape[0]
        axis = None if self.axis is None else self.axis + 1
        shape = (networks, *self.shape)
        stacked = Part(self.tensor, self.role, shape, axis=axis, start=self.start, run=self.run, step=self.step)
        piece = stacked.select(stored)
        first = [end + 1 for end in (self.out_axis, self.in_axis) if end is not None]
        rest = [a for a in range(1, piece.ndim) if a not in first]
        return piece.permute([0, *first, *rest]).reshape(networks, *self.arranged_shape)

    def restore(self, arranged: Float[Tensor, "out in kernel"]) -> Tensor:
        """Returns the part in its stored axis order. Inverse of `arrange`, for the part alone."""
        first = [a for a in (self.out_axis, self.in_axis) if a is not None]
        order = first + [a for a in range(len(self.shape)) if a not in first]
        piece = arranged.reshape([self.shape[a] for a in order])
        return piece.permute([order.index(a) for a in range(len(order))])
