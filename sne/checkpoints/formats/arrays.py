"""Arrays of other frameworks, turned to the axes of torch when they are loaded."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo


@dataclass(frozen=True)
class StoredArray:
    """An array as a file has it.

    Args:
        key: Where the file has it.
        shape: Shape as stored.
        dtype: Element type, such as "float32".
    """

    key: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class TurnedArray:
    """A tensor in the axes of torch, and how it is made from a stored array.

    The steps are, in this order: take a row, flip axes, view with other axes, permute, reshape, reorder blocks.

    Args:
        name: Name of the tensor.
        stored: The stored array.
        row: Index along the first axis that is taken; None for the whole array.
        flips: Axes that are reversed.
        view: Shape before the permutation; None if it is the stored one.
        axes: Order of the axes; None if it stays.
        shape: Shape of the tensor.
        blocks: Order of equal blocks along the first axis, such as gates; empty if it stays.
    """

    name: str
    stored: StoredArray
    shape: tuple[int, ...]
    row: int | None = None
    flips: tuple[int, ...] = ()
    view: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None
    blocks: tuple[int, ...] = ()

    @property
    def info(self) -> TensorInfo:
        """Name, shape and stored type."""
        return TensorInfo(self.name, self.shape, self.stored.dtype)

    def load(self, read: Callable[[StoredArray], Tensor], name: str) -> Tensor:
        """Reads the stored array and makes the tensor from it.

        Args:
            read: Reads a stored array.
            name: The file, for error messages.
        """
        values = read(self.stored)
        if tuple(values.shape) != self.stored.shape:
            came, expected = list(values.shape), list(self.stored.shape)
            raise CheckpointError(name, f"array {self.stored.key!r} has shape {came}, expected {expected}")
        return self.turn(values)

    def turn(self, values: Tensor) -> Tensor:
        """Makes the tensor from the values of the stored array."""
        if self.row is not None:
            values = values[self.row]
        if self.flips:
            values = values.flip(self.flips)
        if self.view is not None:
            values = values.reshape(self.view)
        if self.axes is not None:
            values = values.permute(self.axes)
        values = values.reshape(self.shape)
        if self.blocks:
            pieces = values.chunk(len(self.blocks))
            values = torch.cat([pieces[block] for block in self.blocks])
        return values


@dataclass(frozen=True)
class StackedArray:
    """A tensor made of several, one after the other along the first axis, such as the gates of a recurrent layer.

    Args:
        name: Name of the tensor.
        pieces: The tensors; None for a piece of zeros, which the layer computes with and the file does not store.
    """

    name: str
    pieces: tuple[TurnedArray | None, ...]

    @property
    def stored(self) -> StoredArray:
        """The first of the stored arrays."""
        return self._first.stored

    @property
    def _first(self) -> TurnedArray:
        return next(piece for piece in self.pieces if piece is not None)

    @property
    def info(self) -> TensorInfo:
        """Name, shape and stored type."""
        rows, *rest = self._first.shape
        return TensorInfo(self.name, (rows * len(self.pieces), *rest), self.stored.dtype)

    def load(self, read: Callable[[StoredArray], Tensor], name: str) -> Tensor:
        """Reads the stored arrays and joins them.

        Args:
            read: Reads a stored array.
            name: The file, for error messages.
        """
        found = [None if piece is None else piece.load(read, name) for piece in self.pieces]
        like = next(values for values in found if values is not None)
        return torch.cat([torch.zeros_like(like) if values is None else values for values in found])


def as_stored(name: str, array: StoredArray) -> TurnedArray:
    """Returns an array whose axes stay."""
    return TurnedArray(name, array, array.shape)


def turned_dense(name: str, array: StoredArray) -> TurnedArray:
    """Returns a matrix [in, out] as [out, in].

    Example:
        >>> turned_dense("fc.weight", StoredArray("fc/kernel", (3, 5), "float32")).shape
        (5, 3)
    """
    rows, columns = array.shape
    return TurnedArray(name, array, (columns, rows), axes=(1, 0))


def turned_kernel(name: str, array: StoredArray, *, flips: bool = False) -> TurnedArray:
    """Returns a kernel [positions..., a, b] as [b, a, positions...].

    For a convolution a counts inputs and b outputs. A transposed convolution of Keras has them the other way round, as
    torch does.

    Args:
        name: Name of the tensor.
        array: The kernel.
        flips: Whether positions are reversed.

    Example:
        >>> turned_kernel("conv.weight", StoredArray("conv/kernel", (3, 3, 8, 16), "float32")).shape
        (16, 8, 3, 3)
    """
    ndim = len(array.shape)
    axes = (ndim - 1, ndim - 2, *range(ndim - 2))
    flipped = tuple(range(ndim - 2)) if flips else ()
    return TurnedArray(name, array, tuple(array.shape[axis] for axis in axes), axes=axes, flips=flipped)


def turned_inner(name: str, array: StoredArray) -> TurnedArray:
    """Returns a kernel [out, positions..., in] as [out, in, positions...].

    Example:
        >>> turned_inner("conv.weight", StoredArray("conv.weight", (16, 5, 5, 3), "float32")).shape
        (16, 3, 5, 5)
    """
    ndim = len(array.shape)
    axes = (0, ndim - 1, *range(1, ndim - 1))
    return TurnedArray(name, array, tuple(array.shape[axis] for axis in axes), axes=axes)


def turned_depthwise(name: str, array: StoredArray) -> TurnedArray:
    """Returns a depthwise kernel [positions..., in, multiplier] as [in * multiplier, 1, positions...]."""
    *positions, width, multiplier = array.shape
    ndim = len(array.shape)
    axes = (ndim - 2, ndim - 1, *range(ndim - 2))
    return TurnedArray(name, array, (width * multiplier, 1, *positions), axes=axes)


def turned_projection(name: str, array: StoredArray, num_in: int) -> TurnedArray:
    """Returns a matrix whose inputs or outputs have several axes, such as [in, heads, head size], as [out, in].

    Args:
        name: Name of the tensor.
        array: The array.
        num_in: How many of the first axes count inputs.
    """
    rows, columns = prod(array.shape[:num_in]), prod(array.shape[num_in:])
    return TurnedArray(name, array, (columns, rows), view=(rows, columns), axes=(1, 0))


def flattened(name: str, array: StoredArray) -> TurnedArray:
    """Returns an array as a vector."""
    return TurnedArray(name, array, (prod(array.shape),))


@final
class ArrayTensors(StoredTensors):
    """The tensors of a file of arrays, in the axes and under the names that torch uses.

    Args:
        name: The file, as messages call it.
        turned: The tensors and how they are made.
        read: Reads a stored array, by its key.
        read_range: Reads the entries from one index to another of a stored array in row-major order, None if they do
            not lie together; None if ranges are not read.
        hints: Hints in addition to names and shapes.
        notes: Reasons why other contents of the file are not read, by name.
        metadata: What the file says about itself.

    Raises:
        CheckpointError: If there are no tensors, or two of one name.
    """

    def __init__(
        self,
        name: str,
        turned: Iterable[TurnedArray | StackedArray],
        read: Callable[[StoredArray], Tensor],
        *,
        read_range: Callable[[StoredArray, int, int], Tensor | None] | None = None,
        hints: Mapping[str, Hint] | None = None,
        notes: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ):
        self._turned: dict[str, TurnedArray | StackedArray] = {}
        for array in turned:
            if array.name in self._turned:
                keys = (self._turned[array.name].stored.key, array.stored.key)
                raise CheckpointError(name, f"the arrays {keys[0]!r} and {keys[1]!r} have one name, {array.name!r}")
            self._turned[array.name] = array
        if not self._turned:
            reasons = "; ".join(dict.fromkeys((notes or {}).values()))[:200]
            raise CheckpointError(name, "the file holds no weights" + (f": {reasons}" if reasons else ""))
        self._read = read
        self._read_range = read_range
        infos = [array.info for array in self._turned.values()]
        super().__init__(name, infos, hints=hints, notes=notes, metadata=metadata)

    def read_stored(self, name: str) -> Tensor:
        """Reads one array and turns its axes."""
        return self._turned[name].load(self._read, self.name)

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads some entries of one array whose axes stay."""
        turned = self._turned[name]
        if self._read_range is None or turned != as_stored(name, turned.stored):
            return None
        return self._read_range(turned.stored, start, stop)
