"""Low-level access to files that may be damaged or hostile: byte ranges, dense tensors, JSON, zip directories."""

import json
import os
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sne.errors import CheckpointError

_EXPONENTS = [torch.float8_e8m0fnu] if hasattr(torch, "float8_e8m0fnu") else []  # since torch 2.7

DTYPES: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, *_EXPONENTS,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16,
        torch.uint8, torch.bool, torch.complex64, torch.complex128,
    )
}  # fmt: skip
"""Element types that are read, by name."""

MAX_PICKLE = 200_000_000
"""Largest pickle in an archive that is read, in bytes."""

_LOCAL_HEADER = 30
_LARGE_JSON = 1_000_000  # bytes; parsed values may take 30 times as much
_MOST_NESTED = 2_000_000
_MOST_VALUES = 8_000_000


def read_bytes(file: Path, start: int, length: int, name: str) -> Tensor:
    """Reads a range of bytes into memory of its own.

    The file is read rather than mapped. A file that shrinks in the meantime then causes an error instead of a crash,
    and the memory of a tensor is released as soon as the tensor is no longer used.

    Args:
        file: Path of the file.
        start: Offset of the first byte.
        length: Number of bytes. It is compared with the size of the file before memory is allocated.
        name: Name of the tensor, for error messages.

    Returns:
        The bytes as a uint8 tensor.

    Raises:
        CheckpointError: If the file ends early or cannot be read.
    """
    if not length:
        return torch.empty(0, dtype=torch.uint8)
    try:
        with file.open("rb", buffering=0) as stream:
            if start + length > os.fstat(stream.fileno()).st_size:
                raise CheckpointError(file, f"truncated: the file ends before the end of tensor {name!r}")
            buffer = torch.empty(length, dtype=torch.uint8)
            stream.seek(start)
            view: memoryview = buffer.numpy().data
            done = 0
            while done < length:
                count = stream.readinto(view[done:])
                if not count:
                    raise CheckpointError(file, f"truncated: the file ends inside tensor {name!r}")
                done += count
    except OSError as error:
        raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error
    return buffer


def read_tensor(file: Path, start: int, shape: tuple[int, ...], dtype: str, name: str) -> Tensor:
    """Reads a dense row-major tensor.

    Args:
        file: Path of the file.
        start: Offset of the first byte.
        shape: Shape of the tensor.
        dtype: Element type, a key of `DTYPES`.
        name: Name of the tensor, for error messages.

    Returns:
        The values as stored.
    """
    element = DTYPES[dtype]
    return read_bytes(file, start, prod(shape) * element.itemsize, name).view(element).reshape(shape)


def parse_json(text: bytes, file: Path, what: str) -> Any:
    """Parses JSON and refuses duplicate keys, whose meaning is ambiguous.

    Args:
        text: The encoded text.
        file: File that the text comes from, for error messages.
        what: Noun for the text in error messages, such as "header" or "index".

    Returns:
        The parsed value.

    Raises:
        CheckpointError: If the text is not UTF-8, not JSON, nested too deeply, has a duplicate key, or millions of
            values.

    Example:
        >>> parse_json(b'{"a": [1, 2]}', Path("model.safetensors.index.json"), "index")
        {'a': [1, 2]}
    """
    if len(text) > _LARGE_JSON and (
        text.count(b"[") + text.count(b"{") > _MOST_NESTED or text.count(b",") > _MOST_VALUES
    ):
        raise CheckpointError(file, f"the {what} has more values than any checkpoint needs")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise CheckpointError(file, f"the {what} has the key {duplicate[:80]!r} twice")
        return result

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise CheckpointError(file, f"the {what} is not UTF-8 text") from error
    except RecursionError as error:
        raise CheckpointError(file, f"the {what} is nested too deeply") from error
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(file, f"the {what} is not JSON: {error}") from error


def leads_out(owner: Path, file: Path) -> bool:
    """Whether a file that another one names lies elsewhere once symbolic links are followed.

    Args:
        owner: The file that holds the name, such as an index.
        file: The named file.

    Returns:
        False if the file lies in the folder of the owner, or in the folder that the owner itself is a link to. Both
        hold in caches that keep the files of a repository in one folder and link to them from another.
    """
    real = file.resolve()
    return not any(real.is_relative_to(folder) for folder in (owner.parent.resolve(), owner.resolve().parent))


@dataclass(frozen=True)
class Record:
    """Position of an uncompressed member of a zip archive.

    Args:
        header: Offset of the member's local header, in bytes.
        size: Size of the member's content, in bytes.
    """

    header: int
    size: int

    def start(self, file: Path) -> int:
        """Returns the offset of the content, which follows a local header of variable length.

        Args:
            file: Path of the archive.

        Raises:
            CheckpointError: If there is no local header at this position.
        """
        with file.open("rb") as stream:
            stream.seek(self.header)
            head = stream.read(_LOCAL_HEADER)
        if len(head) < _LOCAL_HEADER or not head.startswith(b"PK\x03\x04"):
            raise CheckpointError(file, f"damaged zip archive: no member starts at byte {self.header}")
        names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        return self.header + _LOCAL_HEADER + names


def read_directory(file: Path) -> dict[str, Record]:
    """Lists the members of a torch archive after checking them; reads no content.

    Args:
        file: Path of a zip archive.

    Returns:
        The uncompressed members, by name.

    Raises:
        CheckpointError: If members are duplicated, compressed or encrypted (torch writes none of these), if they
            overlap or extend beyond the end of the file, or if a pickle is larger than `MAX_PICKLE`.
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
            raise CheckpointError(file, f"the archive has the member {member.filename!r} twice")
        is_code = "/code/" in member.filename or "/extra/" in member.filename
        if member.compress_type != zipfile.ZIP_STORED and not is_code:
            raise CheckpointError(file, f"member {member.filename!r} is compressed; torch stores members uncompressed")
        if member.flag_bits & 1:
            raise CheckpointError(file, f"member {member.filename!r} is encrypted")
        if member.filename.endswith(".pkl") and member.file_size > MAX_PICKLE:
            raise CheckpointError(file, f"member {member.filename!r} claims {member.file_size} bytes, at most "
                                  f"{MAX_PICKLE} are read")  # fmt: skip
        if member.compress_type == zipfile.ZIP_STORED:
            if member.file_size != member.compress_size:
                raise CheckpointError(file, f"member {member.filename!r} has two different sizes")
            records[member.filename] = Record(member.header_offset, member.file_size)
    end = 0
    for name, record in sorted(records.items(), key=lambda item: (item[1].header, item[0])):
        if record.header < end:
            raise CheckpointError(file, f"member {name!r} overlaps the one before it")
        end = record.header + _LOCAL_HEADER + record.size
    if end > size:
        raise CheckpointError(file, f"truncated: the members end at byte {end}, the file has {size} bytes")
    return records
