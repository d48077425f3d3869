"""Members of a zip archive, checked against the file before anything of them is read."""

import mmap
import zipfile
from collections.abc import Hashable
from typing import final

from torch import Tensor

from sne.checkpoints.formats.stored_bytes import DeflatedBytes, FileBytes, MappedFile, StoredBytes, most_memory
from sne.checkpoints.remote.path import FilePath, RemotePath
from sne.errors import CheckpointError, RemoteError

_LOCAL_HEADER = 30
_MOST_MEMBERS = 2_000_000


def read_members(file: FilePath) -> dict[str, StoredBytes]:
    """Lists the members of a zip archive after checking them; reads no content.

    Args:
        file: Path of a zip archive.

    Returns:
        The members, by name.

    Raises:
        CheckpointError: If the archive is damaged, if a member is there twice, is encrypted, overlaps another one,
            lies outside the file, or is compressed in another way than by deflate.
    """
    mapped = MappedFile(file)
    try:
        with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            infos = archive.infolist()
            directory = archive.start_dir
    except RemoteError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError) as error:
        raise CheckpointError(file, f"truncated or damaged zip archive: {error}") from error
    if len(infos) > _MOST_MEMBERS:
        raise CheckpointError(file, f"the archive has {len(infos)} members, at most {_MOST_MEMBERS} are read")
    members: dict[str, StoredBytes] = {}
    infos.sort(key=lambda info: info.header_offset)
    bounds = [*(info.header_offset for info in infos), directory][1:]
    end, last = 0, ""
    for info, bound in zip(infos, bounds, strict=True):
        if info.filename in members:
            raise CheckpointError(file, f"the archive has the member {info.filename!r} twice")
        if info.header_offset < end:
            raise CheckpointError(file, f"member {info.filename!r} overlaps {last!r}, the one before it")
        if isinstance(file, RemotePath):
            packed = _RemoteMember(mapped, info.filename, info.header_offset, bound, info.compress_size)
            end, last = info.header_offset + _LOCAL_HEADER + info.compress_size, info.filename
        else:
            start = _content_start(file, mapped, info.header_offset)
            end, last = start + info.compress_size, info.filename
            packed = FileBytes(
                mapped, start, info.compress_size, info.CRC if info.compress_type == zipfile.ZIP_STORED else None
            )
        if end > mapped.size:
            raise CheckpointError(file, f"truncated: {info.filename!r} ends at byte {end} of {mapped.size}")
        if info.flag_bits & 1:
            raise CheckpointError(file, f"member {info.filename!r} is encrypted")
        if info.compress_type == zipfile.ZIP_STORED:
            if info.file_size != info.compress_size:
                raise CheckpointError(file, f"member {info.filename!r} has two different sizes")
            members[info.filename] = packed
        elif info.compress_type == zipfile.ZIP_DEFLATED:
            members[info.filename] = DeflatedBytes(packed, info.file_size, info.CRC)
        else:
            raise CheckpointError(file, f"member {info.filename!r} is compressed by an unknown method")
    return members


@final
class _RemoteMember(StoredBytes):
    """A member of a remote archive. Its content is located, and its place is checked, when it is read.

    Args:
        mapped: The archive.
        name: Name of the member.
        header: Offset of its local header.
        bound: Offset of what follows it, at which it must have ended.
        size: Number of bytes of its content.
    """

    def __init__(self, mapped: MappedFile, name: str, header: int, bound: int, size: int):
        super().__init__(mapped.path, size)
        self._mapped, self._name, self._header, self._bound = mapped, name, header, bound
        self._located: FileBytes | None = None

    @property
    def is_seekable(self) -> bool:
        """Ranges are read directly."""
        return True

    @property
    def key(self) -> Hashable:
        """Position in the file."""
        return (str(self.file), self._header)

    @property
    def most(self) -> int:
        """Bound in proportion to the file."""
        return most_memory(self._mapped.size)

    def read(self, start: int, length: int) -> Tensor:
        """Reads a range of the content."""
        return self._content().read(start, length)

    def buffer(self) -> tuple[bytes | mmap.mmap, int]:
        """Returns the content, or the mapped file for a long one."""
        return self._content().buffer()

    def part(self, start: int, length: int) -> FileBytes:
        """Returns a part of the content."""
        return self._content().part(start, length)

    def _content(self) -> FileBytes:
        if self._located is None:
            start = _content_start(self.file, self._mapped, self._header)
            if start + self.size > self._bound:
                raise CheckpointError(self.file, f"member {self._name!r} overlaps what follows it")
            self._located = FileBytes(self._mapped, start, self.size)
        return self._located


def _content_start(file: FilePath, mapped: MappedFile, header: int) -> int:
    """Returns the offset of a member's content, which follows a local header of variable length."""
    if not 0 <= header <= mapped.size - _LOCAL_HEADER:
        raise CheckpointError(file, f"truncated or damaged zip archive: no member starts at byte {header}")
    head = mapped.peek(header, _LOCAL_HEADER)
    if not head.startswith(b"PK\x03\x04"):
        raise CheckpointError(file, f"damaged zip archive: no member starts at byte {header}")
    names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return header + _LOCAL_HEADER + names
