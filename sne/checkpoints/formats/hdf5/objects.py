"""Groups, arrays and attributes of an HDF5 file, read without the HDF5 library, whose C code trusts what files claim.

This covers what h5py and the HDF5 library write by default: superblocks of all versions, groups with symbol tables and
compact groups, arrays in one piece, in the header or in chunks under a tree of version 1, with the filters deflate,
shuffle and fletcher32. Links out of the file, soft links and virtual arrays are never followed.

Source: HDF5 File Format Specification, version 3.0.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod

import numpy as np

from sne.checkpoints.formats.hdf5.messages import (
    UNDEFINED,
    Attribute,
    Cursor,
    Element,
    Hdf5Error,
    Layout,
    Value,
    parse_attribute,
    parse_element,
    parse_filters,
    parse_layout,
    parse_link,
    parse_shape,
    texts,
)

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_SHAPE, _LINK_INFO, _ELEMENT, _LINK, _EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = (
    1, 2, 3, 6, 7, 8, 11, 12, 16, 17,
)  # fmt: skip
_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_MAX_MESSAGES, _MAX_OBJECTS, _MAX_DEPTH, _MAX_NODES = 100_000, 1_000_000, 50, 1_000_000
_LEAST_CHUNK = 32  # bytes of a chunk in the tree
_MAX_TEXT = 100_000_000
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


@dataclass
class Hdf5Object:
    """A group or an array.

    Args:
        links: Addresses of the members of a group, by name; None for links that are not followed.
        attributes: Attributes by name.
        array: The array; None for a group.
        reason: Why an array is not read; empty if it is.
    """

    links: dict[str, int | None] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    array: Hdf5Array | None = None
    reason: str = ""


class Hdf5Objects:
    """Access to the objects of an HDF5 file.

    Args:
        stream: The file, or a part of one, from the beginning of HDF5 on.
        size: Number of bytes.

    Raises:
        Hdf5Error: If the file does not begin as HDF5.
    """

    def __init__(self, stream: io.BufferedIOBase, size: int):
        self._stream, self.size = stream, size
        head = Cursor(self.read(0, min(size, 200)))
        if head.take(8) != SIGNATURE:
            raise Hdf5Error("not an HDF5 file")
        version = head.number(1)
        if version < 2:
            head.take(4)
            self.offsets, self.lengths = head.number(1), head.number(1)
            head.take(9 if version == 0 else 13)
            base = head.number(self.offsets)
            head.take(3 * self.offsets + self.offsets)
            self.root = head.number(self.offsets)
        elif version < 4:
            self.offsets, self.lengths = head.number(1), head.number(1)
            head.take(1)
            base = head.number(self.offsets)
            head.take(2 * self.offsets)
            self.root = head.number(self.offsets)
        else:
            raise Hdf5Error(f"a superblock of unknown version {version}")
        if self.offsets not in (4, 8) or self.lengths not in (4, 8):
            raise Hdf5Error("addresses of an unusual size")
        if base not in (0, UNDEFINED):
            raise Hdf5Error("a file that begins within another; its addresses do not start at 0")

    def read(self, at: int, length: int) -> bytes:
        """Reads bytes at an address."""
        if at < 0 or length < 0 or at + length > self.size:
            raise Hdf5Error(f"truncated: {length} bytes at address {at} are not in the file of {self.size} bytes")
        self._stream.seek(at)
        content = self._stream.read(length)
        if len(content) != length:
            raise Hdf5Error("truncated")
        return content

    def load(self, address: int) -> Hdf5Object:
        """Reads the header of an object."""
        found = Hdf5Object()
        shape: tuple[int, ...] | None = None
        element: Element | None = None
        layout: Layout | None = None
        filters: tuple[int, ...] = ()
        for kind, flags, content in self._messages(address):
            cursor = Cursor(content)
            try:
                if kind in (_SHAPE, _ELEMENT, _LAYOUT, _FILTERS) and flags & 2:
                    raise Hdf5Error("an array of a shared type")
                if kind == _SHAPE:
                    shape = parse_shape(cursor, self.lengths)
                elif kind == _ELEMENT:
                    element = parse_element(cursor)
                elif kind == _LAYOUT:
                    layout = parse_layout(cursor, self.offsets, self.lengths)
                elif kind == _FILTERS:
                    filters = parse_filters(cursor)
                elif kind == _EXTERNAL:
                    raise Hdf5Error("an array in another file, which is not followed")
            except Hdf5Error as error:
                found.reason = found.reason or str(error)
            if kind == _ATTRIBUTE and not flags & 2:
                attribute = parse_attribute(content, self.lengths)
                found.attributes[attribute.name] = attribute
            elif kind == _LINK:
                name, target = parse_link(cursor, self.offsets)
                found.links[name] = target
            elif kind == _SYMBOLS:
                found.links.update(self._symbols(cursor.number(self.offsets), cursor.number(self.offsets)))
            elif kind == _LINK_INFO:
                self._check_compact(cursor)
        if found.reason or layout is not None:
            if element is not None and layout is not None and not found.reason:
                stated = self.value(found.attributes["dtype"]) if "dtype" in found.attributes else None
                if element.kind == "opaque" and stated == element.dtype:
                    element = replace(element, kind="number")
                found.array = Hdf5Array(shape or (), element, layout, filters)
                found.reason = self._why_not(found.array, has_shape=shape is not None)
            found.reason = found.reason or ("" if found.array else "an array without shape or type")
        return found

    def _why_not(self, array: Hdf5Array, *, has_shape: bool) -> str:
        """Returns why an array is not read, empty if it is."""
        if array.element.kind != "number" or not has_shape:
            return "an array that holds no numbers"
        if unknown := [number for number in array.filters if number not in (_DEFLATE, _SHUFFLE, _FLETCHER)]:
            return f"compressed by the filter {unknown[0]}, which is not read; rewrite the file with h5repack -f GZIP=1"
        needed = prod(array.shape) * array.element.size
        layout = array.layout
        if needed and layout.content is None and layout.address == UNDEFINED & (256**self.offsets - 1):
            return "an array whose values were never written"
        if layout.chunk is None and layout.size < needed:
            raise Hdf5Error(f"an array of shape {list(array.shape)} needs {needed} bytes, has {layout.size}")
        if layout.chunk is None and layout.content is None and needed and layout.address + needed > self.size:
            raise Hdf5Error(f"truncated: an array ends at byte {layout.address + needed} of {self.size}")
        if layout.chunk is not None:
            if len(layout.chunk) != len(array.shape) or 0 in layout.chunk:
                raise Hdf5Error("chunks of another number of axes than their array")
            largest = max(needed, prod(layout.chunk) * array.element.size)
            if largest > _GROWTH * self.size + _ALWAYS:
                raise Hdf5Error(f"an array claims {largest} bytes, too many for a file of {self.size} bytes")
        return ""

    def _messages(self, address: int) -> Iterator[tuple[int, int, bytes]]:
        """Yields type, flags and content of the messages of an object header."""
        head = self.read(address, min(16, self.size - address))
        if head.startswith(b"OHDR"):
            yield from self._messages_2(address)
            return
        cursor = Cursor(head)
        if cursor.number(1) != 1:
            raise Hdf5Error(f"no object header at address {address}")
        cursor.take(1)
        total = cursor.number(2)
        cursor.take(4)
        blocks = [(address + 16, cursor.number(4))]
        seen = 0
        while blocks and seen < min(total, _MAX_MESSAGES):
            start, size = blocks.pop(0)
            block = Cursor(self.read(start, size))
            while block.at + 8 <= size and seen < total:
                kind, length, flags = block.number(2), block.number(2), block.number(1)
                block.take(3)
                content = block.take(length)
                seen += 1
                if kind == _CONTINUATION:
                    inner = Cursor(content)
                    blocks.append((inner.number(self.offsets), inner.number(self.lengths)))
                else:
                    yield kind, flags, content

    def _messages_2(self, address: int) -> Iterator[tuple[int, int, bytes]]:
        head = Cursor(self.read(address, min(40, self.size - address)), 5)
        flags = head.number(1)
        head.take((16 if flags & 32 else 0) + (4 if flags & 16 else 0))
        size = head.number(1 << (flags & 3))
        blocks = [(address + head.at, size)]
        seen = 0
        while blocks:
            start, size = blocks.pop(0)
            block = Cursor(self.read(start, size))
            least = 6 if flags & 4 else 4
            while block.at + least <= size:
                kind, length, marks = block.number(1), block.number(2), block.number(1)
                block.take(least - 4)
                content = block.take(length)
                seen += 1
                if seen > _MAX_MESSAGES:
                    raise Hdf5Error("an object header without end")
                if kind == _CONTINUATION:
                    inner = Cursor(content)
                    start, size_2 = inner.number(self.offsets), inner.number(self.lengths)
                    blocks.append((start + 4, size_2 - 8))  # between the signature and the checksum
                elif kind:
                    yield kind, marks, content

    def _check_compact(self, cursor: Cursor) -> None:
        cursor.take(1)
        flags = cursor.number(1)
        if flags & 1:
            cursor.take(8)
        if cursor.number(self.offsets) != UNDEFINED & (256**self.offsets - 1):
            raise Hdf5Error("groups of libver='latest' or track_order; rewrite the file with h5repack --high=0")

    def _symbols(self, tree: int, heap: int) -> dict[str, int | None]:
        """Reads the members of a group from its symbol table."""
        head = Cursor(self.read(heap, 8 + 2 * self.lengths + self.offsets))
        if head.take(4) != b"HEAP":
            raise Hdf5Error("a group without names")
        head.take(4)
        size = head.number(self.lengths)
        head.take(self.lengths)
        names = self.read(head.number(self.offsets), size)
        found: dict[str, int | None] = {}
        width = 2 * self.offsets + 24
        for leaf in self._leaves(tree, 0, self.lengths):
            node = Cursor(self.read(leaf, 8))
            if node.take(4) != b"SNOD":
                raise Hdf5Error("a damaged group")
            node.take(2)
            count = node.number(2)
            entries = Cursor(self.read(leaf + 8, count * width))
            for index in range(count):
                entries.at = index * width
                start, address, kind = entries.number(self.offsets), entries.number(self.offsets), entries.number(4)
                end = names.find(b"\0", start)
                name = names[start : end if end >= 0 else len(names)]
                found[name.decode("utf-8", errors="replace")] = None if kind == 2 else address
        return found

    def _leaves(self, root: int, kind: int, key: int, keys: list[bytes] | None = None) -> Iterator[int]:
        """Yields the children of the leaves of a tree of version 1; their keys are appended to `keys`."""
        pending, nodes = [(root, _MAX_DEPTH)], set()
        while pending:
            address, level = pending.pop()
            if address in nodes or len(nodes) > _MAX_NODES:
                raise Hdf5Error("a tree without end")
            nodes.add(address)
            head = Cursor(self.read(address, 8 + 2 * self.offsets))
            if head.take(4) != b"TREE" or head.number(1) != kind:
                raise Hdf5Error(f"no tree at address {address}")
            own, count = head.number(1), head.number(2)
            if own >= level:
                raise Hdf5Error("a tree whose levels do not decrease")
            body = Cursor(self.read(address + head.at + 2 * self.offsets, count * (key + self.offsets)))
            children = []
            for _ in range(count):
                first = body.take(key)
                children.append((first, body.number(self.offsets)))
            if own:
                pending += [(child, own) for _, child in reversed(children)]
            else:
                for first, child in children:
                    if keys is not None:
                        keys.append(first)
                    yield child

    def value(self, attribute: Attribute) -> Value | None:
        """Reads the value of an attribute: texts and numbers; None for anything else."""
        if attribute.shape is None:
            return None
        element, count = attribute.element, prod(attribute.shape)
        if count * element.size > len(attribute.content):
            return [] if count == 0 else None
        pieces = [attribute.content[i * element.size : (i + 1) * element.size] for i in range(count)]
        found: list[str] | list[int] | list[float]
        if element.kind == "text":
            found = texts(pieces)
        elif element.kind == "texts of any length":
            heaps: dict[int, dict[int, bytes]] = {}
            found = texts([self._heap_object(Cursor(piece, 4), heaps) for piece in pieces])
        elif element.kind == "number":
            found = [_number(piece, element) for piece in pieces]
        else:
            return None
        return found if attribute.shape else found[0]

    def _heap_object(self, cursor: Cursor, heaps: dict[int, dict[int, bytes]]) -> bytes:
        """Reads an object of a global heap; `heaps` remembers those that were read."""
        address, index = cursor.number(self.offsets), cursor.number(4)
        if address not in heaps:
            head = Cursor(self.read(address, 8 + self.lengths))
            if head.take(4) != b"GCOL":
                raise Hdf5Error("a text that is not in the file")
            head.take(4)
            size = head.number(self.lengths)
            if size > _MAX_TEXT:
                raise Hdf5Error(f"texts of {size} bytes, at most {_MAX_TEXT} are read")
            heap, found = Cursor(self.read(address, size), head.at), {}
            while heap.at + 8 + self.lengths <= size:
                number = heap.number(2)
                heap.take(6)
                length = heap.number(self.lengths)
                if number == 0:
                    break
                found[number] = heap.take(length)
                heap.align(0)
            heaps[address] = found
        return heaps[address].get(index, b"")

    def values(self, array: Hdf5Array) -> np.ndarray:
        """Reads the values of an array, of which `load` has checked that they fit into the file."""
        element, layout = array.element, array.layout
        stored = np.dtype(f"V{element.size}") if element.dtype == "bfloat16" else np.dtype(element.dtype)
        if element.is_big_endian:
            stored = stored.newbyteorder(">")
        count = prod(array.shape)
        if not count:
            return np.empty(array.shape, stored)
        if layout.chunk is None:
            content = layout.content if layout.content is not None else self.read(layout.address, count * element.size)
            return np.frombuffer(content, stored, count).reshape(array.shape)
        return self._chunks(array, stored)

    def _chunks(self, array: Hdf5Array, stored: np.dtype) -> np.ndarray:
        layout = array.layout
        chunk = layout.chunk or ()
        num_chunks = prod(-(-size // step) for size, step in zip(array.shape, chunk, strict=True))
        if num_chunks > self.size // _LEAST_CHUNK:
            raise Hdf5Error(f"an array of {num_chunks} chunks, more than the file can hold")
        expected = set(product(*(range(0, size, step) for size, step in zip(array.shape, chunk, strict=True))))
        num_bytes = prod(chunk) * array.element.size
        if layout.is_tree:
            keys: list[bytes] = []
            children = list(self._leaves(layout.address, 1, 8 + 8 * (len(chunk) + 1), keys))
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
            content = self._unfiltered(self.read(address, size), array, mask, num_bytes)
            piece = np.frombuffer(content, stored, prod(chunk)).reshape(chunk)
            ends = [min(first + step, size) for first, step, size in zip(start, chunk, array.shape, strict=True)]
            where = tuple(slice(first, end) for first, end in zip(start, ends, strict=True))
            values[where] = piece[tuple(slice(0, end - first) for first, end in zip(start, ends, strict=True))]
        if expected:
            raise Hdf5Error(f"{len(expected)} chunks of an array were never written")
        return values

    def _unfiltered(self, content: bytes, array: Hdf5Array, mask: int, num_bytes: int) -> bytes:
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

    def walk(self) -> Iterator[tuple[str, Hdf5Object]]:
        """Yields every object with its path, "" for the root; members in the order of their names."""
        pending: list[tuple[str, int]] = [("", self.root)]
        groups: set[int] = set()
        count = 0
        while pending:
            path, address = pending.pop()
            found = self.load(address)
            count += 1
            if count > _MAX_OBJECTS:
                raise Hdf5Error("more objects than are read")
            if found.links:
                if address in groups or path.count("/") > _MAX_DEPTH:
                    continue
                groups.add(address)
            yield path, found
            members = sorted(found.links.items(), reverse=True)
            pending += [(f"{path}/{name}" if path else name, at) for name, at in members if at is not None]


def _number(piece: bytes, element: Element) -> int | float:
    order = ">" if element.is_big_endian else "<"
    if element.dtype == "bfloat16":
        return 0.0
    return np.frombuffer(piece, np.dtype(element.dtype).newbyteorder(order))[0].item()
