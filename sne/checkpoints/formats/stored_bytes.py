"""Where the bytes of a pickle or a storage lie: in a file, in memory, or compressed in an archive."""

import abc
import mmap
import zlib
from collections.abc import Hashable
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.raw_data import read_bytes
from sne.checkpoints.remote.path import FilePath, RemotePath
from sne.errors import CheckpointError

_SPARE = 64 * 2**20
_GROWTH = 8
_STEP = 2**20
_DAMAGED = "damaged: the content of a member of the archive does not fit its checksum"


class StoredBytes(abc.ABC):
    """A run of bytes that is read when it is needed.

    Args:
        file: Path of the file that holds the bytes, for messages.
        size: Number of bytes.
    """

    def __init__(self, file: FilePath, size: int):
        self.file = file
        self.size = size

    @property
    @abc.abstractmethod
    def is_seekable(self) -> bool:
        """Whether a range is read without what lies before it."""

    @property
    @abc.abstractmethod
    def key(self) -> Hashable:
        """Identifies the bytes: equal for two runs that are the same."""

    @property
    @abc.abstractmethod
    def most(self) -> int:
        """Largest number of bytes that a tensor made from this run may take: it is in proportion to the file."""

    @abc.abstractmethod
    def read(self, start: int, length: int) -> Tensor:
        """Reads a range.

        Args:
            start: Offset of the first byte within the run.
            length: Number of bytes.

        Returns:
            The bytes as a uint8 tensor.

        Raises:
            CheckpointError: If the range is not there or cannot be read.
        """

    @abc.abstractmethod
    def part(self, start: int, length: int) -> "StoredBytes":
        """Returns a part of the run without reading it.

        Args:
            start: Offset of the first byte within the run.
            length: Number of bytes.
        """

    @abc.abstractmethod
    def buffer(self) -> tuple[bytes | mmap.mmap, int]:
        """Returns something that gives bytes by their index, and the index of the first byte of the run."""

    def read_bytes(self, start: int, length: int) -> bytes:
        """Reads a range, cut at the end of the run.

        Args:
            start: Offset of the first byte within the run.
            length: Number of bytes.
        """
        length = max(0, min(length, self.size - start))
        return self.read(start, length).numpy().tobytes()

    def check(self, start: int, length: int) -> None:
        """Checks that a range lies within the run.

        Args:
            start: Offset of the first byte within the run.
            length: Number of bytes.

        Raises:
            CheckpointError: If it does not.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise CheckpointError(self.file, f"truncated: bytes {start} to {start + length} of {self.size} are needed")


def most_memory(file_size: int) -> int:
    """Returns the largest number of bytes that something read from a file may take.

    Args:
        file_size: Size of the file, in bytes.

    Returns:
        Eight times the file and 64 MiB.
    """
    return _GROWTH * file_size + _SPARE


@final
class MappedFile:
    """A file: tensors are read from it, and the pages of its pickles and directories are mapped.

    Args:
        path: Path of the file.

    Raises:
        CheckpointError: If the file cannot be read.
    """

    def __init__(self, path: FilePath):
        self.path = path
        try:
            self.size: int = path.stat().st_size
        except OSError as error:
            raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error
        self._mmap: mmap.mmap | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedFile, (self.path,)

    def read(self, start: int, length: int) -> Tensor:
        """Reads a range of the file into memory of its own, see `read_bytes`.

        Args:
            start: Offset of the first byte.
            length: Number of bytes.

        Raises:
            CheckpointError: If the file is shorter than it was, or cannot be read.
        """
        return read_bytes(self.path, start, length, "a storage")

    def peek(self, start: int, length: int) -> bytes:
        """Returns a copy of a short range, cut at the end of the file.

        Args:
            start: Offset of the first byte.
            length: Number of bytes.

        Raises:
            CheckpointError: If the file cannot be read.
        """
        if not self.size:
            return b""
        if isinstance(self.path, RemotePath):
            buffer = bytearray(max(0, min(length, self.size - start)))
            self.path.read_into(start, memoryview(buffer))
            return bytes(buffer)
        try:
            return self.map()[start : start + length]
        except (OSError, ValueError) as error:
            raise CheckpointError(self.path, f"cannot be read: {error}") from error

    def map(self) -> mmap.mmap:
        """Returns the mapped file, which gives bytes by their index. A remote file is downloaded before."""
        if self._mmap is None:
            path = self.path
            if isinstance(path, RemotePath):
                path = path.download("its content is read in no order")
            with path.open("rb") as stream:
                self._mmap = mmap.mmap(stream.fileno(), self.size, access=mmap.ACCESS_COPY)
        return self._mmap


@final
class FileBytes(StoredBytes):
    """Bytes of a file.

    Args:
        mapped: The file.
        start: Offset of the first byte in the file.
        size: Number of bytes.
        crc: CRC-32 of the bytes; None if it is not known.
    """

    def __init__(self, mapped: MappedFile, start: int, size: int, crc: int | None = None):
        super().__init__(mapped.path, size)
        self._mapped = mapped
        self._start = start
        self._crc = crc

    @property
    def is_seekable(self) -> bool:
        """Ranges are read directly."""
        return True

    @property
    def key(self) -> Hashable:
        """Position in the file."""
        return (str(self.file), self._start)

    @property
    def most(self) -> int:
        """Bound in proportion to the file."""
        return most_memory(self._mapped.size)

    def read(self, start: int, length: int) -> Tensor:
        """Reads a range of the file."""
        self.check(start, length)
        if self._start + start + length > self._mapped.size:
            raise CheckpointError(self.file, "truncated: the file ends inside a storage")
        return self._mapped.read(self._start + start, length)

    def verify(self) -> None:
        """Compares the run with its checksum, once, if it has one.

        Raises:
            CheckpointError: If they differ.
        """
        if self._crc is None:
            return
        found = 0
        for position in range(0, self.size, _STEP):
            found = zlib.crc32(self.read_bytes(position, _STEP), found)
        if found != self._crc:
            raise CheckpointError(self.file, _DAMAGED)
        self._crc = None

    def buffer(self) -> tuple[bytes | mmap.mmap, int]:
        """Returns a copy of short runs, and the mapped file for long ones."""
        if self.size <= _STEP * 64:
            return self._mapped.peek(self._start, self.size), 0
        return self._mapped.map(), self._start

    def part(self, start: int, length: int) -> "FileBytes":
        """Returns a part of the run."""
        self.check(start, length)
        return FileBytes(self._mapped, self._start + start, length)


@final
class MemoryBytes(StoredBytes):
    """Bytes in memory.

    Args:
        file: Path of the file that they come from.
        data: The bytes.
        most: Largest number of bytes that a tensor made from them may take.
    """

    def __init__(self, file: FilePath, data: bytes, most: int):
        super().__init__(file, len(data))
        self._data = data
        self._most = most

    @property
    def is_seekable(self) -> bool:
        """Ranges are read directly."""
        return True

    @property
    def key(self) -> Hashable:
        """Identity of the object."""
        return id(self._data)

    @property
    def most(self) -> int:
        """Bound in proportion to the file that the bytes come from."""
        return self._most

    def read(self, start: int, length: int) -> Tensor:
        """Returns a copy of a range."""
        self.check(start, length)
        return torch.frombuffer(bytearray(self._data[start : start + length] or b"\0"), dtype=torch.uint8)[:length]

    def buffer(self) -> tuple[bytes | mmap.mmap, int]:
        """Returns the bytes."""
        return self._data, 0

    def part(self, start: int, length: int) -> "MemoryBytes":
        """Returns a copy of a part of the run."""
        self.check(start, length)
        return MemoryBytes(self.file, self._data[start : start + length], self._most)


@final
class DeflatedBytes(StoredBytes):
    """Bytes of a compressed member of a zip archive, decompressed when they are needed.

    Args:
        packed: The compressed bytes.
        size: Number of bytes that the archive claims for the member.
        crc: CRC-32 of the member, with which it is compared when all of it is decompressed.
    """

    def __init__(self, packed: StoredBytes, size: int, crc: int):
        super().__init__(packed.file, size)
        self._packed = packed
        self._crc = crc

    @property
    def is_seekable(self) -> bool:
        """Decompression starts at the beginning."""
        return False

    @property
    def key(self) -> Hashable:
        """Position of the compressed bytes."""
        return self._packed.key

    @property
    def most(self) -> int:
        """Bound in proportion to the archive."""
        return self._packed.most

    def read(self, start: int, length: int) -> Tensor:
        """Decompresses up to the end of a range."""
        self.check(start, length)
        return self._inflate(start + length)[start:]

    def buffer(self) -> tuple[bytes | mmap.mmap, int]:
        """Decompresses the run."""
        return self._inflate(self.size).numpy().tobytes(), 0

    def part(self, start: int, length: int) -> MemoryBytes:
        """Returns a copy of a part of the run."""
        self.check(start, length)
        return MemoryBytes(self.file, self.read_bytes(start, length), self.most)

    def _inflate(self, end: int) -> Tensor:
        """Decompresses up to an offset. Memory is taken for what is there, not for what is claimed."""
        if end > self.most:
            raise CheckpointError(self.file, f"a member of {self.size} bytes is compressed far too well to be read")
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        result = bytearray()
        try:
            for position in range(0, self._packed.size, _STEP):
                packed = self._packed.read_bytes(position, _STEP)
                while packed and len(result) < end:
                    result += stream.decompress(packed, min(_STEP, end - len(result)))
                    packed = stream.unconsumed_tail
                if len(result) >= end or stream.eof:
                    break
        except zlib.error as error:
            raise CheckpointError(self.file, f"damaged zip archive: {error}") from error
        if len(result) < end:
            raise CheckpointError(self.file, f"damaged zip archive: a member of {self.size} bytes has {len(result)}")
        if end == self.size and zlib.crc32(result) != self._crc:
            raise CheckpointError(self.file, _DAMAGED)
        return torch.frombuffer(result or bytearray(1), dtype=torch.uint8)[:end]
