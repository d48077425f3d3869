"""Files that are written whole or not at all."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from sne.errors import WriteError


def write_atomically(path: Path | str, content: bytes | str) -> None:
    """Writes a file in one step: a reader sees the old content or the new content, never a part.

    Args:
        path: The file. It is replaced if it exists; its folder is created if it does not exist.
        content: The whole content; text is encoded as UTF-8.

    Raises:
        WriteError: The file cannot be written, for example because the disk is full. The old content is kept.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "a.txt", "content")
        ...     (Path(folder) / "a.txt").read_text()
        'content'
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields the path of a hidden partial file, which replaces `path` when the block ends without an error.

    Use it with writers that stream, such as those of parquet or safetensors. The partial file stands next to the
    final file and is forced to disk before it is renamed. If anything fails, including Ctrl-C, it is removed.

    Args:
        path: The file. It is replaced if it exists; its folder is created if it does not exist.

    Yields:
        The path to write to. An empty file stands there.

    Raises:
        WriteError: The file cannot be written, for example because the disk is full. The old content is kept.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "a.txt") as partial, partial.open("w") as file:
        ...         print("first line", file=file)
        ...     os.listdir(folder)
        ['a.txt']
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if path.exists() and not path.is_file():  # renaming would replace a device such as /dev/null
            raise WriteError(path, "it is a folder" if path.is_dir() else "it is not a regular file")
        if not path.parent.is_dir():
            _check_can_create_in(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.touch()
            mode = partial.stat().st_mode
            yield partial
            partial.chmod(mode)  # safetensors writes files that only their owner may read
            sync(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        concerned = {None, *map(str, (path, partial, path.parent))}
        if error.filename is not None and str(error.filename) not in concerned and path.parent.is_dir():
            raise  # the block failed to read another file
        raise WriteError.from_os_error(path, _plain(error)) from None
    except SafetensorError as error:  # safetensors reports a full disk with an error of its own
        raise WriteError.from_os_error(path, _plain(error)) from None


def sync(path: Path) -> None:
    """Forces the content of a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_can_write(path: Path | str) -> None:
    """Checks before long work that a file can be written.

    Args:
        path: The file. It may exist, and its folder need not exist. Nothing is created.

    Raises:
        WriteError: The path is a folder, or the file cannot be created there.

    Example:
        >>> check_can_write("/dev/null/a.parquet")
        Traceback (most recent call last):
        ...
        sne.errors.WriteError: cannot write /dev/null/a.parquet: /dev/null is not a folder
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise WriteError(path, "it is a folder" if path.is_dir() else "it is not a regular file")
        _check_can_create_in(path.parent)
    except OSError as error:
        raise WriteError.from_os_error(path, error) from None


def check_can_write_folder(path: Path | str) -> None:
    """Checks before long work that files can be written into a folder.

    Args:
        path: The folder, which need not exist. Nothing is created.

    Raises:
        WriteError: The path is a file, or the folder cannot be created or written.
    """
    path = Path(path)
    try:
        _check_can_create_in(path)
    except OSError as error:
        raise WriteError.from_os_error(path, error) from None


def _check_can_create_in(folder: Path) -> None:
    """Raises OSError if files cannot be created in a folder, or in the nearest of its parents that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(0, f"{folder} is not a folder")
    with tempfile.TemporaryFile(dir=folder):  # permissions do not reveal disks that are read-only
        pass


def _plain(error: Exception) -> OSError:
    """Returns the system's error behind an error of a library, which states the error number only in its text."""
    found = re.search(r"(?:os error |\[errno )(\d+)", str(error))
    if found:
        return OSError(0, os.strerror(int(found[1])))
    return error if isinstance(error, OSError) else OSError(0, str(error))
