"""Finished runs of a zoo that is being made: many in one file, each whole or absent."""

import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from sne.errors import WriteError, ZooError

PACK_BYTES = 256 << 20
SYNC_SECONDS = 5.0
_MAGIC = b"SNEr"
_HEAD = struct.Struct("<4sHQ")  # magic, length of the name, length of the data
_CHECK = struct.Struct("<I")  # CRC-32 of head, name and data


class Frame(NamedTuple):
    """One run in a pack file: its name, its bytes, and the position of the next frame."""

    name: str
    data: bytes
    end: int


class RunPacks:
    """Finished runs of a zoo that is being made, by name; a context manager. One writer at a time, see `FolderLock`.

    Runs are appended to a few large files as frames of head, name, data and checksum, so that a run needs no file of
    its own. Appended runs survive the end of the process, however it ends, and after some seconds also a crash of the
    machine. Data after the last whole frame of a file (a frame that was being written, or pages that never reached
    the disk) is cut off when the folder is opened.

    Args:
        folder: Folder of the files; it must exist.
        pack_bytes: Size in bytes at which a file is closed and the next one is begun.
        sync_seconds: Longest time in seconds until a run is forced to disk, as long as others follow.

    Raises:
        ZooError: A file cannot be read or truncated.
    """

    def __init__(self, folder: Path, *, pack_bytes: int = PACK_BYTES, sync_seconds: float = SYNC_SECONDS) -> None:
        self._folder = folder
        self._pack_bytes = pack_bytes
        self._sync_seconds = sync_seconds
        self._places: dict[str, tuple[Path, int]] = {}
        self._synced = time.monotonic()
        self._file: BinaryIO | None = None
        self._end = 0
        self._packs = sorted(folder.glob("runs-*.pack"))
        try:
            for pack in self._packs:
                self._scan(pack)
        except OSError as error:
            raise ZooError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from None

    def __enter__(self) -> "RunPacks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(self, name: str, data: bytes) -> None:
        """Adds a run.

        Args:
            name: Name of the run. If the name exists already, nothing is added.
            data: Bytes of the run.

        Raises:
            WriteError: The disk is full or fails. Runs that were appended before stay whole.
        """
        if name in self._places:
            return
        encoded = name.encode()
        head = _HEAD.pack(_MAGIC, len(encoded), len(data)) + encoded
        frame = head + _CHECK.pack(zlib.crc32(data, zlib.crc32(head))) + data
        file = self._file if self._file is not None and self._end < self._pack_bytes else None
        try:
            file = file or self._next_file()
            _write_all(file, frame)
            if time.monotonic() - self._synced > self._sync_seconds:
                self._sync()
        except OSError as error:
            self._cut_back()
            raise WriteError.from_os_error(self._folder, error) from None
        self._places[name] = self._packs[-1], self._end
        self._end += len(frame)

    def read(self, name: str) -> bytes:
        """Returns the bytes of a run.

        Raises:
            ZooError: The bytes are missing or have changed since they were appended.
        """
        path, start = self._places[name]
        try:
            with path.open("rb") as file:
                frame = _read_frame(file, start, path.stat().st_size)
        except OSError as error:
            raise ZooError(f"{path} cannot be read: {error.strerror or error}") from None
        if frame is None or frame.name != name:
            raise ZooError(f"{path} no longer holds {name} whole; the same call trains it again")
        return frame.data

    def close(self) -> None:
        """Forces all appended runs to disk.

        Raises:
            WriteError: The disk is full or fails.
        """
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with file:
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError.from_os_error(self._folder, error) from None

    def _scan(self, pack: Path) -> None:
        """Records the whole frames of a file and cuts off the rest."""
        size, start = pack.stat().st_size, 0
        with pack.open("r+b") as file:
            while (frame := _read_frame(file, start, size)) is not None:
                self._places.setdefault(frame.name, (pack, start))
                start = frame.end
            if start < size:
                file.truncate(start)

    def _next_file(self) -> BinaryIO:
        """Opens the last file if it is not full, otherwise a new one."""
        self.close()
        last = self._packs[-1] if self._packs else None
        if last is None or last.stat().st_size >= self._pack_bytes:
            last = self._folder / f"runs-{len(self._packs):05d}.pack"
            self._packs.append(last)
        self._file = last.open("ab", buffering=0)  # no buffer: its content would be lost with the process
        self._end = last.stat().st_size
        return self._file

    def _sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _cut_back(self) -> None:
        """Removes the beginning of a frame that did not fit on the disk."""
        if self._file is not None:
            with suppress(OSError):  # if this fails, the next opening cuts it
                self._file.truncate(self._end)


def _write_all(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _read_frame(file: BinaryIO, start: int, size: int) -> Frame | None:
    """Returns the frame that starts at a position; None if there is no whole frame."""
    file.seek(start)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, name_length, data_length = _HEAD.unpack(head)
    end = start + _HEAD.size + name_length + _CHECK.size + data_length
    if magic != _MAGIC or end > size:
        return None
    name = file.read(name_length)
    (check,) = _CHECK.unpack(file.read(_CHECK.size))
    data = file.read(data_length)
    if zlib.crc32(data, zlib.crc32(name, zlib.crc32(head))) != check:
        return None
    return Frame(name.decode(errors="replace"), data, end)
