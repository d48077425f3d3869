"""The zip archives of torch, checked before anything in them is read."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from sne.errors import CheckpointError

MAX_PICKLE = 200_000_000
_LOCAL_HEADER = 30


@dataclass(frozen=True)
class Record:
    """Where a member of an archive lies: its local header, and the size of its content."""

    header: int
    size: int

    def start(self, file: Path) -> int:
        """The first byte of the content, behind a local header whose length only the file tells."""
        with file.open("rb") as stream:
            stream.seek(self.header)
            head = stream.read(_LOCAL_HEADER)
        if len(head) < _LOCAL_HEADER or not head.startswith(b"PK\x03\x04"):
            raise CheckpointError(file, f"damaged zip archive: no member at byte {self.header}")
        names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        return self.header + _LOCAL_HEADER + names


def read_directory(file: Path) -> dict[str, Record]:
    """The members of a torch archive.

    Args:
        file: a zip archive.

    Returns:
        Records by member name.

    Raises:
        CheckpointError: for doubled or compressed members (torch writes neither), members that overlap or
            reach beyond the file, and pickles too large to be the description of a network.
    """
    try:
        size = file.stat().st_size
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(file, f"truncated or damaged zip archive: {error}") from error
    records: dict[str, Record] = {}
    for member in members:
        if member.filename in records:
            raise CheckpointError(file, f"the archive holds {member.filename!r} twice")
        is_code = "/code/" in member.filename or "/extra/" in member.filename
        if member.compress_type != zipfile.ZIP_STORED and not is_code:
            raise CheckpointError(file, f"member {member.filename!r} is compressed, torch stores it plain")
        if member.flag_bits & 1:
            raise CheckpointError(file, f"member {member.filename!r} is encrypted")
        if member.filename.endswith(".pkl") and member.file_size > MAX_PICKLE:
            raise CheckpointError(file, f"member {member.filename!r} claims {member.file_size} bytes")
        if member.compress_type == zipfile.ZIP_STORED:
            if member.file_size != member.compress_size:
                raise CheckpointError(file, f"member {member.filename!r} states two sizes")
            records[member.filename] = Record(member.header_offset, member.file_size)
    end = 0
    for name, record in sorted(records.items(), key=lambda item: (item[1].header, item[0])):
        if record.header < end:
            raise CheckpointError(file, f"member {name!r} overlaps the one before it")
        end = record.header + _LOCAL_HEADER + record.size
    if end > size:
        raise CheckpointError(file, f"truncated: its members end at byte {end}, the file has {size}")
    return records
