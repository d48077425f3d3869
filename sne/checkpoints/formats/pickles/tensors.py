"""Tensors as the pickles of torch describe them: views of storages, and what is computed from such views."""

import warnings
from collections.abc import Hashable, Mapping
from math import prod
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.described import DescribedTensor
from sne.checkpoints.formats.pickles.stand_ins import Global, PickleError
from sne.checkpoints.formats.stored_bytes import StoredBytes
from sne.checkpoints.raw_data import DTYPES
from sne.checkpoints.stored import is_row_major, read_range
from sne.errors import CheckpointError

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "QInt8Storage": "qint8", "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8", "_UntypedStorage": "uint8",
}  # fmt: skip
"""Element types by the name of the storage class. An untyped storage counts bytes."""

ELEMENTS: Mapping[str, torch.dtype] = DTYPES | {
    name: getattr(torch, name)
    for name in ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "complex32", "qint8", "quint8", "qint32")
    if hasattr(torch, name)
}
"""Element types of storages that are read, by name."""

QUANTISED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
"""Types of the stored integers by the element type of torch's own quantisation."""

_MOST_AXES = 64
_MOST_ELEMENTS = 1 << 48


@final
class Storage:
    """A storage that a pickle refers to.

    Args:
        key: Its name in the archive or file.
        dtype: Element type; "uint8" of a storage without one.
        count: Number of elements that the pickle claims.
        stored: Its bytes; None until they are found.
        is_swapped: Whether the bytes have the order of a big-endian machine.
    """

    __slots__ = ("count", "dtype", "is_swapped", "key", "stored")

    def __init__(self, key: str, dtype: str, count: int, stored: StoredBytes | None = None, is_swapped: bool = False):
        self.key = key
        self.dtype = dtype
        self.count = count
        self.stored = stored
        self.is_swapped = is_swapped

    @property
    def width(self) -> int:
        """Size of an element, in bytes; 1 of unknown types."""
        element = ELEMENTS.get(self.dtype)
        return element.itemsize if element else 1

    @property
    def num_bytes(self) -> int:
        """Number of bytes that the pickle claims."""
        return self.count * self.width


