"""Values of ONNX tensors: every element type, in every field that may hold it, checked before memory is allocated."""

import abc
from dataclasses import dataclass
from math import prod
from pathlib import PurePosixPath
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from sne.checkpoints.raw_data import leads_out, read_bytes
from sne.checkpoints.remote.path import FilePath
from sne.errors import CheckpointError

_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL
_MOST_DENSE = 16_000_000
_DIGITS = 18


@dataclass(frozen=True)
class ElementType:
    """An element type of ONNX.

    Args:
        name: Name of the type in the words of torch.
        bits: Bits per element in the file.
        field: Field of `TensorProto` that holds the elements if `raw_data` does not.
        loaded: Type of the elements after they have been loaded.
    """

    name: str
    bits: int
    field: str
    loaded: torch.dtype


TYPES = {
    1: ElementType("float32", 32, "float_data", torch.float32),
    2: ElementType("uint8", 8, "int32_data", torch.uint8),
    3: ElementType("int8", 8, "int32_data", torch.int8),
    4: ElementType("uint16", 16, "int32_data", torch.uint16),
    5: ElementType("int16", 16, "int32_data", torch.int16),
    6: ElementType("int32", 32, "int32_data", torch.int32),
    7: ElementType("int64", 64, "int64_data", torch.int64),
    9: ElementType("bool", 8, "int32_data", torch.bool),
    10: ElementType("float16", 16, "int32_data", torch.float16),
    11: ElementType("float64", 64, "double_data", torch.float64),
    12: ElementType("uint32", 32, "uint64_data", torch.uint32),
    13: ElementType("uint64", 64, "uint64_data", torch.uint64),
    14: ElementType("complex64", 64, "float_data", torch.complex64),
    15: ElementType("complex128", 128, "double_data", torch.complex128),
    16: ElementType("bfloat16", 16, "int32_data", torch.bfloat16),
    17: ElementType("float8_e4m3fn", 8, "int32_data", torch.float8_e4m3fn),
    18: ElementType("float8_e4m3fnuz", 8, "int32_data", torch.float8_e4m3fnuz),
    19: ElementType("float8_e5m2", 8, "int32_data", torch.float8_e5m2),
    20: ElementType("float8_e5m2fnuz", 8, "int32_data", torch.float8_e5m2fnuz),
    21: ElementType("uint4", 4, "int32_data", torch.uint8),
    22: ElementType("int4", 4, "int32_data", torch.int8),
    23: ElementType("float4_e2m1fn", 4, "int32_data", torch.float32),
    24: ElementType("float8_e8m0fnu", 8, "int32_data", torch.float32),
    25: ElementType("uint2", 2, "int32_data", torch.uint8),
    26: ElementType("int2", 2, "int32_data", torch.int8),
}
"""Element types that are read, by their number in `TensorProto.DataType`."""

_FIELDS = {
    "float_data": np.dtype("<f4"), "double_data": np.dtype("<f8"), "int32_data": np.dtype("<i4"),
    "int64_data": np.dtype("<i8"), "uint64_data": np.dtype("<u8"),
}  # fmt: skip
_FLOAT4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


