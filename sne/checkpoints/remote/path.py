"""Paths of remote files, which readers use as they use `pathlib.Path`."""

import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, final

from sne.checkpoints.remote.store import RemoteEntry, RemoteFacts, RemoteStore
from sne.errors import RemoteError

_BUFFER = 1 << 13


@final
class RemotePath:
    """A file or folder of a store, with those methods of `pathlib.Path` that readers need.

    Args:
        store: The store.
        inside: Path within the store, joined by "/"; empty for the store itself.
    """

    def __init__(self, store: RemoteStore, inside: str):
        self.store = store
        self._path = PurePosixPath(inside)

    def __str__(self) -> str:
        return self.store.address_of(self.inside)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, name: str | PurePosixPath) -> "RemotePath":
        return RemotePath(self.store, str(self._path / name))

    @property
    def inside(self) -> str:
        """Path within the store."""
        return "" if str(self._path) == "." else str(self._path)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self._path.name

    @property
    def stem(self) -> str:
        """Name without its suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """End of the name from the last dot on."""
        return self._path.suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder that holds it."""
        return RemotePath(self.store, str(self._path.parent))

    def resolve(self) -> "RemotePath":
        """Returns the path: a store has no links."""
        return self

    def is_relative_to(self, folder: "FilePath") -> bool:
        """Whether the path lies in a folder or below."""
        return isinstance(folder, RemotePath) and folder.store is self.store and self._path.is_relative_to(folder._path)

    def relative_to(self, folder: "FilePath") -> PurePosixPath:
        """Returns the path from a folder on."""
        if not isinstance(folder, RemotePath):
            raise ValueError(f"{self} is not in {folder}")
        return self._path.relative_to(folder._path)

    def is_file(self) -> bool:
        """Whether there is a file of this path."""
        return bool(self.inside) and self.store.facts(self.inside) is not None

    def is_dir(self) -> bool:
        """Whether there is a folder of this path, which the store can list."""
        return bool(self.entries())

    def exists(self) -> bool:
        """Whether there is a file or a folder of this path."""
        return self.is_file() or self.is_dir()

    def entries(self) -> tuple[RemoteEntry, ...]:
        """Returns the files and folders in this folder; none if it is no folder."""
        return self.store.entries(self.inside)

    def iterdir(self) -> Iterator["RemotePath"]:
        """Yields the paths in this folder."""
        return (self / entry.name for entry in self.entries())

    def stat(self) -> "RemoteStatus":
        """Returns the size of the file.

        Raises:
            RemoteError: If there is no such file, or it cannot be looked up.
        """
        return RemoteStatus(self._facts())

    def open(self, mode: str = "rb", buffering: int = _BUFFER) -> Any:
        """Opens the file to read bytes, of which those that are asked for are fetched.

        Args:
            mode: "rb".
            buffering: Number of bytes that are read at once; 0 for a stream without a buffer.
        """
        if mode != "rb":
            raise ValueError(f"a remote file is opened with mode 'rb', not {mode!r}")
        raw = RemoteStream(self)
        return raw if buffering == 0 else io.BufferedReader(raw, buffering if buffering > 1 else _BUFFER)

    def read_into(self, start: int, view: memoryview) -> None:
        """Reads a range, which lies within the file, into a buffer."""
        self.store.read_into(self.inside, start, view)

    def read_bytes(self) -> bytes:
        """Returns the content of the file."""
        buffer = bytearray(self.stat().st_size)
        self.read_into(0, memoryview(buffer))
        return bytes(buffer)

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Returns the content of the file as text."""
        return self.read_bytes().decode(encoding, errors)

    def download(self, reason: str) -> Path:
        """Returns a temporary file with the whole content, which exists as long as the store does.

        Args:
            reason: Why parts of it are not enough, for the message.
        """
        return self.store.download(self.inside, reason).path

    def _facts(self) -> RemoteFacts:
        facts = self.store.facts(self.inside) if self.inside else None
        if facts is None:
            raise RemoteError(self, "no such file")
        if facts.size < 0:  # the server does not say; the whole file is needed to know
            size = self.store.download(self.inside, "the server does not tell the size of the file").size
            return RemoteFacts(size, facts.version, has_ranges=False)
        return facts


FilePath: TypeAlias = Path | RemotePath
"""Path of a file that readers read: on a disk, or remote."""


class RemoteStatus:
    """What `RemotePath.stat` returns.

    Args:
        facts: What is known about the file.
    """

    def __init__(self, facts: RemoteFacts):
        self.st_size = facts.size
        self.version = facts.version


@final
class RemoteStream(io.RawIOBase):
    """A remote file as a stream of bytes that can be read from any place.

    Args:
        path: The file.
    """

    def __init__(self, path: RemotePath):
        super().__init__()
        self._path = path
        self._size = path.stat().st_size
        self._at = 0

    @property
    def name(self) -> str:
        """Address of the file."""
        return str(self._path)

    def readable(self) -> bool:
        """Bytes can be read."""
        return True

    def seekable(self) -> bool:
        """Any place can be read."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Sets the place of the next byte."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(22, "Invalid argument")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Returns the place of the next byte."""
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Reads up to the end of a buffer or of the file."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        if count:
            self._path.read_into(self._at, view[:count])
            self._at += count
        return count
