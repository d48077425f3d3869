"""The contract of places that hold remote files: what is there, and the bytes of a range."""

import abc
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from sne.checkpoints.remote.blocks import RemoteBlocks
from sne.checkpoints.remote.downloads import Download
from sne.errors import RemoteError


@dataclass(frozen=True)
class RemoteFacts:
    """What is known about a remote file before its content is read.

    Args:
        size: Number of bytes.
        version: Text that changes when the file does, such as its ETag; empty if the server tells none.
        has_ranges: Whether the server sends parts of the file.
    """

    size: int
    version: str
    has_ranges: bool = True


@dataclass(frozen=True)
class RemoteEntry:
    """A file or a folder in a folder.

    Args:
        name: Its name.
        is_folder: Whether it is a folder.
    """

    name: str
    is_folder: bool


class RemoteStore(abc.ABC):
    """A place that holds remote files, such as a repository of the Hub, with the parts of them that were read.

    A store derives from this class and implements the abstract methods; which parts are fetched and kept is decided
    here, the same for all of them. Paths are relative to the store and are joined by "/".

    Args:
        address: Address of the store, as `conceal` returns it.
    """

    def __init__(self, address: str):
        self.address = address
        self._lock = threading.RLock()
        self._facts: dict[str, RemoteFacts | None] = {}
        self._entries: dict[str, tuple[RemoteEntry, ...]] = {}
        self._blocks: dict[str, RemoteBlocks] = {}
        self._downloads: dict[str, Download] = {}

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"{self.address}: an open remote file cannot be sent to another process; send its address")

    @abc.abstractmethod
    def address_of(self, path: str) -> str:
        """Returns the address of a file or a folder, as messages show it."""

    @abc.abstractmethod
    def find_file(self, path: str) -> RemoteFacts | None:
        """Looks a file up.

        Returns:
            What is known about it; None if there is no such file.

        Raises:
            RemoteError: If that cannot be found out.
        """

    @abc.abstractmethod
    def list_folder(self, path: str) -> tuple[RemoteEntry, ...]:
        """Lists a folder.

        Returns:
            What is in it; empty if there is no such folder, or if the store cannot list folders.

        Raises:
            RemoteError: If that cannot be found out.
        """

    @abc.abstractmethod
    def folder_version(self, path: str) -> str:
        """Returns a text that changes when what is in a folder does; empty if the store tells none."""

    @abc.abstractmethod
    def fetch(self, path: str, start: int, view: memoryview) -> None:
        """Fetches a range of a file, exactly as long as a buffer, from the same version of it as before.

        Args:
            path: The file.
            start: Offset of the first byte.
            view: The buffer.

        Raises:
            RemoteError: If the range is not there, if the file has changed, or if the server fails.
        """

    @abc.abstractmethod
    def stream(self, path: str) -> Iterator[bytes]:
        """Yields the whole content of a file in pieces.

        Raises:
            RemoteError: If it does not arrive whole.
        """

    def facts(self, path: str) -> RemoteFacts | None:
        """Returns what is known about a file, looked up once; None if there is no such file."""
        with self._lock:
            if path not in self._facts:
                self._facts[path] = self.find_file(path)
            return self._facts[path]

    def entries(self, path: str) -> tuple[RemoteEntry, ...]:
        """Returns what is in a folder, looked up once."""
        with self._lock:
            if path not in self._entries:
                self._entries[path] = self.list_folder(path)
            return self._entries[path]

    def read_into(self, path: str, start: int, view: memoryview) -> None:
        """Reads a range of a file, which lies within it, from what was fetched before as far as possible.

        Args:
            path: The file.
            start: Offset of the first byte.
            view: Where the bytes go.

        Raises:
            RemoteError: If the file cannot be fetched.
        """
        with self._lock:
            facts = self.facts(path)
            if facts is None:
                raise RemoteError(self.address_of(path), "no such file")
            if path in self._downloads or not facts.has_ranges:
                self.download(path, "the server does not send parts of files").read_into(start, view)
                return
            if path not in self._blocks:
                self._blocks[path] = RemoteBlocks(facts.size, lambda at, into: self.fetch(path, at, into))
            self._blocks[path].read_into(start, view)

    def keep(self, path: str, size: int, content: bytes) -> None:
        """Keeps the beginning of a file that was fetched while it was looked up.

        Args:
            path: The file.
            size: Size of the file.
            content: Its first bytes.
        """
        self._blocks[path] = RemoteBlocks(size, lambda at, into: self.fetch(path, at, into))
        self._blocks[path].keep(content)

    def download(self, path: str, reason: str) -> Download:
        """Returns the whole file in a temporary one, which is removed with the store.

        Args:
            path: The file.
            reason: Why parts of it are not enough, for the message.

        Raises:
            RemoteError: If it is too large or does not arrive whole.
        """
        with self._lock:
            if path not in self._downloads:
                facts = self.facts(path)
                size = None if facts is None or facts.size < 0 else facts.size
                self._downloads[path] = Download(self.address_of(path), size, self.stream(path), reason)
            return self._downloads[path]
