"""Tensors that lie somewhere in a file: reading one without touching the rest."""

from pathlib import Path

import torch
from torch import Tensor

from sne.errors import CheckpointError

DTYPES: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16,
        torch.uint8, torch.bool, torch.complex64, torch.complex128,
    )
}  # fmt: skip


def read_bytes(file: Path, start: int, length: int, name: str) -> Tensor:
    """Reads a stretch of a file into memory of its own.

    The file is read rather than mapped, so that a file that shrinks meanwhile gives an error and not a crash,
    and so that the memory of a tensor that is no longer used is given back at once.

    Args:
        file: the file.
        start: first byte.
        length: number of bytes.
        name: the tensor, for the message.

    Returns:
        The bytes as uint8.

    Raises:
        CheckpointError: where the file ends early.
    """
    buffer = torch.empty(length, dtype=torch.uint8)
    if length:
        try:
            with file.open("rb", buffering=0) as stream:
                stream.seek(start)
                view: memoryview = buffer.numpy().data
                done = 0
                while done < length:
                    count = stream.readinto(view[done:])
                    if not count:
                        raise CheckpointError(file, f"truncated: it ends inside tensor {name!r}")
                    done += count
        except OSError as error:
            raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error
    return buffer


def read_tensor(file: Path, start: int, shape: tuple[int, ...], dtype: str, name: str) -> Tensor:
    """Reads a dense row-major tensor.

    Args:
        file: the file.
        start: first byte.
        shape: its shape.
        dtype: its type, a key of `DTYPES`.
        name: the tensor, for the message.

    Returns:
        The values as stored.
    """
    kind = DTYPES[dtype]
    count = 1
    for size in shape:
        count *= size
    return read_bytes(file, start, count * kind.itemsize, name).view(kind).reshape(shape)
