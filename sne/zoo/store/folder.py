"""Writes files into a zoo folder: one writer at a time, and all of its files or none."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from sne.errors import ZooError
from sne.work import sync
from sne.zoo.store.split import SPLIT

INDEX = "networks.parquet"
COPY = "networks.copy.parquet"  # only the index maps weights to networks
TIMINGS = "timings.parquet"
DRAFTS = ".writing"
"""Folder inside the zoo in which a writer collects its files."""

_HELD: set[Path] = set()  # folders that this process has locked
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class FolderLock:
    """Lets one writer at a time into a folder; a context manager.

    The operating system releases the lock when the process ends, however it ends. Readers take no lock. Where the
    system or the file system has no such locks (Windows, some network disks), nobody is refused. The lock belongs to an
    open folder and not to a process: taken twice in one process, the second attempt is refused too.

    Args:
        folder: Folder to lock. It must exist when the lock is taken.
        doing: End of the error message, after the name of the folder.
    """

    def __init__(self, folder: Path | str, doing: str = "is being written by another process") -> None:
        self._folder = Path(folder)
        self._doing = doing
        self._handle: int | None = None
        self._is_held = False

    def take(self) -> None:
        """Takes the lock.

        Raises:
            ZooError: It is taken already.
        """
        try:
            import fcntl
        except ImportError:
            fcntl = None
        if fcntl is not None:
            handle = os.open(self._folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._handle = handle
            except OSError as error:
                os.close(handle)
                if error.errno in _TAKEN:
                    raise ZooError(f"{self._folder} {self._doing}") from None
        self._is_held = True
        _HELD.add(self._folder.resolve())

    @property
    def is_exclusive(self) -> bool:
        """Whether the lock is held, and the system refuses it to other writers."""
        return self._handle is not None

    def release(self) -> None:
        """Releases the lock, if it is held."""
        if self._is_held:
            _HELD.discard(self._folder.resolve())
            self._is_held = False
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "FolderLock":
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_locked_here(folder: Path) -> bool:
    """Whether this process holds the lock of a folder."""
    return folder.resolve() in _HELD


def publish(folder: Path, names: Sequence[str]) -> None:
    """Moves finished drafts into the zoo.

    The zoo is the old one until the index has moved, and the new one from then on. The files that move before it do not
    disturb the old index: new shards, and layouts, symmetries and durations that include the old ones. The split moves
    after the index; until then `split_file` finds it among the drafts. The copy of the index moves last, since
    an old copy describes the old zoo.

    Args:
        folder: Folder of the zoo.
        names: Files to move, shards first.
    """
    last = [name for name in (INDEX, SPLIT, COPY) if name in names]
    for name in [name for name in names if name not in last]:
        (folder / DRAFTS / name).replace(folder / name)
    sync(folder)
    for name in last:
        (folder / DRAFTS / name).replace(folder / name)
        sync(folder)


def split_file(folder: Path) -> Path:
    """Returns the path of the split of a zoo. It is among the drafts if a writer died between index and split."""
    draft = folder / DRAFTS / SPLIT
    return draft if draft.is_file() and not (folder / DRAFTS / INDEX).exists() else folder / SPLIT


def clear_drafts(folder: Path) -> None:
    """Removes the drafts of a dead writer, after moving the split if its index has moved already."""
    if split_file(folder) != folder / SPLIT:
        split_file(folder).replace(folder / SPLIT)
        sync(folder)
    (folder / DRAFTS / SPLIT).unlink(missing_ok=True)  # before the index: a split alone counts as published
    shutil.rmtree(folder / DRAFTS, ignore_errors=True)
