"""Arrays of an HDF5 file: where their values lie, whether they are read, and how."""

import zlib
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from sne.checkpoints.formats.hdf5.file import Hdf5File
from sne.checkpoints.formats.hdf5.messages import Cursor, Element, Hdf5Error, Layout

_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_LEAST_CHUNK = 32  # bytes of a chunk in the tree
_ALWAYS, _GROWTH = 100_000_000, 10


@dataclass
class Hdf5Array:
    """An array of an HDF5 file.

    Args:
        shape: Shape.
        element: Type of the entries.
        layout: Where the values are.
        filters: Numbers of the filters of its chunks.
    """

    shape: tuple[int, ...]
    element: Element
    layout: Layout
    filters: tuple[int, ...] = ()


def why_not_read(file: Hdf5File, array: Hdf5Array, *, has_shape: bool) -> str:
    """Returns why an array is not read, empty if it is.

    Args:
        file: The file.
        array: The array.
        has_shape: Whether the file states its shape.

    Raises:
        Hdf5Error: If the array is not in the file, or claims more than such a file can hold.
    """
    if array.element.kind != "number" or not has_shape:
        return "an array that holds no numbers"
    if unknown := [number for number in array.filters if number not in (_DEFLATE, _SHUFFLE, _FLETCHER)]:
        return f"compressed by the filter {unknown[0]}, which is not read; rewrite the file with h5repack -f GZIP=1"
    needed = prod(array.shape) * array.element.size
    layout = array.layout
    if needed and layout.content is None and layout.address == file.undefined:
        return "an array whose values were never written"
    if layout.chunk is None and layout.size < needed:
        raise Hdf5Error(f"an array of shape {list(array.shape)} needs {needed} bytes, has {layout.size}")
    if layout.chunk is None and layout.content is None and needed and layout.address + needed > file.size:
        raise Hdf5Error(f"truncated: an array ends at byte {layout.address + needed} of {file.size}")
    if layout.chunk is not None:
        if len(layout.chunk) != len(array.shape) or 0 in layout.chunk:
            raise Hdf5Error("chunks of another number of axes than their array")
        largest = max(needed, prod(layout.chunk) * array.element.size)
        if largest > _GROWTH * file.size + _ALWAYS:
            raise Hdf5Error(f"an array claims {largest} bytes, too many for a file of {file.size} bytes")
    return ""


def read_values(file: Hdf5File, array: Hdf5Array) -> np.ndarray:
    """Reads the values of an array that `why_not_read` has checked.

    Args:
        file: The file.
        array: The array.

    Raises:
        Hdf5Error: If its chunks are damaged or incomplete.
    """
    element, layout = array.element, array.layout
    stored = np.dtype(f"V{element.size}") if element.dtype == "bfloat16" else np.dtype(element.dtype)
    if element.is_big_endian:
        stored = stored.newbyteorder(">")
    count = prod(array.shape)
    if not count:
        return np.empty(array.shape, stored)
    if layout.chunk is None:
        content = layout.content if layout.content is not None else file.read(layout.address, count * element.size)
        return np.frombuffer(content, stored, count).reshape(array.shape)
    return _read_chunks(file, array, stored)


def _read_chunks(file: Hdf5File, array: Hdf5Array, stored: np.dtype) -> np.ndarray:
    layout = array.layout
    chunk = layout.chunk or ()
    num_chunks = prod(-(-size // step) for size, step in zip(array.shape, chunk, strict=True))
    if num_chunks > file.size // _LEAST_CHUNK:
        raise Hdf5Error(f"an array of {num_chunks} chunks, more than the file can hold")
    expected = set(product(*(range(0, size, step) for size, step in zip(array.shape, chunk, strict=True))))
    num_bytes = prod(chunk) * array.element.size
    if layout.is_tree:
        keys: list[bytes] = []
        children = list(file.leaves(layout.address, 1, 8 + 8 * (len(chunk) + 1), keys))
    else:
        size = num_bytes if layout.stored is None else layout.stored
        keys = [size.to_bytes(4, "little") + bytes(4 + 8 * (len(chunk) + 1))]
        children = [layout.address]
    values = np.empty(array.shape, stored)
    for key, address in zip(keys, children, strict=True):
        head = Cursor(key)
        size, mask = head.number(4), head.number(4)
        start = tuple(head.number(8) for _ in chunk)
        if start not in expected:
            raise Hdf5Error("a chunk that is outside its array, or stored twice")
        expected.remove(start)
        content = _unfiltered(file.read(address, size), array, mask, num_bytes)
        piece = np.frombuffer(content, stored, prod(chunk)).reshape(chunk)
        ends = [min(first + step, size) for first, step, size in zip(start, chunk, array.shape, strict=True)]
        where = tuple(slice(first, end) for first, end in zip(start, ends, strict=True))
        values[where] = piece[tuple(slice(0, end - first) for first, end in zip(start, ends, strict=True))]
    if expected:
        raise Hdf5Error(f"{len(expected)} chunks of an array were never written")
    return values


def _unfiltered(content: bytes, array: Hdf5Array, mask: int, num_bytes: int) -> bytes:
    """Undoes the filters of one chunk."""
    for index, number in reversed(list(enumerate(array.filters))):
        if mask >> index & 1:
            continue
        if number == _DEFLATE:
            try:
                content = zlib.decompressobj().decompress(content, num_bytes + 4)
            except zlib.error as error:
                raise Hdf5Error(f"a damaged chunk: {error}") from error
        elif number == _FLETCHER:
            content = content[:-4]
        elif len(content) % array.element.size == 0:
            planes = np.frombuffer(content, np.uint8).reshape(array.element.size, -1)
            content = planes.T.tobytes()
    if len(content) != num_bytes:
        raise Hdf5Error(f"a chunk of {len(content)} bytes, expected {num_bytes}")
    return content