@final
class StridedTensor(DescribedTensor):
    """A view of a storage.

    Args:
        storage: The storage.
        offset: Position of the first element in the storage, in elements.
        shape: Shape of the tensor.
        stride: Distance of neighbours along each axis, in elements.
        dtype: Element type, if it is not that of the storage.

    Raises:
        PickleError: If the view has sizes that are not whole numbers, or reaches beyond the storage.
    """

    __slots__ = ("extent", "is_conjugate", "is_negative", "offset", "storage", "stride")

    def __init__(self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: str = ""):
        if type(storage) is not Storage or type(shape) not in _SEQUENCES or type(stride) not in _SEQUENCES:
            raise PickleError("a tensor is described in an unknown way")
        if len(shape) != len(stride) or len(shape) > _MOST_AXES:
            raise PickleError(f"a tensor has {len(shape)} sizes and {len(stride)} strides, at most {_MOST_AXES}")
        extent, total = 1, 1
        for size, step in zip(shape, stride, strict=True):
            if type(size) is not int or type(step) is not int or size < 0 or step < 0:
                raise PickleError("a tensor has sizes that are not whole numbers")
            extent += (size - 1) * step
            total *= size
        if total > _MOST_ELEMENTS or type(offset) is not int or offset < 0:
            raise PickleError("a tensor has sizes that are not whole numbers")
        self.extent = extent if total else 0
        super().__init__(tuple(shape), dtype or storage.dtype)
        self.storage, self.offset, self.stride = storage, offset, tuple(stride)
        self.is_conjugate = self.is_negative = False
        if self.extent:
            if not dtype or dtype == storage.dtype:
                fits = offset + self.extent <= storage.count
            else:
                element = ELEMENTS.get(dtype)
                fits = element is None or (offset + self.extent) * element.itemsize <= storage.num_bytes
            if not fits:
                raise PickleError(f"a tensor of shape {list(shape)} reaches beyond its storage")

    @property
    def place(self) -> Hashable:
        """The storage and the view of it."""
        if not self.extent or self.storage.stored is None:
            return None
        return self.storage.stored.key, self.offset, self.shape, self.stride, self.dtype

    def read(self, name: str) -> Tensor:
        """Reads the view."""
        element = ELEMENTS.get(self.dtype)
        stored = self.storage.stored
        if element is None:
            file = stored.file if stored else "pickle"
            raise CheckpointError(file, f"tensor {name!r} has elements of type {self.dtype}, which are not read")
        narrow = DTYPES.get(QUANTISED.get(self.dtype, ""), element)
        if not self.extent:
            return torch.empty(self.shape, dtype=narrow)
        if stored is None:
            raise CheckpointError("pickle", f"the values of tensor {name!r} are missing")
        width = element.itemsize
        check_size(stored, self.shape, width, name)
        raw = stored.read(self.offset * width, self.extent * width)
        if self.storage.is_swapped and width > 1:
            half = width // 2 if element.is_complex else width
            raw = raw.view(-1, half).flip(1).flatten()
        if raw.storage_offset() % width:
            raw = raw.clone()
        values = raw.view(narrow).as_strided(self.shape, self.stride, raw.storage_offset() // width).contiguous()
        if self.is_conjugate:
            values = values.conj().resolve_conj()
        return -values if self.is_negative else values

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads some entries, if they lie together in the file as they are used."""
        element, storage = ELEMENTS.get(self.dtype), self.storage
        is_plain = not (storage.is_swapped or self.is_conjugate or self.is_negative or self.dtype in QUANTISED)
        if element is None or storage.stored is None or not is_plain or not storage.stored.is_seekable:
            return None
        if not self.extent or not is_row_major(self.shape, self.stride):
            return None
        width = element.itemsize
        raw = storage.stored.read((self.offset + start) * width, (stop - start) * width)
        return raw.clone().view(element) if raw.storage_offset() % width else raw.view(element)


_SEQUENCES = (tuple, list)


def check_size(stored: StoredBytes, shape: tuple[int, ...], width: int, name: str) -> None:
    """Refuses a tensor that would take far more memory than its file.

    Args:
        stored: Bytes that the tensor is made from.
        shape: Shape of the tensor.
        width: Size of an element, in bytes.
        name: Name of the tensor, for the message.

    Raises:
        CheckpointError: If it would.
    """
    needed = prod(shape) * width
    if needed > stored.most:
        raise CheckpointError(
            stored.file,
            f"tensor {name!r} of shape {list(shape)} would take {needed} bytes, far more than the file stores",
        )


@final
class QuantisedTensor(DescribedTensor):
    """A tensor of torch's own quantisation. It is read as the values that it stands for.

    Args:
        stored: The integers.
        scheme: Scheme of quantisation, such as `torch.per_channel_affine`.
        params: Scale and zero point, or scales, zero points and the axis that they belong to.
    """

    __slots__ = ("_params", "_scheme", "_stored")

    def __init__(self, stored: StridedTensor, scheme: Any, params: tuple[Any, ...]):
        super().__init__(stored.shape, "float32")
        self._stored = stored
        self._scheme = scheme
        self._params = params

    @property
    def place(self) -> Hashable:
        """Place of the integers."""
        return self._stored.place

    def read(self, name: str) -> Tensor:
        """Reads the integers and computes what they stand for, with the results of torch's `dequantize`."""
        integers = self._stored.read(name)
        if self._scheme is torch.per_tensor_affine:
            scale, zero = self._params
            return (integers.to(torch.float32) - zero) * torch.tensor(scale, dtype=torch.float32)
        scales, zeros, axis = self._params
        along = [1] * len(self.shape)
        along[axis] = -1
        zeros = self._numbers(zeros, name)
        # torch computes in the precision of the scales: float64, or float32 where the zero points are not whole.
        precision = torch.float32 if zeros.is_floating_point() else torch.float64
        scales = self._numbers(scales, name).to(precision).view(along)
        zeros = zeros.to(precision).view(along)
        return ((integers.to(precision) - zeros) * scales).to(torch.float32)

    def _numbers(self, values: Any, name: str) -> Tensor:
        if isinstance(values, DescribedTensor):
            return values.read(name)
        has_fractions = any(type(value) is float for value in values)
        return torch.tensor(values, dtype=torch.float64 if has_fractions else None)


@final
class SparseTensor(DescribedTensor):
    """A sparse tensor, read as a dense one.

    Args:
        layout: The layout of torch.
        indices: Tensors of indices: one for coordinates, two for compressed layouts.
        values: Values of the entries.
        shape: Shape of the tensor.
    """

    __slots__ = ("_indices", "_layout", "_values")

    def __init__(
        self, layout: Any, indices: tuple[DescribedTensor, ...], values: DescribedTensor, shape: tuple[int, ...]
    ):
        super().__init__(shape, values.dtype)
        self._layout = layout
        self._indices = indices
        self._values = values

    def read(self, name: str) -> Tensor:
        """Reads the entries and lets torch place them."""
        values = self._values.read(name)
        indices = [index.read(name) for index in self._indices]
        parts = (self._values, *self._indices)
        stored = next((part.storage.stored for part in parts if isinstance(part, StridedTensor)), None)
        if stored is None:
            if prod(self.shape):
                raise CheckpointError("pickle", f"the sparse tensor {name!r} stores no bytes")
            return torch.zeros(self.shape, dtype=values.dtype)
        check_size(stored, self.shape, values.element_size(), name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a layout is in beta state
                return self._dense(indices, values)
        except (RuntimeError, IndexError, ValueError) as error:
            reason = str(error).splitlines()[0][:100]
            raise CheckpointError(stored.file, f"the sparse tensor {name!r} is damaged: {reason}") from error

    def _dense(self, indices: list[Tensor], values: Tensor) -> Tensor:
        if self._layout is torch.sparse_coo:
            return torch.sparse_coo_tensor(indices[0], values, self.shape, check_invariants=True).to_dense()
        kind = self._layout
        sparse = torch.sparse_compressed_tensor(
            indices[0], indices[1], values, self.shape, layout=kind, check_invariants=True
        )
        return sparse.to_dense()


@final
class MissingTensor(DescribedTensor):
    """A tensor whose values are not in the file or are not understood.

    Args:
        shape: Shape of the tensor.
        dtype: Element type.
        reason: What the tensor is, such as "on the meta device and has no values".
    """

    __slots__ = ("_reason",)

    def __init__(self, shape: tuple[int, ...], dtype: str, reason: str):
        super().__init__(shape, dtype)
        self._reason = reason

    @property
    def refusal(self) -> str:
        """What the tensor is."""
        return self._reason

    def read(self, name: str) -> Tensor:
        """Refuses to read."""
        raise CheckpointError(name, f"the tensor is {self._reason}")


@final
class CastTensor(DescribedTensor):
    """A tensor that is converted to another element type when it is loaded.

    Args:
        stored: The tensor as it is stored.
        dtype: Element type that it is converted to, a key of `ELEMENTS`.
    """

    __slots__ = ("_stored",)

    def __init__(self, stored: DescribedTensor, dtype: str):
        super().__init__(stored.shape, dtype)
        self._stored = stored

    @property
    def place(self) -> Hashable:
        """Place of the stored tensor."""
        return (self._stored.place, self.dtype) if self._stored.place else None

    def read(self, name: str) -> Tensor:
        """Reads and converts."""
        return self._stored.read(name).to(ELEMENTS[self.dtype])

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads and converts some entries."""
        found = read_range(self._stored, name, start, stop)
        return None if found is None else found.to(ELEMENTS[self.dtype])


def dtype_name(value: Any) -> str:
    """Returns the name of an element type that a pickle names as `torch.float32`.

    Args:
        value: What the pickle has in the place of an element type.

    Raises:
        PickleError: If it is no element type.
    """
    if not isinstance(value, Global) or not value.class_name.startswith("torch."):
        raise PickleError("a tensor has an unknown element type")
    return value.class_name.removeprefix("torch.")


def sizes(values: Any) -> tuple[int, ...]:
    """Returns a shape that a pickle gives, after checking it.

    Args:
        values: What the pickle has in the place of a shape.

    Raises:
        PickleError: If it is no shape, or one without bounds.
    """
    if type(values) not in _SEQUENCES or len(values) > _MOST_AXES:
        raise PickleError("a tensor has a shape that is not understood")
    if any(type(size) is not int or size < 0 for size in values) or prod(values) > _MOST_ELEMENTS:
        raise PickleError("a tensor has sizes that are not whole numbers")
    return tuple(values)
