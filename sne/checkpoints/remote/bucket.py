"""Objects of S3 and of Google Cloud Storage, through fsspec."""

import hashlib
import logging
from collections.abc import Iterator
from typing import Any, final

from sne.checkpoints.remote.store import RemoteEntry, RemoteFacts, RemoteStore
from sne.errors import RemoteError, install_hint

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
_PUBLIC = "FSSPEC_S3_ANON=true in the environment reads public buckets without credentials"
_STEP = 8 << 20
_MARKS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "updated", "mtime", "created")


@final
class BucketStore(RemoteStore):
    """A bucket. Credentials are those that s3fs and gcsfs find in the environment.

    After each range the object is looked up again, so that one that was replaced in the meantime is noticed.

    Args:
        address: `s3://bucket/path` or `gs://bucket/path`.

    Raises:
        RemoteError: If a package is not installed, or the bucket has no name.
    """

    def __init__(self, address: str):
        scheme, _, rest = address.partition("://")
        bucket, _, path = rest.partition("/")
        if not bucket:
            raise RemoteError(address, "the address names no bucket")
        super().__init__(f"{scheme}://{bucket}")
        self.path = path.strip("/")
        self._bucket = bucket
        package = _PACKAGES[scheme]
        try:
            import fsspec
        except ImportError as error:
            raise RemoteError(
                address, f"reading from {scheme}:// needs the packages fsspec and {package}; {install_hint('hub')}"
            ) from error
        try:
            self._system: Any = fsspec.filesystem(scheme, skip_instance_cache=True)
        except ImportError as error:
            raise RemoteError(
                address, f"reading from {scheme}:// needs the package {package}: pip install {package}"
            ) from error
        except Exception as error:
            raise RemoteError(address, f"{package} cannot be used: {_line(error)}") from error
        logging.getLogger("gcsfs").addFilter(_is_of_use)

    def address_of(self, path: str) -> str:
        """Returns the address of an object or a folder."""
        return f"{self.address}/{path}" if path else self.address

    def find_file(self, path: str) -> RemoteFacts | None:
        """Looks an object up."""
        try:
            info = self._system.info(self._full(path), refresh=True)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed(path, error) from error
        if info.get("type") != "file":
            return None
        size = info.get("size")
        if not isinstance(size, int):
            raise RemoteError(self.address_of(path), "its size is not known")
        return RemoteFacts(size, " ".join(str(info[mark]) for mark in _MARKS if info.get(mark)))

    def list_folder(self, path: str) -> tuple[RemoteEntry, ...]:
        """Lists the objects and folders in a folder."""
        full = self._full(path)
        try:
            found = self._system.ls(full, detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except Exception as error:
            raise self._failed(path, error) from error
        entries = {}
        for info in found:
            name = str(info["name"]).strip("/").removeprefix(full).strip("/")
            if name and "/" not in name:
                entries[name] = RemoteEntry(name, info.get("type") == "directory")
        return tuple(entries[name] for name in sorted(entries))

    def folder_version(self, path: str) -> str:
        """Returns names, sizes and versions of the objects in a folder."""
        inner = [f"{path}/{entry.name}".strip("/") for entry in self.entries(path) if not entry.is_folder]
        return hashlib.sha256(repr([(name, self.facts(name)) for name in inner]).encode()).hexdigest() if inner else ""

    def fetch(self, path: str, start: int, view: memoryview) -> None:
        """Fetches a range, and checks its length and that the object is still the same."""
        try:
            content = self._system.cat_file(self._full(path), start=start, end=start + len(view))
        except Exception as error:
            raise self._failed(path, error) from error
        if len(content) != len(view):
            raise RemoteError(self.address_of(path), f"{len(content)} bytes came, {len(view)} were asked for")
        if self.find_file(path) != self.facts(path):
            raise RemoteError(self.address_of(path), "the file has changed on the server while it was read")
        view[:] = content

    def stream(self, path: str) -> Iterator[bytes]:
        """Yields the whole object in pieces."""
        facts = self.facts(path)
        size = 0 if facts is None else facts.size
        for start in range(0, size, _STEP):
            buffer = bytearray(min(_STEP, size - start))
            self.fetch(path, start, memoryview(buffer))
            yield bytes(buffer)

    def _full(self, path: str) -> str:
        return f"{self._bucket}/{path}" if path else self._bucket

    def _failed(self, path: str, error: Exception) -> RemoteError:
        hint = f"; {_PUBLIC}" if self.address.startswith("s3:") and "credentials" in str(error) else ""
        return RemoteError(self.address_of(path), f"cannot be fetched: {_line(error)}{hint}")


def _is_of_use(record: logging.LogRecord) -> bool:
    """Whether a line that gcsfs logs says something that the result does not.

    Without the right to ask for the kind of a bucket, gcsfs warns at each request, and reads the bucket all the same.
    """
    return record.module != "extended_gcsfs" or record.levelno > logging.WARNING


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{text[:200] or type(error).__name__}"
