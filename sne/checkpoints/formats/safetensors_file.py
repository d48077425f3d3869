"""Reader of .safetensors files. The header is checked strictly, since with a wrong header the values are wrong too."""

import struct
from math import prod
from typing import Any, NamedTuple, final

from torch import Tensor

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.raw_data import DTYPES, parse_json, read_tensor
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError
from sne.networks import TensorInfo
from sne.networks.claims import MAX_AXES

MAX_HEADER = 100_000_000
"""Largest header that the format allows, in bytes."""

_STORED_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


def is_safetensors(start: FileStart) -> bool:
    """Whether a file starts with the length of a header and the header's opening brace."""
    return start.head[8:9] == b"{" and int.from_bytes(start.head[:8], "little") <= MAX_HEADER


def is_named_safetensors(start: FileStart) -> bool:
    """Whether a file has the suffix .safetensors and does not start like a file of another kind."""
    return start.suffix == ".safetensors" and start.foreign is None


@final
class SafetensorsTensors(StoredTensors):
    """The tensors of one .safetensors file.

    Args:
        file: Path of the file.
        select: Ignored; the file holds one flat list of tensors.

    Raises:
        CheckpointError: If the header is not exactly what the format specifies.
    """

    def __init__(self, file: FilePath, select: str | None = None):
        self._file = file
        infos, self._starts, metadata = read_header(file)
        super().__init__(str(file), infos, metadata=metadata)

    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor from its place in the file."""
        info = self.infos[name]
        return read_tensor(self._file, self._starts[name], info.shape, info.dtype, name)

    def read_range(self, name: str, start: int, stop: int) -> Tensor:
        """Reads some entries of one tensor."""
        dtype = self.infos[name].dtype
        return read_tensor(
            self._file, self._starts[name] + start * DTYPES[dtype].itemsize, (stop - start,), dtype, name
        )


class _Span(NamedTuple):
    """The place of a tensor in the data section, in bytes. Spans are ordered by place, then by name."""

    start: int
    stop: int
    name: str
    info: TensorInfo


def read_header(file: FilePath) -> tuple[list[TensorInfo], dict[str, int], dict[str, str]]:
    """Reads and checks the header; reads no values.

    Args:
        file: Path of a .safetensors file.

    Returns:
        The tensors in the order of their places, the offset in the file at which each starts, by name, and the
        metadata.

    Raises:
        CheckpointError: If a field is missing, duplicated or out of range, or if tensors overlap or leave gaps.
    """
    text, size = _read_header_text(file)
    header = parse_json(text, file, "header")
    if not isinstance(header, dict):
        raise CheckpointError(file, f"the header is a JSON {type(header).__name__}, expected an object")
    metadata = header.pop("__metadata__", None)
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    spans = sorted(_read_entry(file, name, entry) for name, entry in header.items())
    if not spans:
        raise CheckpointError(file, "the file holds no tensors")
    _check_places(file, spans, data_size=size - 8 - len(text))
    base = 8 + len(text)
    starts = {span.name: base + span.start for span in spans}
    return [span.info for span in spans], starts, {key: value for key, value in pairs if isinstance(value, str)}


def _read_header_text(file: FilePath) -> tuple[bytes, int]:
    """Returns the header's text and the size of the file."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            if size < 8:
                raise CheckpointError(file, f"truncated: {size} bytes, a safetensors file has at least 8")
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > MAX_HEADER:
                raise CheckpointError(file, f"the header claims {length} bytes, the format allows {MAX_HEADER}")
            if length > size - 8:
                raise CheckpointError(file, f"truncated: a header of {length} bytes in a file of {size} bytes")
            return stream.read(length), size
    except OSError as error:
        raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error


def _read_entry(file: FilePath, name: str, entry: Any) -> _Span:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise CheckpointError(file, f"tensor {name!r} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or _STORED_DTYPES.get(dtype) not in DTYPES:
        raise CheckpointError(file, f"tensor {name!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise CheckpointError(file, f"tensor {name!r} has a shape or data_offsets that are not whole numbers")
    start, stop = offsets
    if len(shape) > MAX_AXES:
        raise CheckpointError(file, f"tensor {name!r} has {len(shape)} axes, at most {MAX_AXES} are read")
    stored = _STORED_DTYPES[dtype]
    expected = prod(shape) * DTYPES[stored].itemsize
    if stop < start or stop - start != expected:
        raise CheckpointError(
            file, f"tensor {name!r} of shape {shape} and dtype {dtype} needs {expected} bytes, has {stop - start}"
        )
    return _Span(start, stop, name, TensorInfo(name, tuple(shape), stored))


def _check_places(file: FilePath, spans: list[_Span], data_size: int) -> None:
    """Refuses tensors that do not fill the data section one after the other."""
    end = 0
    for span in spans:
        if span.start < end:
            raise CheckpointError(file, f"tensor {span.name!r} overlaps the one before it (byte {span.start} < {end})")
        if span.start > end:
            raise CheckpointError(file, f"{span.start - end} bytes before tensor {span.name!r} belong to no tensor")
        end = span.stop
    if end > data_size:
        raise CheckpointError(file, f"truncated: the tensors take {end} bytes, {data_size} bytes follow the header")
    if end < data_size:
        raise CheckpointError(file, f"{data_size - end} bytes after the last tensor belong to no tensor")


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)
