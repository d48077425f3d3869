"""Reader of .safetensors files, strict about the header: a wrong one means that values would be wrong too."""

import struct
from math import prod
from pathlib import Path
from typing import Any, final

from torch import Tensor

from sne.checkpoints.kinds import MAX_HEADER
from sne.checkpoints.plain_json import parse_json
from sne.checkpoints.regions import DTYPES, read_tensor
from sne.checkpoints.source import CheckpointSource
from sne.errors import CheckpointError
from sne.networks import TensorInfo

STORED_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


@final
class SafetensorsSource(CheckpointSource):
    """The tensors of one .safetensors file.

    Args:
        file: the file.

    Raises:
        CheckpointError: for a header that is not exactly what the format asks for.
    """

    def __init__(self, file: Path):
        self._file = file
        infos, self._starts = read_header(file)
        super().__init__(str(file), infos)

    def _stored(self, name: str) -> Tensor:
        info = self.infos[name]
        return read_tensor(self._file, self._starts[name], info.shape, info.dtype, name)


def read_header(file: Path) -> tuple[list[TensorInfo], dict[str, int]]:
    """Reads and checks the header alone.

    Args:
        file: a .safetensors file.

    Returns:
        The tensors in order of place, and the byte of the file at which each starts.

    Raises:
        CheckpointError: where anything is missing, doubled, out of range, overlapping or left over.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            if size == 0:
                raise CheckpointError(file, "empty file, expected a safetensors header")
            if size < 8:
                raise CheckpointError(file, f"truncated: {size} bytes, a safetensors file has at least 8")
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > MAX_HEADER:
                raise CheckpointError(file, f"the header claims {length} bytes, the format allows {MAX_HEADER}")
            if length > size - 8:
                raise CheckpointError(file, f"truncated: a header of {length} bytes in a file of {size}")
            text = stream.read(length)
    except OSError as error:
        raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error
    header = parse_json(text, file, "header")
    if not isinstance(header, dict):
        raise CheckpointError(file, f"the header is a JSON {type(header).__name__}, expected an object")
    header.pop("__metadata__", None)
    spans = sorted(_entry(file, name, entry) for name, entry in header.items())
    if not spans:
        raise CheckpointError(file, "holds no tensors")
    end = 0
    for start, stop, info in spans:
        if start < end:
            raise CheckpointError(file, f"tensor {info.name!r} overlaps the one before it (byte {start} < {end})")
        if start > end:
            raise CheckpointError(file, f"{start - end} bytes before tensor {info.name!r} belong to no tensor")
        end = stop
    if end > size - 8 - length:
        raise CheckpointError(
            file, f"truncated: tensors take {end} bytes, the file has {size - 8 - length} after its header"
        )
    if end < size - 8 - length:
        raise CheckpointError(file, f"{size - 8 - length - end} bytes after the last tensor belong to no tensor")
    base = 8 + length
    return [info for _, _, info in spans], {info.name: base + start for start, _, info in spans}


@final
class _Span(tuple[int, int, TensorInfo]):
    """A tensor with its place; ordered by place, then by name."""

    def __lt__(self, other: Any) -> bool:
        return (self[0], self[1], self[2].name) < (other[0], other[1], other[2].name)


def _entry(file: Path, name: str, entry: Any) -> _Span:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise CheckpointError(file, f"tensor {name!r} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORED_DTYPES:
        raise CheckpointError(file, f"tensor {name!r} has unknown dtype {str(dtype)[:40]!r}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise CheckpointError(file, f"tensor {name!r} has a shape or data_offsets that are not whole numbers")
    start, stop = offsets
    kind = STORED_DTYPES[dtype]
    expected = prod(shape) * DTYPES[kind].itemsize
    if stop < start or stop - start != expected:
        raise CheckpointError(
            file, f"tensor {name!r} of shape {shape} and {dtype} needs {expected} bytes, has {stop - start}"
        )
    return _Span((start, stop, TensorInfo(name, tuple(shape), kind)))


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
