"""The content of a file, recognised by its first bytes and its zip members rather than by its name."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sne.checkpoints.formats.foreign import beginning_of_text, find_foreign
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError, RemoteError

_HEAD = 64


@dataclass(frozen=True)
class FileStart:
    """The beginning of a file, from which its format is recognised.

    Args:
        path: Path of the file.
        head: First bytes of the file, at most 64.
    """

    path: FilePath
    head: bytes

    @classmethod
    def read(cls, path: FilePath) -> "FileStart":
        """Reads the beginning of a file.

        Args:
            path: An existing file.

        Raises:
            CheckpointError: If the file is empty or cannot be read.
        """
        try:
            with path.open("rb") as stream:
                head = stream.read(_HEAD)
        except OSError as error:
            raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error
        if not head:
            raise CheckpointError(path, "the file is empty, expected a checkpoint")
        return cls(path, head)

    @property
    def suffix(self) -> str:
        """The suffix of the file's name, in lower case."""
        return self.path.suffix.lower()

    @cached_property
    def members(self) -> frozenset[str]:
        """Names of the members if the file is a zip archive, otherwise an empty set.

        Raises:
            CheckpointError: If the archive is damaged.
        """
        if not self.head.startswith(b"PK"):
            return frozenset()
        try:
            with self.path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
                return frozenset(archive.namelist())
        except RemoteError:
            raise
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CheckpointError(self.path, f"truncated or damaged zip archive: {error}") from error

    @property
    def foreign(self) -> str | None:
        """Name of a known format that is not read, with what to do, such as "a PNG image"; otherwise None."""
        if self.head.startswith(b"PK"):
            shown = ", ".join(sorted(self.members)[:3]) + (", ..." if len(self.members) > 3 else "")
            return f"a zip archive without data.pkl ({shown}); unpack it and name the checkpoint inside"
        return find_foreign(self.head, self.path.name)

    @property
    def foreign_first(self) -> str | None:
        """As `foreign`, but only for files that a reader would take for its own."""
        return find_foreign(self.head, self.path.name, is_first=True)

    def describe(self) -> str:
        """Describes content of unknown format for an error message."""
        if (text := beginning_of_text(self.head)) is not None:
            return f"it seems to be text: {text!r}"
        return f"its first bytes are {self.head[:8].hex(' ')}"


@dataclass(frozen=True)
class Format:
    """A checkpoint format: how it is recognised and how it is read.

    Args:
        name: Name of the format in messages.
        suffixes: Usual suffixes of such files, used to find checkpoints in folders and in messages.
        recognises: Whether a file has this format, judged by its content.
        open: Opens a file of this format without loading values. Its second argument is the name of the network to
            read if the file holds several, as in `sne.read_network`; None for the main one. A format that holds one
            flat list of tensors ignores it.
        holds_tree: Whether the content is a tree of mappings and lists, so that `open` finds the selected network
            itself. For other formats the selection is a prefix of the tensors' names.
    """

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[FileStart], bool]
    open: Callable[[FilePath, str | None], StoredTensors]
    holds_tree: bool = False
