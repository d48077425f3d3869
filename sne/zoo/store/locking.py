"""One writer at a time in a folder."""

import errno
import os
from pathlib import Path
from types import TracebackType

from sne.errors import ZooError

_HELD: set[Path] = set()  # by this process
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class FolderLock:
    """Lets one writer at a time into a folder; a context manager.

    The system releases the lock when the process ends, however it ends. Readers take no lock. Where the system or
    the file system knows no such locks (Windows, some network disks), everyone is let in. The lock is of an open
    folder, not of a process: taken twice in one process, the second is refused as well.

    Args:
        folder: what to lock; it must exist when the lock is taken.
        doing: how the refusal ends, after the folder's name.
    """

    def __init__(self, folder: Path | str, doing: str = "is being written by another process") -> None:
        self._folder = Path(folder)
        self._doing = doing
        self._handle: int | None = None
        self._is_held = False

    def take(self) -> None:
        """Takes the lock.

        Raises:
            ZooError: another holds it.
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

    def release(self) -> None:
        """Gives the lock back; nothing happens where it is not held."""
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
