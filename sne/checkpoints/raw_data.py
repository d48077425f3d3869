"""Low-level access to files that may be damaged or hostile: byte ranges, dense tensors, JSON."""

import json
import os
from math import prod
from typing import Any

import torch
from torch import Tensor

from sne.checkpoints.remote.path import FilePath, RemotePath
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

_LARGE_JSON = 1_000_000  # bytes; parsed values may take 30 times as much
_MOST_NESTED = 2_000_000
_MOST_VALUES = 8_000_000


def read_bytes(file: FilePath, start: int, length: int, what: str) -> Tensor:
    """Reads a range of bytes into memory of its own.

    The file is read rather than mapped. A file that shrinks in the meantime then causes an error instead of a crash,
    and the memory of a tensor is released as soon as the tensor is no longer used.

    Args:
        file: Path of the file.
        start: Offset of the first byte.
        length: Number of bytes. It is compared with the size of the file before memory is allocated.
        what: Noun for the bytes in error messages, such as "tensor 'fc.weight'".

    Returns:
        The bytes as a uint8 tensor.

    Raises:
        CheckpointError: If the file ends early or cannot be read.
    """
    if not length:
        return torch.empty(0, dtype=torch.uint8)
    if isinstance(file, RemotePath):
        if start + length > file.stat().st_size:
            raise CheckpointError(file, f"truncated: the file ends before the end of {what}")
        buffer = torch.empty(length, dtype=torch.uint8)
        file.read_into(start, buffer.numpy().data)
        return buffer
    try:
        with file.open("rb", buffering=0) as stream:
            if start + length > os.fstat(stream.fileno()).st_size:
                raise CheckpointError(file, f"truncated: the file ends before the end of {what}")
            buffer = torch.empty(length, dtype=torch.uint8)
            stream.seek(start)
            view: memoryview = buffer.numpy().data
            done = 0
            while done < length:
                count = stream.readinto(view[done:])
                if not count:
                    raise CheckpointError(file, f"truncated: the file ends inside {what}")
                done += count
    except OSError as error:
        raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error
    return buffer


def read_tensor(file: FilePath, start: int, shape: tuple[int, ...], dtype: str, name: str) -> Tensor:
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
    return read_bytes(file, start, prod(shape) * element.itemsize, f"tensor {name!r}").view(element).reshape(shape)


def parse_json(text: bytes, file: FilePath, what: str) -> Any:
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
        >>> from pathlib import Path
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


def leads_out(owner: FilePath, file: FilePath) -> bool:
    """Whether a file that another one names lies elsewhere once symbolic links are followed.

    Args:
        owner: The file that holds the name, such as an index.
        file: The named file.

    Returns:
        False if the file lies in the folder of the owner, or in the folder that the owner itself is a link to. Both
        hold in caches that keep the files of a repository in one folder and link to them from another. Remote files are
        no links.
    """
    if isinstance(owner, RemotePath) or isinstance(file, RemotePath):
        return False
    real = file.resolve()
    return not any(real.is_relative_to(folder) for folder in (owner.parent.resolve(), owner.resolve().parent))
