"""Stamps of checkpoints, which change when their files do."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def stamp(path: str | Path) -> str:
    """Returns a text that changes when a checkpoint does: size and times of the last change of its files.

    The times are that of the content, which tools that copy files set back, and that of the entry in the file system
    (`st_ctime`), which nobody can set. A file that is replaced by another one of equal size and time is therefore
    found; one whose permissions or links change counts as changed, too. No content is read. On Windows, the second
    time is that of creation.

    These are the files in a folder; and a file with the configuration beside it (`config.json` and the like), with its
    shards if it is an index of them, and with external data of ONNX under the usual names (`.onnx.data`, `.onnx_data`).
    External data under other names are not looked at. The stamp of a remote file is its size and its ETag, that of a
    folder on the Hub the commit.

    Returns:
        The text; empty if there is no such file, or if a server does not tell when it changes.
    """
    if ":/" in str(path):
        from sne.checkpoints.remote import is_remote, version_of

        if is_remote(path):
            return version_of(path)
    if str(path).endswith(".index.json"):
        path = Path(path).parent
    try:
        status = os.stat(path)  # noqa: PTH116 (many paths, quickly)
        if not stat.S_ISDIR(status.st_mode):
            return "; ".join([_stamp_of(status), *_stamps_beside(path)])
        entries = [
            f"{Path(folder, name)} {_stamp_of(Path(folder, name).stat())}"
            for folder, _, names in os.walk(path)
            for name in names
        ]
        return hashlib.sha256("\n".join(sorted(entries)).encode(errors="surrogateescape")).hexdigest()
    except OSError:
        return ""


def _stamps_beside(path: str | Path) -> Iterator[str]:
    """Yields names and stamps of the files beside a checkpoint that are read with it."""
    from sne.checkpoints.configuration import CONFIG_FILES

    folder, name = os.path.split(path)
    external = [name + end for end in (".data", "_data")] if name.endswith(".onnx") else []
    for other in (*CONFIG_FILES, *external):
        try:
            status = os.stat(os.path.join(folder, other))  # noqa: PTH116, PTH118 (many paths, quickly)
        except OSError:
            continue
        yield f"{other} {_stamp_of(status)}"


def _stamp_of(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
