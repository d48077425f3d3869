"""Members of zip archives that may be compressed: their sizes are checked before anything is inflated."""

import zipfile
import zlib
from pathlib import Path

from torch import Tensor

from sne.checkpoints.raw_data import Record, read_bytes
from sne.errors import CheckpointError

MAX_GROWTH = 10
"""Largest ratio of an inflated member to the file that holds it, beyond the 100 MB that are always allowed."""

_ALWAYS = 100_000_000
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError, RuntimeError)


class ZipMembers:
    """The members of a zip archive, stored or deflated.

    Args:
        file: Path of the archive.

    Raises:
        CheckpointError: If the archive is damaged, or if members are duplicated, encrypted, compressed in another way
            than by deflate, overlap, extend beyond the end of the file, or claim to inflate to more than 10 times the
            file and 100 MB.
    """

    def __init__(self, file: Path):
        self.file = file
        try:
            size = file.stat().st_size
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except _DAMAGE as error:
            raise CheckpointError(file, f"truncated or damaged zip archive: {error}") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        end = inflated = 0
        for member in sorted(members, key=lambda member: member.header_offset):
            name = member.filename
            if name in self._members:
                raise CheckpointError(file, f"the archive has the member {name!r} twice")
            if member.flag_bits & 1:
                raise CheckpointError(file, f"member {name!r} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise CheckpointError(file, f"member {name!r} is compressed in another way than by deflate")
            if member.header_offset < end:
                raise CheckpointError(file, f"member {name!r} overlaps the one before it")
            end = member.header_offset + 30 + member.compress_size
            is_stored = member.compress_type == zipfile.ZIP_STORED
            if is_stored and member.file_size != member.compress_size:
                raise CheckpointError(file, f"member {name!r} has two different sizes")
            inflated += 0 if is_stored else member.file_size
            self._members[name] = member
        if end > size:
            raise CheckpointError(file, f"truncated: the members end at byte {end}, the file has {size} bytes")
        if inflated > MAX_GROWTH * size + _ALWAYS:
            raise CheckpointError(
                file, f"the members claim to inflate to {inflated} bytes, too many for a file of {size} bytes"
            )

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> list[str]:
        """Names of the members, in the order of their content."""
        return list(self._members)

    def size(self, name: str) -> int:
        """Returns the size of a member's content in bytes.

        Args:
            name: Name of a member.
        """
        return self._members[name].file_size

    def start(self, name: str) -> int | None:
        """Returns the offset of a member's content in the file; None if it is compressed.

        Args:
            name: Name of a member.
        """
        member = self._members[name]
        if member.compress_type != zipfile.ZIP_STORED:
            return None
        return Record(member.header_offset, member.file_size).start(self.file)

    def read(self, name: str, length: int | None = None) -> bytes:
        """Reads the beginning of a member.

        Args:
            name: Name of a member.
            length: Number of bytes; None for the whole member.

        Raises:
            CheckpointError: If the content is damaged or shorter.
        """
        size = self.size(name)
        length = size if length is None else min(length, size)
        try:
            with zipfile.ZipFile(self.file) as archive, archive.open(self._members[name]) as stream:
                content = stream.read(length)
        except _DAMAGE as error:
            raise CheckpointError(self.file, f"member {name!r} is damaged: {error}") from error
        if len(content) != length:
            raise CheckpointError(self.file, f"member {name!r} ends after {len(content)} of {length} bytes")
        return content

    def read_range(self, name: str, start: int, length: int, tensor: str) -> Tensor | bytes:
        """Reads a range of a member's content, from the file directly if the member is not compressed.

        Args:
            name: Name of a member.
            start: Offset in the content.
            length: Number of bytes. The caller has checked it against the size of the member.
            tensor: Name of the tensor, for error messages.
        """
        offset = self.start(name)
        if offset is not None:
            return read_bytes(self.file, offset + start, length, tensor)
        return self.read(name)[start : start + length]
