"""Groups, arrays and attributes of an HDF5 file, read without the HDF5 library, whose C code trusts what files claim.

This covers what h5py and the HDF5 library write by default: superblocks of all versions, groups with symbol tables and
compact groups, arrays in one piece, in the header or in chunks under a tree of version 1, with the filters deflate,
shuffle and fletcher32. Links out of the file, soft links and virtual arrays are never followed.

Source: HDF5 File Format Specification, version 3.0.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from sne.checkpoints.formats.hdf5.arrays import Hdf5Array, read_values, why_not_read
from sne.checkpoints.formats.hdf5.file import Hdf5File
from sne.checkpoints.formats.hdf5.messages import (
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

# Numbers of the messages in the header of an object, and the flag of one that is stored elsewhere.
_SHAPE, _LINK_INFO, _ELEMENT, _LINK, _EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE, _SYMBOLS = 1, 2, 3, 6, 7, 8, 11, 12, 17
_IS_SHARED = 2
_MAX_OBJECTS, _MAX_DEPTH = 1_000_000, 50


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
        self._file = Hdf5File(stream, size)

    def load(self, address: int) -> Hdf5Object:
        """Reads the header of an object.

        Args:
            address: Address of the header.

        Raises:
            Hdf5Error: If there is no header, or it claims what the file cannot hold.
        """
        found, offsets, lengths = Hdf5Object(), self._file.offsets, self._file.lengths
        shape: tuple[int, ...] | None = None
        element: Element | None = None
        layout: Layout | None = None
        filters: tuple[int, ...] = ()
        for kind, flags, content in self._file.messages(address):
            cursor = Cursor(content)
            try:
                if kind in (_SHAPE, _ELEMENT, _LAYOUT, _FILTERS) and flags & _IS_SHARED:
                    raise Hdf5Error("an array of a shared type")
                if kind == _SHAPE:
                    shape = parse_shape(cursor, lengths)
                elif kind == _ELEMENT:
                    element = parse_element(cursor)
                elif kind == _LAYOUT:
                    layout = parse_layout(cursor, offsets, lengths)
                elif kind == _FILTERS:
                    filters = parse_filters(cursor)
                elif kind == _EXTERNAL:
                    raise Hdf5Error("an array in another file, which is not followed")
            except Hdf5Error as error:
                found.reason = found.reason or str(error)
            if kind == _ATTRIBUTE and not flags & _IS_SHARED:
                attribute = parse_attribute(content, lengths)
                found.attributes[attribute.name] = attribute
            elif kind == _LINK:
                name, target = parse_link(cursor, offsets)
                found.links[name] = target
            elif kind == _SYMBOLS:
                found.links.update(self._file.members(tree=cursor.number(offsets), heap=cursor.number(offsets)))
            elif kind == _LINK_INFO:
                self._check_compact(cursor)
        if layout is not None and not found.reason:
            self._add_array(found, shape, element, layout, filters)
        return found

    def _add_array(
        self,
        found: Hdf5Object,
        shape: tuple[int, ...] | None,
        element: Element | None,
        layout: Layout,
        filters: tuple[int, ...],
    ) -> None:
        """Adds the array that messages describe to an object, or the reason why it is not read."""
        if element is None:
            found.reason = "an array without shape or type"
            return
        stated = self.value(found.attributes["dtype"]) if "dtype" in found.attributes else None
        if element.kind == "opaque" and stated == element.dtype:
            element = replace(element, kind="number")
        found.array = Hdf5Array(shape or (), element, layout, filters)
        found.reason = why_not_read(self._file, found.array, has_shape=shape is not None)

    def _check_compact(self, cursor: Cursor) -> None:
        """Checks that the links of a group are in its header, and not in a heap, which is not read."""
        cursor.take(1)
        flags = cursor.number(1)
        if flags & 1:  # the order in which links were made is kept
            cursor.take(8)
        if cursor.number(self._file.offsets) != self._file.undefined:
            raise Hdf5Error("groups of libver='latest' or track_order; rewrite the file with h5repack --high=0")

    def value(self, attribute: Attribute) -> Value | None:
        """Reads the value of an attribute: texts or numbers.

        Args:
            attribute: The attribute, as `load` returns it.

        Returns:
            One value if the attribute has no axes, else a list; None for values of other types.
        """
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
            found = texts([self._file.heap_object(Cursor(piece, 4), heaps) for piece in pieces])
        elif element.kind == "number":
            found = [_number(piece, element) for piece in pieces]
        else:
            return None
        return found if attribute.shape else found[0]

    def values(self, array: Hdf5Array) -> np.ndarray:
        """Reads the values of an array, of which `load` has checked that they fit into the file.

        Args:
            array: The array.

        Raises:
            Hdf5Error: If its chunks are damaged or incomplete.
        """
        return read_values(self._file, array)

    def walk(self) -> Iterator[tuple[str, Hdf5Object]]:
        """Yields every object with its path, "" for the root; members in the order of their names."""
        pending: list[tuple[str, int]] = [("", self._file.root)]
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
