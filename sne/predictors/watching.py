"""Folders that are watched: checkpoints that are new, rewritten or renamed, once they are complete."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, final

from sne.errors import PredictorError
from sne.predictors.sources import checkpoints_below
from sne.predictors.stamps import stamp

Event: TypeAlias = Literal["new", "rewritten", "renamed"]
"""What happened to a checkpoint."""

PATIENCE = 3
"""Number of attempts to read a checkpoint that does not change any more, before it is given up."""


@dataclass(frozen=True)
class Change:
    """A checkpoint that is complete, as far as can be seen: its files have not changed between two looks.

    Args:
        path: The checkpoint: a file, or a folder that is laid out as one network.
        event: What happened to it.
        mark: Stamp of its files, see `sne.predictors.stamps.stamp`.
        before: Its former path, if it was renamed.
    """

    path: str
    event: Event
    mark: str
    before: str | None = None

    @property
    def is_current(self) -> bool:
        """Whether its files are still as they were; otherwise what was read of them is worth nothing."""
        return stamp(self.path) == self.mark


@final
class FolderWatch:
    """Looks into folders again and again, and remembers what was done.

    Args:
        folders: The folders, with all folders below them.
        only_new: Whether checkpoints that are there at the first look count as done.

    Raises:
        PredictorError: A folder does not exist, or is a zoo.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     watch = FolderWatch([folder])
        ...     _ = (Path(folder) / "a.pt").write_bytes(b"a")
        ...     first = watch.look()
        ...     (change,) = watch.look()
        >>> first, change.event, Path(change.path).name
        ([], 'new', 'a.pt')
    """

    def __init__(self, folders: Sequence[str], *, only_new: bool = False) -> None:
        for folder in folders:
            if not Path(folder).is_dir():
                raise PredictorError(f"{folder}: {'a file' if Path(folder).exists() else 'no such folder'}, "
                                     "expected a folder to watch")  # fmt: skip
        self._folders = list(dict.fromkeys(folders))
        self._seen: dict[str, str] = {}
        self._done: dict[str, str] = {}
        self._files: dict[tuple[int, ...], str] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        if only_new:
            for path, mark in self._list().items():
                self._finish(path, mark)

    @property
    def pending(self) -> list[str]:
        """Checkpoints of the last look that are not done: being written, or not read yet."""
        return [path for path, mark in self._seen.items() if self._done.get(path) != mark]

    def look(self) -> list[Change]:
        """Looks once.

        Returns:
            The checkpoints that are not done and have not changed since the last look, the oldest first.

        Raises:
            PredictorError: A folder is a zoo.
        """
        now = self._list()
        for path in self._done.keys() - now.keys():
            if not Path(path).exists():  # a new file of that name is new; this one may come back under another name
                del self._done[path]
        found = [
            self._change(path, mark)
            for path, mark in now.items()
            if self._done.get(path) != mark and self._seen.get(path) == mark
        ]
        self._seen = now
        return sorted(found, key=lambda change: (_time(change.path), change.path))

    def done(self, change: Change) -> None:
        """Notes that a checkpoint was read; it is found again when it changes."""
        self._attempts.pop((change.path, change.mark), None)
        self._finish(change.path, change.mark)

    def failed(self, change: Change) -> bool:
        """Notes that a checkpoint cannot be read.

        Returns:
            Whether it is given up, and found again only when it changes. The first times it may be incomplete, and is
            found at the next look.
        """
        key = (change.path, change.mark)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        if self._attempts[key] < PATIENCE:
            return False
        self.done(change)
        return True

    def _list(self) -> dict[str, str]:
        """Returns the stamps of all checkpoints; without those that vanish meanwhile."""
        found: dict[str, str] = {}
        for folder in self._folders:
            for path in _checkpoints(folder):
                if mark := stamp(path):
                    found.setdefault(str(path), mark)
        return found

    def _change(self, path: str, mark: str) -> Change:
        before = self._files.get(_identity(path))
        if path in self._done:
            return Change(path, "rewritten", mark)
        if before is not None and before != path and not Path(before).exists():
            return Change(path, "renamed", mark, before)
        return Change(path, "new", mark)

    def _finish(self, path: str, mark: str) -> None:
        self._done[path] = mark
        if identity := _identity(path):
            self._files[identity] = path


def _checkpoints(folder: str) -> Iterator[Path]:
    """Yields the checkpoints in a folder; also those below a folder that is a network itself, as trainers leave it."""
    try:
        found = checkpoints_below(folder)
        yield from found
        if found == [Path(folder)]:
            inner = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
            for path in inner:
                yield from checkpoints_below(path)
    except FileNotFoundError:  # renamed or deleted meanwhile; the next look finds what is there
        return


def _identity(path: str) -> tuple[int, ...]:
    """Returns what a file keeps when it is renamed; empty if it is gone."""
    try:
        status = os.stat(path)  # noqa: PTH116 (many paths, quickly)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _time(path: str) -> int:
    """Returns when a file was last changed, in nanoseconds; 0 if it is gone."""
    return (_identity(path) or (0,))[-1]