class Leaf(abc.ABC):
    """A tensor that an ONNX file stores.

    Args:
        name: Name in the file, empty if it has none.
        shape: Shape.
        dtype: Name of the element type.
        loaded: Type of the elements after they have been loaded.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str, loaded: torch.dtype):
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.loaded = loaded

    @property
    def num_entries(self) -> int:
        """Number of scalars."""
        return prod(self.shape)

    @property
    @abc.abstractmethod
    def is_inline(self) -> bool:
        """Whether the values are in the model itself rather than in a file beside it."""

    @abc.abstractmethod
    def read(self) -> Tensor:
        """Reads the values.

        Returns:
            Values of the shape and the loaded type, on the CPU.

        Raises:
            CheckpointError: If the values are not there.
        """


@final
class DenseLeaf(Leaf):
    """A `TensorProto`, whose values are in the model or in a file of the same folder.

    Args:
        file: Path of the model.
        proto: The tensor.
        name: Name of the value, for messages too.

    Raises:
        CheckpointError: If the element type is not read, if the shape is negative, or if the model does not hold as
            many values as the shape needs.
    """

    def __init__(self, file: FilePath, proto: Any, name: str):
        self._file, self._proto = file, proto
        shape = tuple(int(size) for size in proto.dims)
        kind = TYPES.get(proto.data_type)
        if kind is None:
            raise CheckpointError(file, f"tensor {name!r} has an element type that is not read: {_type(proto)}")
        if any(size < 0 for size in shape):
            raise CheckpointError(file, f"tensor {name!r} has the negative shape {list(shape)}")
        if proto.HasField("segment"):
            raise CheckpointError(file, f"tensor {name!r} is stored in segments, which are not read")
        self._kind = kind
        super().__init__(name, shape, kind.name, kind.loaded)
        if self.is_inline:
            self._check_inline()

    @property
    def is_inline(self) -> bool:
        """Whether the values are in the model itself."""
        return self._proto.data_location != _EXTERNAL

    def read(self) -> Tensor:
        """Reads the values from the model or from the file beside it."""
        if not self.num_entries:
            return torch.empty(self.shape, dtype=self.loaded)
        data = self._inline() if self.is_inline else self._external()
        return decode(data, self._kind, self.num_entries).reshape(self.shape)

    @property
    def _num_bytes(self) -> int:
        return -(-self.num_entries * self._kind.bits // 8)

    def _check_inline(self) -> None:
        """Compares the number of stored values with the shape."""
        if self._proto.raw_data:
            found, needed, unit = len(self._proto.raw_data), self._num_bytes, "bytes"
        else:
            found, unit = len(getattr(self._proto, self._kind.field)), f"values of {self._kind.field}"
            needed = self._num_bytes if self._kind.bits < 8 else self.num_entries * self._per_element
        if found != needed:
            what = f"tensor {self.name!r} of shape {list(self.shape)[:16]} and dtype {self.dtype}"
            raise CheckpointError(self._file, f"{what} needs {needed} {unit}, has {found}")

    @property
    def _per_element(self) -> int:
        return 2 if self._kind.name.startswith("complex") else 1

    def _inline(self) -> Tensor:
        """Returns the bytes of the values as `raw_data` would hold them."""
        if self._proto.raw_data:
            return torch.frombuffer(bytearray(self._proto.raw_data), dtype=torch.uint8)
        values = np.array(getattr(self._proto, self._kind.field), dtype=_FIELDS[self._kind.field])
        bits = max(self._kind.bits // self._per_element, 8)
        if values.dtype.kind in "iu" and values.itemsize * 8 > bits:
            values = self._narrow(values, bits)
        return torch.from_numpy(np.frombuffer(values.tobytes(), dtype=np.uint8).copy())

    def _narrow(self, values: np.ndarray, bits: int) -> np.ndarray:
        """Keeps the low bytes of integers that hold narrower elements or the bits of floats."""
        if values.size and (int(values.min()) < -(1 << (bits - 1)) or int(values.max()) >= 1 << bits):
            raise CheckpointError(self._file, f"tensor {self.name!r} holds values outside the range of {self.dtype}")
        return values.astype(np.dtype(f"<u{bits // 8}"))

    def _external(self) -> Tensor:
        """Reads the bytes of the values from a file of the same folder, after its length has been checked."""
        fields = {text(entry.key): text(entry.value) for entry in self._proto.external_data}
        file = self._external_file(fields.get("location", ""))
        start, length = fields.get("offset", "0"), fields.get("length", str(self._num_bytes))
        for key, value in (("offset", start), ("length", length)):
            if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS):
                raise CheckpointError(
                    self._file, f"tensor {self.name!r} has the {key} {value[:40]!r}, expected a number of bytes"
                )
        if int(length) != self._num_bytes:
            raise CheckpointError(self._file, f"tensor {self.name!r} needs {self._num_bytes} bytes, has {length}")
        size = file.stat().st_size
        if int(start) + self._num_bytes > size:
            raise CheckpointError(
                self._file,
                f"truncated: tensor {self.name!r} ends at byte {int(start) + self._num_bytes} of {file.name}, "
                f"which has {size}",
            )
        return read_bytes(file, int(start), self._num_bytes, f"tensor {self.name!r}")

    def _external_file(self, where: str) -> FilePath:
        location = PurePosixPath(where)
        if not location.parts or location.is_absolute() or ".." in location.parts or "\\" in where or "\0" in where:
            raise CheckpointError(
                self._file, f"tensor {self.name!r} is in {where[:80]!r}, not a file of the same folder"
            )
        file = self._file.parent / location
        try:
            is_there = file.is_file()
        except OSError:  # the name is too long
            is_there = False
        if not is_there:
            raise CheckpointError(
                self._file, f"the values of tensor {self.name!r} are missing: there is no file {where[:80]}"
            )
        if leads_out(self._file, file):
            raise CheckpointError(
                self._file,
                f"tensor {self.name!r} is in {where[:80]!r}, a link to a file that is not a file of the same folder",
            )
        return file


@final
class SparseLeaf(Leaf):
    """A `SparseTensorProto`: values, where they stand, and the shape of the whole.

    Args:
        file: Path of the model.
        proto: The sparse tensor.
        name: Name of the value, for messages too.

    Raises:
        CheckpointError: If shapes do not fit each other, or if the whole tensor is too large for its values.
    """

    def __init__(self, file: FilePath, proto: Any, name: str):
        self._file = file
        self._values, self._indices = DenseLeaf(file, proto.values, name), DenseLeaf(file, proto.indices, name)
        shape = tuple(int(size) for size in proto.dims)
        count = self._values.num_entries
        if any(size < 0 for size in shape) or prod(shape) > _MOST_DENSE + 2 * count:
            raise CheckpointError(
                file, f"sparse tensor {name!r} claims the shape {list(shape)[:16]} for {count} values"
            )
        if self._values.shape != (count,) or self._indices.shape not in ((count,), (count, len(shape))):
            raise CheckpointError(
                file,
                f"sparse tensor {name!r} has values of shape {list(self._values.shape)[:16]} and indices of shape "
                f"{list(self._indices.shape)[:16]}, which do not fit",
            )
        if self._indices.dtype != "int64":
            raise CheckpointError(file, f"sparse tensor {name!r} has indices of dtype {self._indices.dtype}")
        super().__init__(name, shape, self._values.dtype, self._values.loaded)

    @property
    def is_inline(self) -> bool:
        """Whether values and indices are in the model itself."""
        return self._values.is_inline and self._indices.is_inline

    def read(self) -> Tensor:
        """Reads the values into a dense tensor."""
        values, indices = self._values.read(), self._indices.read()
        if indices.ndim == 2:
            sizes = torch.tensor(self.shape, dtype=torch.int64)
            is_inside = bool(((indices >= 0) & (indices < sizes)).all())
            steps = [prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
            indices = (indices * torch.tensor(steps, dtype=torch.int64)).sum(1)
        else:
            is_inside = bool(((indices >= 0) & (indices < self.num_entries)).all())
        if not is_inside:
            raise CheckpointError(self._file, f"sparse tensor {self.name!r} has indices outside its shape")
        flat = torch.zeros(self.num_entries, dtype=values.dtype)
        flat[indices] = values
        return flat.reshape(self.shape)


def decode(data: Tensor, kind: ElementType, count: int) -> Tensor:
    """Decodes the bytes of a tensor.

    Args:
        data: Bytes, little-endian; elements of less than a byte are packed with the first one in the low bits.
        kind: Element type.
        count: Number of elements.

    Returns:
        The elements, in one row.
    """
    if kind.bits < 8:
        data = unpack(data, kind.bits)[:count]
        if kind.name.startswith("float4"):
            return torch.tensor([*_FLOAT4, *(-value for value in _FLOAT4)], dtype=torch.float32)[data.long()]
        if kind.name.startswith("int"):
            half = 1 << (kind.bits - 1)
            return (data.to(torch.int8) ^ half) - half
        return data
    if kind.name == "float8_e8m0fnu":  # an exponent alone
        values = torch.exp2(data.to(torch.float32) - 127)
        return torch.where(data == 255, torch.nan, values)
    if kind.loaded is torch.bool:
        return data != 0
    return data.view(kind.loaded)


def text(value: str | bytes) -> str:
    """Returns a string of a message; protobuf gives bytes if they are not UTF-8.

    Raises:
        ValueError: If they are not.
    """
    if isinstance(value, bytes):
        raise ValueError(f"a name is not UTF-8 text: {value[:40]!r}")
    return value


def unpack(data: Tensor, bits: int) -> Tensor:
    """Cuts bytes into numbers of 2 or 4 bits, the low bits first.

    Args:
        data: Bytes; the last axis is cut.
        bits: Bits per number, a divisor of 8.

    Returns:
        Unsigned numbers; the last axis is 8 / bits times as long.
    """
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=data.device)
    return ((data.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)).flatten(-2)


def _type(proto: Any) -> str:
    """Returns the name of an element type, or its number if it has none."""
    from onnx import TensorProto

    number = int(proto.data_type)
    names = {value: key for key, value in TensorProto.DataType.items()}
    return names.get(number, f"number {number}")
