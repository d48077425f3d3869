"""A network once it is read: layers in order, each made of parts, tensors loaded one at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sne.networks.types import LayerType, Role


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
    """Where a network's values come from: a file, a module, a row of a zoo."""

    @property
    def name(self) -> str:
        """What messages call this source: a path, or the class of a module."""
        ...

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor, by name. Reading this loads no values."""
        ...

    def load(self, name: str) -> Tensor:
        """The values of one tensor, scales applied, on the CPU."""
        ...


@dataclass(frozen=True)
class Part:
    """One role-bearing piece of one stored tensor: all of it, or a slice of a fused one.

    Args:
        tensor: name of the stored tensor.
        role: what it does in its layer.
        shape: shape of the piece as stored (after the slice, before any transposition).
        out_axis: axis of the piece that counts the neurons it feeds; None for a scalar.
        in_axis: axis that counts the neurons it reads; None for vectors. Further axes are kernel positions.
        axis: the axis along which a fused tensor is cut; None when the piece is the whole tensor.
        start: first index of the piece along `axis`.
        label: which piece of a fused tensor this is ("query", "reset gate"); empty otherwise.
    """

    tensor: str
    role: Role
    shape: tuple[int, ...]
    out_axis: int | None = 0
    in_axis: int | None = None
    axis: int | None = None
    start: int = 0
    label: str = ""

    @property
    def num_entries(self) -> int:
        """Number of scalars in the piece."""
        return prod(self.shape)

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """(out, in, kernel positions), the shape that `canonical` gives."""
        num_out = 1 if self.out_axis is None else self.shape[self.out_axis]
        num_in = 1 if self.in_axis is None else self.shape[self.in_axis]
        return num_out, num_in, max(self.num_entries, 1) // max(num_out * num_in, 1)

    def canonical(self, stored: Tensor) -> Float[Tensor, "out in kernel"]:
        """Cuts the piece out of its stored tensor and orders the axes as out, in, kernel positions.

        Args:
            stored: the whole stored tensor; leading batch axes are not allowed.

        Returns:
            The piece, a view where strides allow. Inverse: `restore`.
        """
        piece = stored if self.axis is None else stored.narrow(self.axis, self.start, self.shape[self.axis])
        piece = piece.reshape(self.shape)
        first = [a for a in (self.out_axis, self.in_axis) if a is not None]
        rest = [a for a in range(piece.ndim) if a not in first]
        return piece.permute([*first, *rest]).reshape(self.canonical_shape)

    def restore(self, canonical: Float[Tensor, "out in kernel"]) -> Tensor:
        """The piece in its stored axis order. Inverse of `canonical` (for the piece alone)."""
        first = [a for a in (self.out_axis, self.in_axis) if a is not None]
        order = first + [a for a in range(len(self.shape)) if a not in first]
        piece = canonical.reshape([self.shape[a] for a in order])
        return piece.permute([order.index(a) for a in range(len(order))])


@dataclass(frozen=True)
class Layer:
    """A layer: its name, its type, its level (position in depth, from 0) and its parts."""

    name: str
    type: LayerType
    level: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Note:
    """Why a stored tensor is not, or not plainly, among the parts: tied, a counter, not understood."""

    tensor: str
    reason: str


@dataclass(frozen=True)
class Network:
    """A network that has been read: its layers in order of level, and where the values are.

    Two branches at the same depth share a level. `notes` says of every stored tensor that is not used,
    or is used in an unsure way, why.
    """

    name: str
    layers: tuple[Layer, ...]
    source: TensorSource
    notes: tuple[Note, ...] = ()

    @property
    def num_levels(self) -> int:
        """Number of levels: the largest plus one."""
        return max((layer.level for layer in self.layers), default=-1) + 1

    @property
    def num_weights(self) -> int:
        """Number of scalars in all parts."""
        return sum(part.num_entries for layer in self.layers for part in layer.parts)

    def parts(self) -> Iterator[tuple[Layer, Part]]:
        """Every part with its layer, in order."""
        for layer in self.layers:
            for part in layer.parts:
                yield layer, part

    def read(self, part: Part) -> Float[Tensor, "out in kernel"]:
        """Loads one part in float32, axes ordered as out, in, kernel positions."""
        return part.canonical(self.source.load(part.tensor)).to(torch.float32)
