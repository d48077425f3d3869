"""Functions for the tests of executors, in a module that workers can import."""

import os
import signal
import time
from pathlib import Path

from sne.errors import ZooError


def note(item: int, folder: Path) -> int:
    """Leaves a file and doubles; fails at 1 and refuses 2."""
    if item == 1:
        raise ValueError("one\nis enough")
    if item == 2:
        raise ZooError("two is refused")
    (folder / str(item)).touch()
    return 2 * item


def die(item: int, folder: Path, times: int) -> int:
    """Kills its process at 1, so many times."""
    if item == 1 and len(list(folder.glob("died-*"))) < times:
        (folder / f"died-{time.time_ns()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def wait_long(item: int, folder: Path) -> int:
    """Notes its process; all but 0 take a minute."""
    (folder / str(item)).write_text(str(os.getpid()))
    time.sleep(60 if item else 0)
    return item


def with_shared(item: int, *shared: str) -> str:
    return f"{item}{''.join(shared)}"


def not_picklable(item: int) -> object:
    return lambda: item


def note_or_die(item: int, folder: Path) -> int:
    """As `note`, but kills its process at 3."""
    if item == 3:
        die(1, folder, 99)
    return note(item, folder)
