"""Whole remote files in temporary ones, for servers and formats that cannot be read in parts."""

import logging
import os
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import final

from sne.errors import RemoteError

MOST_DOWNLOADED = 2 << 30
"""Largest size in bytes of a file that is downloaded whole."""

_SAID = 16 << 20
_SECONDS = 5.0


@final
class Download:
    """A remote file in a temporary file, which is removed with this object.

    Downloads of more than 16 MiB are logged as warnings, with their progress every 5 s.

    Args:
        address: Address of the remote file, for messages.
        size: Its size in bytes; None if the server does not say.
        content: The content in pieces.
        reason: Why it is downloaded whole.

    Raises:
        RemoteError: If it has more than 2 GiB, or fewer or more bytes than its server said.
    """

    def __init__(self, address: str, size: int | None, content: Iterator[bytes], reason: str):
        if size is not None and size > MOST_DOWNLOADED:
            raise _too_large(address, size, reason)
        handle, path = tempfile.mkstemp(prefix="sne-", suffix=PurePosixPath(address.partition("?")[0]).suffix[:20])
        self.path = Path(path)
        self.size = 0
        self._remove = weakref.finalize(self, _unlink, path)
        said = time.monotonic()
        log = logging.getLogger(__name__)
        if size is None or size > _SAID:
            log.warning("%s: downloading %s, since %s", address, _megabytes(size), reason)
        with os.fdopen(handle, "wb") as stream:
            for piece in content:
                stream.write(piece)
                self.size += len(piece)
                if self.size > MOST_DOWNLOADED:
                    raise _too_large(address, self.size, reason)
                if time.monotonic() - said > _SECONDS:
                    said = time.monotonic()
                    log.warning("%s: %s of %s downloaded", address, _megabytes(self.size), _megabytes(size))
        if size is not None and self.size != size:
            raise RemoteError(address, f"the server sent {self.size} bytes of a file of {size}")

    def read_into(self, start: int, view: memoryview) -> None:
        """Reads a range, which lies within the file.

        Args:
            start: Offset of the first byte.
            view: Where the bytes go.
        """
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(start)
            done = 0
            while done < len(view):
                count = stream.readinto(view[done:])
                if not count:
                    raise RemoteError(str(self.path), "the temporary file has become shorter")
                done += count


def _too_large(address: str, size: int, reason: str) -> RemoteError:
    return RemoteError(
        address,
        f"{_megabytes(size)} would have to be downloaded, since {reason}; at most {_megabytes(MOST_DOWNLOADED)} are: "
        "download the file yourself, and name the copy",
    )


def _megabytes(size: int | None) -> str:
    return "a file of unknown size" if size is None else f"{size / 1e6:,.1f} MB"


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)
