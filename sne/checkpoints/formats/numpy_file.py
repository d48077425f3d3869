"""Reader of NumPy files: archives of named arrays (.npz) and single arrays (.npy)."""

import io
import warnings
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sne.checkpoints.formats.arrays import ArrayTensors, StoredArray, as_stored
from sne.checkpoints.formats.channels_last import open_arrays
from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.stored_bytes import FileBytes, StoredBytes
from sne.checkpoints.formats.zip_archive import read_members
from sne.checkpoints.raw_data import DTYPES, read_bytes
from sne.checkpoints.remote.path import FilePath
from sne.errors import CheckpointError

_MAX_HEADER = 10_000
_OBJECTS = "an array of Python objects, which only a pickle could restore; not read"
_NO_NUMBERS = "an array that holds no numbers; not read"
_UNKNOWN_BYTES = "two bytes per entry of no known type, as NumPy stores bfloat16; save it as float32; not read"


def is_npz(start: FileStart) -> bool:
    """Whether a file is a zip archive of .npy members, as `numpy.savez` writes."""
    return bool(start.members) and all(name.endswith(".npy") for name in start.members)


def is_npy(start: FileStart) -> bool:
    """Whether a file starts with the magic bytes of a single NumPy array."""
    return start.head.startswith(b"\x93NUMPY")


def open_npz(file: FilePath, select: str | None = None) -> ArrayTensors:
    """Opens an archive of named arrays. Values are read, and inflated if they are compressed, one array at a time.

    Args:
        file: Path of the archive.
        select: Ignored; the file holds one flat list of arrays.

    Returns:
        The arrays. Those that are named as in Flax, Keras or TensorFlow are turned to the axes of torch.

    Raises:
        CheckpointError: If the archive is damaged, or holds no array of numbers.
    """
    members = read_members(file)
    headers: dict[str, _Header] = {}
    arrays: dict[str, StoredArray] = {}
    notes: dict[str, str] = {}
    for member, content in members.items():
        path = member.removesuffix(".npy")
        stream = io.BytesIO(content.read_bytes(0, _MAX_HEADER + 20))
        header = _Header.read(stream, content.size, file, path)
        if isinstance(header, str):
            notes[path.replace("/", ".")] = header
        else:
            headers[path] = header
            arrays[path] = StoredArray(path, header.shape, header.dtype)

    def read(array: StoredArray) -> Tensor:
        header, member = headers[array.key], members[f"{array.key}.npy"]
        _verify(member)
        return header.decode(member.read(header.start, header.num_bytes))

    def read_range(array: StoredArray, start: int, stop: int) -> Tensor | None:
        header, member = headers[array.key], members[f"{array.key}.npy"]
        if not member.is_seekable or not header.is_row_major:
            return None
        size = header.element.itemsize
        _verify(member)
        return header.decode(member.read(header.start + start * size, (stop - start) * size), (stop - start,))

    return open_arrays(file, arrays, read, notes, read_range=read_range)


def _verify(member: StoredBytes) -> None:
    """Compares a member that is stored as it is with its checksum; compressed ones are compared when they are read."""
    if isinstance(member, FileBytes):
        member.verify()


def open_npy(file: FilePath, select: str | None = None) -> ArrayTensors:
    """Opens a file with one array, which becomes a network of one tensor called `array`.

    Args:
        file: Path of the file.
        select: Ignored; the file holds one array.

    Returns:
        The array.

    Raises:
        CheckpointError: If the file is damaged, or its array holds no numbers.
    """
    try:
        with file.open("rb") as stream:
            header = _Header.read(stream, file.stat().st_size, file, "array")
    except OSError as error:
        raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error
    if isinstance(header, str):
        raise CheckpointError(file, f"the file holds {header}")
    array = StoredArray("array", header.shape, header.dtype)

    def read_range(_: StoredArray, start: int, stop: int) -> Tensor | None:
        size = header.element.itemsize
        if not header.is_row_major:
            return None
        return header.decode(
            read_bytes(file, header.start + start * size, (stop - start) * size, "its array"), (stop - start,)
        )

    return ArrayTensors(
        str(file),
        [as_stored("array", array)],
        lambda _: header.decode(read_bytes(file, header.start, header.num_bytes, "its array")),
        read_range=read_range,
    )


@dataclass(frozen=True)
class _Header:
    """The header of an array in the format of NumPy.

    Args:
        shape: Shape of the array.
        element: Element type as stored.
        is_fortran: Whether the first axis is the fastest in memory.
        start: Offset of the values.
    """

    shape: tuple[int, ...]
    element: np.dtype[Any]
    is_fortran: bool
    start: int

    @property
    def dtype(self) -> str:
        """Element type, a key of `DTYPES`."""
        return self.element.newbyteorder("=").name

    @property
    def num_bytes(self) -> int:
        """Size of the values in bytes."""
        return prod(self.shape) * self.element.itemsize

    @classmethod
    def read(cls, stream: io.BufferedIOBase, size: int, file: FilePath, name: str) -> "_Header | str":
        """Reads a header and checks it against the size of what follows.

        Args:
            stream: The array from its first byte on.
            size: Size of header and values in bytes.
            file: Path of the file, for error messages.
            name: Name of the array, for error messages.

        Returns:
            The header, or the reason why such an array is not read.
        """
        try:
            version = np.lib.format.read_magic(stream)
            parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shape, is_fortran, element = parse(stream, max_header_size=_MAX_HEADER)
        except Exception as error:  # a damaged header raises many kinds
            raise CheckpointError(file, f"array {name!r} has a damaged header: {str(error)[:100]}") from error
        header = cls(tuple(int(entries) for entries in shape), element, is_fortran, stream.tell())
        if element.hasobject:
            return _OBJECTS
        if element.kind == "V" and element.names is None and element.itemsize == 2:
            return _UNKNOWN_BYTES
        if element.kind not in "biufc" or header.dtype not in DTYPES:
            return _NO_NUMBERS
        if min(header.shape, default=0) < 0 or header.start + header.num_bytes > size:
            raise CheckpointError(
                file,
                f"array {name!r} of shape {list(header.shape)} needs {header.num_bytes} bytes, "
                f"has {size - header.start}",
            )
        return header

    @property
    def is_row_major(self) -> bool:
        """Whether entries that follow one another in row-major order do so in the file."""
        return not self.is_fortran or len(self.shape) < 2

    def decode(self, content: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
        """Makes a tensor of the bytes of the values, or of a range of them in the file's order that has a shape."""
        shape = self.shape if shape is None else shape
        values = np.frombuffer(content.numpy(), self.element, prod(shape))
        values = values.reshape(shape, order="F" if self.is_fortran else "C")
        native = self.element.newbyteorder("=")
        return torch.from_numpy(np.array(values, dtype=native, order="C", copy=True))
