"""Structures that the objects of an HDF5 file consist of: superblock, object headers, trees, symbol tables and heaps.

Source: HDF5 File Format Specification, version 3.0, sections II to IV.A.
"""

import io
from collections.abc import Iterator

from sne.checkpoints.formats.hdf5.messages import UNDEFINED, Cursor, Hdf5Error

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_CONTINUATION = 16
_MAX_MESSAGES, _MAX_DEPTH, _MAX_NODES = 100_000, 50, 1_000_000
_MAX_TEXT = 100_000_000


class Hdf5File:
    """The bytes of an HDF5 file and the structures in them.

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
        self.undefined = UNDEFINED & (256**self.offsets - 1)
        """The address of what was never written."""

    def read(self, at: int, length: int) -> bytes:
        """Reads bytes at an address.

        Args:
            at: Address of the first byte.
            length: Number of bytes.

        Raises:
            Hdf5Error: If they are not in the file.
        """
        if at < 0 or length < 0 or at + length > self.size:
            raise Hdf5Error(f"truncated: {length} bytes at address {at} are not in the file of {self.size} bytes")
        self._stream.seek(at)
        content = self._stream.read(length)
        if len(content) != length:
            raise Hdf5Error("truncated")
        return content

    def messages(self, address: int) -> Iterator[tuple[int, int, bytes]]:
        """Yields type, flags and content of the messages of an object header.

        Args:
            address: Address of the header.

        Raises:
            Hdf5Error: If there is none, or it is damaged.
        """
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

    def members(self, tree: int, heap: int) -> dict[str, int | None]:
        """Reads the members of a group from its symbol table.

        Args:
            tree: Address of the tree of the table.
            heap: Address of the heap of the names.

        Returns:
            Addresses of the members by name; None for soft links.

        Raises:
            Hdf5Error: If the table is damaged.
        """
        head = Cursor(self.read(heap, 8 + 2 * self.lengths + self.offsets))
        if head.take(4) != b"HEAP":
            raise Hdf5Error("a group without names")
        head.take(4)
        size = head.number(self.lengths)
        head.take(self.lengths)
        names = self.read(head.number(self.offsets), size)
        found: dict[str, int | None] = {}
        width = 2 * self.offsets + 24
        for leaf in self.leaves(tree, 0, self.lengths):
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

    def leaves(self, root: int, kind: int, key: int, keys: list[bytes] | None = None) -> Iterator[int]:
        """Yields the children of the leaves of a tree of version 1.

        Args:
            root: Address of the tree.
            kind: Type of its nodes: 0 of groups, 1 of chunks.
            key: Size of a key, in bytes.
            keys: List to which the keys of the children are appended.

        Raises:
            Hdf5Error: If the tree is damaged or has no end.
        """
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

    def heap_object(self, cursor: Cursor, heaps: dict[int, dict[int, bytes]]) -> bytes:
        """Reads an object of a global heap.

        Args:
            cursor: Its address: that of the heap, and the number of the object in it.
            heaps: Objects of the heaps that have been read, by address and number; filled by this method.

        Raises:
            Hdf5Error: If the heap is damaged or too large.
        """
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
