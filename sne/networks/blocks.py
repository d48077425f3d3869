"""Pieces of parts: a tensor that is larger than the memory it may take is read range by range."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.networks.part import Part, RangeSource, TensorSource

_MOST_AT_ONCE = 4_000_000  # entries that are read at once to pick neurons from


@dataclass(frozen=True)
class Block:
    """A rectangular piece of a part.

    Args:
        rows: Neurons that the piece feeds.
        columns: Neurons that it reads.
        values: Its entries in float32.
    """

    rows: slice
    columns: slice
    values: Float[Tensor, "rows columns kernel"]


@dataclass(frozen=True)
class _Layout:
    """Where the entries of a part are in its stored tensor, seen as [outer, inner, kernel positions].

    Args:
        outer: Indices of the part along the outer axis, which counts outputs, or inputs if `is_in_first`.
        inner: Indices of the part along the inner axis.
        num_inner: Size of the inner axis of the whole tensor.
        kernel: Number of kernel positions.
        is_in_first: Whether the tensor is stored with its inputs first.
    """

    outer: Sequence[int]
    inner: Sequence[int]
    num_inner: int
    kernel: int
    is_in_first: bool

    @classmethod
    def of(cls, part: Part, stored: tuple[int, ...]) -> "_Layout | None":
        """Returns the layout of a part.

        Args:
            part: The part.
            stored: Shape of the whole stored tensor.

        Returns:
            The layout; None if kernel positions come first or are cut.
        """
        sizes = list(part.shape)
        if part.axis is not None:
            sizes[part.axis] = stored[part.axis] if len(stored) == len(sizes) else -1
        if prod(sizes) != prod(stored):
            return None
        rest = [axis for axis in range(len(sizes)) if axis not in (part.out_axis, part.in_axis)]
        if part.axis in rest:
            return None
        for is_in_first in (False, True):
            outer, inner = (part.in_axis, part.out_axis) if is_in_first else (part.out_axis, part.in_axis)
            order = [axis for axis in (outer, inner, *rest) if axis is not None and sizes[axis] > 1]
            if order == sorted(order):
                indices = [_indices(part, axis) for axis in (outer, inner)]
                num_inner = 1 if inner is None else sizes[inner]
                return cls(indices[0], indices[1], num_inner, prod(sizes[axis] for axis in rest), is_in_first)
        return None


def _indices(part: Part, axis: int | None) -> Sequence[int]:
    """Returns the stored indices of a part along one axis."""
    if axis is None:
        return range(1)
    if axis != part.axis:
        return range(part.shape[axis])
    return part.indices if part.step else range(part.start, part.start + part.shape[axis])


@final
class _Entries:
    """The entries of a stored tensor in row-major order, read range by range, or from the whole tensor.

    Args:
        source: Source of the values.
        name: Name of the tensor.
    """

    def __init__(self, source: TensorSource, name: str) -> None:
        self._source = source
        self._name = name
        self._load_range = source.load_range if isinstance(source, RangeSource) else None
        self._whole: Tensor | None = None

    def read(self, start: int, stop: int) -> Tensor:
        """Returns a range of the entries in their stored dtype. The whole tensor is loaded at most once."""
        if self._whole is None:
            found = None if self._load_range is None else self._load_range(self._name, start, stop)
            if found is not None:
                return found
            self._whole = self._source.load(self._name).reshape(-1)
        return self._whole[start:stop]


def read_blocks(source: TensorSource, part: Part, most: int, align: int) -> Iterator[Block]:
    """Loads one part in pieces; see `Network.read_blocks`."""
    layout = _Layout.of(part, source.infos[part.tensor].shape)
    is_in_first = layout is not None and layout.is_in_first
    grid = list(_cut_in_first(part, most, align) if is_in_first else _cut(part, most, align))
    if layout is None or (len(grid) == 1 and part.axis is None):
        values = part.arrange(source.load(part.tensor))
        for rows, columns in grid:
            yield Block(rows, columns, values[rows, columns].to(torch.float32))
        return
    entries = _Entries(source, part.tensor)
    for rows, columns in grid:
        if is_in_first:
            yield Block(rows, columns, _read(entries, layout, columns, rows, most).transpose(0, 1))
        else:
            yield Block(rows, columns, _read(entries, layout, rows, columns, most))


def read_sample(
    source: TensorSource, part: Part, rows: Int[Tensor, " rows"] | None, columns: Int[Tensor, " columns"] | None
) -> Float[Tensor, "rows columns kernel"]:
    """Loads some neurons of one part; see `Network.read_sample`."""
    num_out, num_in, _ = part.arranged_shape
    wanted = _checked(rows, num_out, "rows", part), _checked(columns, num_in, "columns", part)
    layout = _Layout.of(part, source.infos[part.tensor].shape)
    if layout is None:
        values = part.arrange(source.load(part.tensor))
        values = values if rows is None else values[wanted[0]]
        return (values if columns is None else values[:, wanted[1]]).to(torch.float32)
    entries = _Entries(source, part.tensor)
    outer, inner = reversed(wanted) if layout.is_in_first else wanted
    picked = torch.arange(len(layout.inner)) if inner is None else inner
    values = torch.empty(
        len(layout.outer) if outer is None else len(outer), len(picked), layout.kernel, dtype=torch.float32
    )
    width = layout.num_inner * layout.kernel
    step = max(1, _MOST_AT_ONCE // max(width, 1))
    uncut = layout.outer if isinstance(layout.outer, range) and len(layout.inner) == layout.num_inner else None
    at = 0
    for first, last in _runs(range(len(layout.outer)) if outer is None else outer.tolist()):
        for start in range(first, last, step):
            stop = min(start + step, last)
            if uncut is None:
                found = _read(entries, layout, slice(start, stop), slice(0, len(layout.inner)), _MOST_AT_ONCE)
            else:  # a call of `_read` takes longer than the reading of a single row, of which a sample has many
                found = entries.read((uncut.start + start) * width, (uncut.start + stop) * width)
                found = found.view(stop - start, layout.num_inner, layout.kernel)
            values[at : at + len(found)] = found if inner is None else found[:, picked]
            at += len(found)
    return values.transpose(0, 1) if layout.is_in_first else values


def _checked(indices: Tensor | None, size: int, what: str, part: Part) -> Tensor | None:
    """Returns indices on the CPU after checking their range."""
    if indices is not None and len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < size:
        ends = f"{int(indices.min())} to {int(indices.max())}"
        raise IndexError(f"{what} {ends} of a part of tensor {part.tensor!r} with {size} {what}")
    return None if indices is None else indices.cpu()


def _cut(part: Part, most: int, align: int) -> Iterator[tuple[slice, slice]]:
    """Yields groups of rows, and pieces of rows where one row is larger than `most`."""
    num_out, num_in, kernel = part.arranged_shape
    columns = max(1, min(num_in, most // max(kernel, 1)))
    if columns < num_in:
        columns = max(align, columns - columns % align)
    rows = max(1, most // max(columns * kernel, 1))
    if num_in == 1:
        rows = max(align, rows - rows % align)
    for row in range(0, num_out, rows):
        for column in range(0, num_in, columns):
            yield slice(row, min(row + rows, num_out)), slice(column, min(column + columns, num_in))


def _cut_in_first(part: Part, most: int, align: int) -> Iterator[tuple[slice, slice]]:
    """Yields groups of columns, and pieces of them where `align` columns are larger than `most`."""
    num_out, num_in, kernel = part.arranged_shape
    rows = num_out if num_out * kernel * align <= most else max(1, most // max(kernel * align, 1))
    columns = max(1, most // max(rows * kernel, 1))
    columns = max(align, columns - columns % align)
    for column in range(0, num_in, columns):
        for row in range(0, num_out, rows):
            yield slice(row, min(row + rows, num_out)), slice(column, min(column + columns, num_in))


def _read(
    entries: _Entries, layout: _Layout, outer: slice, inner: slice, most: int
) -> Float[Tensor, "outer inner kernel"]:
    """Reads a rectangle of a part in float32, at most about `most` entries or one stored row at once."""
    wanted, kernel = layout.inner[inner], layout.kernel
    width = layout.num_inner * kernel
    runs = list(_runs(wanted))
    is_uncut = len(wanted) == layout.num_inner
    by_rows = is_uncut or (len(wanted) == len(layout.inner) and width <= most)

    def pick(start: int, stop: int) -> Tensor:
        if by_rows:
            stored = entries.read(start * width, stop * width).view(stop - start, layout.num_inner, kernel)
            pieces = [stored[:, begin:end] for begin, end in runs]
        else:
            places = [(start * width + begin * kernel, start * width + end * kernel) for begin, end in runs]
            pieces = [entries.read(*place).view(1, -1, kernel) for place in places]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)

    step = most if is_uncut else max(1, most // width) if by_rows else 1
    ranges = [
        (start, min(start + step, last))
        for first, last in _runs(layout.outer[outer])
        for start in range(first, last, step)
    ]
    if len(ranges) == 1:
        return pick(*ranges[0]).to(torch.float32)
    values = torch.empty(outer.stop - outer.start, len(wanted), kernel, dtype=torch.float32)
    row = 0
    for start, stop in ranges:
        values[row : row + stop - start] = pick(start, stop)
        row += stop - start
    return values


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields the first index and the end of every run of indices that follow one another."""
    if isinstance(indices, range):
        if len(indices):
            yield indices.start, indices.stop
        return
    start = 0
    for i in range(1, len(indices) + 1):
        if i == len(indices) or indices[i] != indices[i - 1] + 1:
            yield indices[start], indices[i - 1] + 1
            start = i
