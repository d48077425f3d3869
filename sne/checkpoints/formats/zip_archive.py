"""Members of a zip archive, checked against the file before anything of them is read."""

import zipfile
from pathlib import Path

from sne.checkpoints.formats.stored_bytes import DeflatedBytes, FileBytes, MappedFile, StoredBytes
from sne.errors import CheckpointError

_LOCAL_HEADER = 30
_MOST_MEMBERS = 2_000_000


def read_members(file: Path) -> dict[str, StoredBytes]:
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
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError) as error:
        raise CheckpointError(file, f"truncated or damaged zip archive: {error}") from error
    if len(infos) > _MOST_MEMBERS:
        raise CheckpointError(file, f"the archive has {len(infos)} members, at most {_MOST_MEMBERS} are read")
    members: dict[str, StoredBytes] = {}
    end, last = 0, ""
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.filename in members:
            raise CheckpointError(file, f"the archive has the member {info.filename!r} twice")
        if info.header_offset < end:
            raise CheckpointError(file, f"member {info.filename!r} overlaps {last!r}, the one before it")
        start = _content_start(file, mapped, info.header_offset)
        end, last = start + info.compress_size, info.filename
        if end > mapped.size:
            raise CheckpointError(file, f"truncated: {info.filename!r} ends at byte {end} of {mapped.size}")
        packed = FileBytes(mapped, start, info.compress_size)
        if info.flag_bits & 1:
            raise CheckpointError(file, f"member {info.filename!r} is encrypted")
        if info.compress_type == zipfile.ZIP_STORED:
            if info.file_size != info.compress_size:
                raise CheckpointError(file, f"member {info.filename!r} has two different sizes")
            members[info.filename] = packed
        elif info.compress_type == zipfile.ZIP_DEFLATED:
            members[info.filename] = DeflatedBytes(packed, info.file_size)
        else:
            raise CheckpointError(file, f"member {info.filename!r} is compressed by an unknown method")
    return members


def _content_start(file: Path, mapped: MappedFile, header: int) -> int:
    """Returns the offset of a member's content, which follows a local header of variable length."""
    if not 0 <= header <= mapped.size - _LOCAL_HEADER:
        raise CheckpointError(file, f"truncated or damaged zip archive: no member starts at byte {header}")
    head = mapped.peek(header, _LOCAL_HEADER)
    if not head.startswith(b"PK\x03\x04"):
        raise CheckpointError(file, f"damaged zip archive: no member starts at byte {header}")
    names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return header + _LOCAL_HEADER + names
