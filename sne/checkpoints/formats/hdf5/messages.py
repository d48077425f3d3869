"""Messages of HDF5 object headers: shape, element type, layout, filters, links and attributes of an object.

Source: HDF5 File Format Specification, version 3.0, sections IV.A.2 and III.
"""

import struct
from dataclasses import dataclass
from typing import Any

UNDEFINED = 2**64 - 1
"""The address of what is not in the file."""

MAX_AXES = 32

_FLOATS = {
    (2, 5, 10, 15): "float16", (2, 8, 7, 127): "bfloat16", (4, 8, 23, 127): "float32", (8, 11, 52, 1023): "float64",
}  # fmt: skip
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2


class Hdf5Error(ValueError):
    """A damaged part of a file, or one that is not read. Readers turn it into a CheckpointError."""


class Cursor:
    """A position in bytes, from which numbers are taken. Numbers have the byte order of HDF5.

    Args:
        content: The bytes.
        start: First position.
    """

    def __init__(self, content: bytes, start: int = 0):
        self.content = content
        self.at = start

    def take(self, length: int) -> bytes:
        """Returns the next bytes."""
        piece = self.content[self.at : self.at + length]
        if length < 0 or len(piece) != length:
            raise Hdf5Error("a header ends early")
        self.at += length
        return piece

    def number(self, width: int) -> int:
        """Returns the next number of so many bytes."""
        return int.from_bytes(self.take(width), "little")

    def align(self, start: int) -> None:
        """Goes on to the next position that is a multiple of eight bytes after `start`."""
        self.at = start + -(-(self.at - start) // 8) * 8


@dataclass(frozen=True)
class Element:
    """The type of the entries of an array or attribute.

    Args:
        kind: "number", "text", "texts of any length", "opaque" or "other".
        dtype: Name of the type of numbers, such as "float32".
        size: Size of an entry in bytes.
        is_big_endian: Whether the bytes of a number are stored with the largest first.
    """

    kind: str
    dtype: str
    size: int
    is_big_endian: bool = False


def parse_element(cursor: Cursor) -> Element:
    """Reads a datatype message."""
    head = cursor.number(1)
    bits = cursor.number(3)
    size = cursor.number(4)
    kind = head & 15
    if kind == 0:
        cursor.take(4)
        is_signed = bool(bits & 8)
        if size in (1, 2, 4, 8):
            return Element("number", f"{'' if is_signed else 'u'}int{8 * size}", size, bool(bits & 1))
    elif kind == 1:
        _, _, _, exponent, _, mantissa, bias = struct.unpack("<HHBBBBI", cursor.take(12))
        dtype = _FLOATS.get((size, exponent, mantissa, bias))
        if dtype is not None and not bits & 64:
            return Element("number", dtype, size, bool(bits & 1))
    elif kind == 5 and size == 2:  # opaque: bfloat16 as h5py writes it, if an attribute says so
        return Element("opaque", "bfloat16", size)
    elif kind == 3:
        return Element("text", "", size)
    elif kind == 8:  # an enumeration, such as the booleans of h5py
        base = parse_element(cursor)
        return Element("number", "bool" if base.dtype == "int8" else base.dtype, base.size, base.is_big_endian)
    elif kind == 9 and bits & 15 == 1:
        return Element("texts of any length", "", size)
    return Element("other", "", size)


def parse_shape(cursor: Cursor, lengths: int) -> tuple[int, ...] | None:
    """Reads a dataspace message: the shape, or None for an object without values."""
    version, rank, flags = cursor.number(1), cursor.number(1), cursor.number(1)
    if rank > MAX_AXES:
        raise Hdf5Error(f"an array of {rank} axes, at most {MAX_AXES} are read")
    if version == 1:
        cursor.take(5)
    elif version == 2:
        if cursor.number(1) == 2:
            return None
    else:
        raise Hdf5Error(f"a shape of unknown version {version}")
    shape = tuple(cursor.number(lengths) for _ in range(rank))
    if flags & 1:
        cursor.take(rank * lengths)
    return shape


@dataclass(frozen=True)
class Layout:
    """Where the values of an array are.

    Args:
        address: Address of the values, or of the tree of chunks.
        size: Number of bytes, for values in one piece.
        content: The values themselves, for arrays that are kept in the header; None for others.
        chunk: Shape of a chunk; None for values in one piece.
        stored: Size of the one chunk after its filters; None if it has none or there is a tree of chunks.
        is_tree: Whether the address is that of a tree of chunks.
    """

    address: int
    size: int = 0
    content: bytes | None = None
    chunk: tuple[int, ...] | None = None
    stored: int | None = None
    is_tree: bool = False


def parse_layout(cursor: Cursor, offsets: int, lengths: int) -> Layout:
    """Reads a layout message."""
    version, kind = cursor.number(1), cursor.number(1)
    if version not in (3, 4):
        raise Hdf5Error(f"a layout of version {version}; rewrite the file with h5repack")
    if kind == _COMPACT:
        size = cursor.number(2)
        return Layout(UNDEFINED, size, cursor.take(size))
    if kind == _CONTIGUOUS:
        return Layout(cursor.number(offsets), cursor.number(lengths))
    if kind != _CHUNKED:
        raise Hdf5Error("an array that is put together from others (a virtual dataset), which is not followed")
    if version == 3:
        rank = cursor.number(1)
        address = cursor.number(offsets)
        return Layout(address, chunk=tuple(cursor.number(4) for _ in range(min(rank, MAX_AXES + 1)))[:-1], is_tree=True)
    flags, rank, width = cursor.number(1), cursor.number(1), cursor.number(1)
    chunk = tuple(cursor.number(width) for _ in range(min(rank, MAX_AXES + 1)))[:-1]
    index = cursor.number(1)
    if index != 1:
        raise Hdf5Error("chunks in an index of libver='latest'; rewrite the file with h5repack --high=0")
    stored = None
    if flags & 2:
        stored = cursor.number(lengths)
        cursor.take(4)
    return Layout(cursor.number(offsets), chunk=chunk, stored=stored)


def parse_filters(cursor: Cursor) -> tuple[int, ...]:
    """Reads a filter message: the numbers of the filters, in the order in which they were applied."""
    version, count = cursor.number(1), cursor.number(1)
    if version == 1:
        cursor.take(6)
    filters = []
    for _ in range(count):
        number = cursor.number(2)
        length = cursor.number(2) if version == 1 or number >= 256 else 0
        cursor.take(2)
        values = cursor.number(2)
        cursor.take(-(-length // 8) * 8 if version == 1 else length)
        cursor.take(4 * values + (4 if version == 1 and values % 2 else 0))
        filters.append(number)
    return tuple(filters)


def parse_link(cursor: Cursor, offsets: int) -> tuple[str, int | None]:
    """Reads a link message: the name, and the address of the object; None for links that are not followed."""
    cursor.take(1)
    flags = cursor.number(1)
    kind = cursor.number(1) if flags & 8 else 0
    if flags & 4:
        cursor.take(8)
    if flags & 16:
        cursor.take(1)
    name = cursor.take(cursor.number(1 << (flags & 3))).decode("utf-8", errors="replace")
    return name, cursor.number(offsets) if kind == 0 else None


@dataclass(frozen=True)
class Attribute:
    """An attribute whose values are not read yet.

    Args:
        name: Name of the attribute.
        element: Type of its entries.
        shape: Shape; None if it has no values.
        content: The bytes of its values.
    """

    name: str
    element: Element
    shape: tuple[int, ...] | None
    content: bytes


def parse_attribute(content: bytes, lengths: int) -> Attribute:
    """Reads an attribute message."""
    cursor = Cursor(content)
    version, flags = cursor.number(1), cursor.number(1)
    if flags & 3:
        raise Hdf5Error("an attribute of a shared type")
    sizes = [cursor.number(2) for _ in range(3)]
    if version == 3:
        cursor.take(1)
    pieces = []
    for size in sizes:
        pieces.append(cursor.take(size))
        if version == 1:
            cursor.take(-size % 8)
    name = pieces[0].split(b"\0")[0].decode("utf-8", errors="replace")
    element, shape = parse_element(Cursor(pieces[1])), parse_shape(Cursor(pieces[2]), lengths)
    return Attribute(name, element, shape, content[cursor.at :])


def texts(pieces: list[bytes]) -> list[str]:
    """Decodes texts that end at the first zero byte."""
    return [piece.split(b"\0")[0].decode("utf-8", errors="replace") for piece in pieces]


Value = str | int | float | list[Any]
"""Value of an attribute: a text, a number, or a list of them."""
