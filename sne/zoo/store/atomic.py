"""Files that appear whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from sne.errors import ZooError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside its final place, forces it to disk, and renames it.

    Args:
        path: where the file shall stand; replaced if it exists. Its folder must exist.
        write: writes the whole file to the path it is given.

    Raises:
        ZooError: the disk is full or fails; what stood at the path before stands there still.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        try:
            write(draft)
            draft.chmod(0o644)  # safetensors writes files that only their owner may read
            sync(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync(path.parent)
    except (OSError, SafetensorError) as error:  # safetensors tells a full disk in its own way
        reason = getattr(error, "strerror", None) or str(error)
        raise ZooError(f"{path} cannot be written: {reason}") from None


def sync(path: Path) -> None:
    """Forces a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
