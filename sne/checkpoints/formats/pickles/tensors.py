"""Tensors as the pickles of torch describe them: a storage and a view, and what is made from such tensors."""

import warnings
from collections.abc import Callable, Hashable, Mapping
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

_QUANTISED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
_SCHEMES = {
    f"torch.{name}": getattr(torch, name)
    for name in ("per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams")
}
_LAYOUTS = {f"torch.sparse_{kind}": getattr(torch, f"sparse_{kind}") for kind in ("coo", "csr", "csc", "bsr", "bsc")}
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
        narrow = DTYPES.get(_QUANTISED.get(self.dtype, ""), element)
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
        is_plain = not (storage.is_swapped or self.is_conjugate or self.is_negative or self.dtype in _QUANTISED)
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
        return values.read(name) if isinstance(values, DescribedTensor) else torch.tensor(values)


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


def _rebuild_v2(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> StridedTensor:
    tensor = StridedTensor(storage, offset, shape, stride)
    return _with_metadata(tensor, rest[2]) if len(rest) > 2 else tensor


def _rebuild_v3(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> StridedTensor:
    tensor = StridedTensor(storage, offset, shape, stride, dtype_name(rest[2]))
    return _with_metadata(tensor, rest[3]) if len(rest) > 3 else tensor


def _with_metadata(tensor: StridedTensor, metadata: Any) -> StridedTensor:
    if type(metadata) is dict:
        tensor.is_conjugate = metadata.get("conj") is True
        tensor.is_negative = metadata.get("neg") is True
        if unknown := set(metadata) - {"conj", "neg"}:
            raise PickleError(f"a tensor has the unknown property {str(unknown)[:80]}")
    return tensor


def _first(value: Any, *_: Any) -> Any:
    return value


def _rebuild_quantised(storage: Any, offset: Any, shape: Any, stride: Any, params: Any, *_: Any) -> DescribedTensor:
    tensor = StridedTensor(storage, offset, shape, stride)
    if type(params) is not tuple or not params or not isinstance(params[0], Global):
        raise PickleError("a quantised tensor has parameters that are not understood")
    scheme = _SCHEMES.get(params[0].class_name)
    if scheme is None or tensor.dtype not in _QUANTISED:
        kind = f"{tensor.dtype}, {params[0].class_name[:80]}"
        return MissingTensor(tensor.shape, tensor.dtype, f"packed by torch ({kind}), which is not read")
    if scheme is torch.per_tensor_affine:
        if len(params) != 3 or type(params[1]) not in (float, int) or type(params[2]) is not int:
            raise PickleError("a quantised tensor has a scale that is no number")
        return QuantisedTensor(tensor, scheme, (float(params[1]), params[2]))
    if len(params) != 4 or type(params[3]) is not int or not 0 <= params[3] < len(tensor.shape):
        raise PickleError("a quantised tensor has no axis")
    for values in params[1:3]:
        count = values.shape if isinstance(values, DescribedTensor) else (len(values),)
        if count != (tensor.shape[params[3]],):
            raise PickleError(f"a quantised tensor of shape {list(tensor.shape)} has {list(count)} scales")
    return QuantisedTensor(tensor, scheme, params[1:])


def _rebuild_sparse(layout: Any, data: Any) -> SparseTensor:
    kind = _LAYOUTS.get(layout.class_name if isinstance(layout, Global) else str(layout))
    count = 1 if kind is torch.sparse_coo else 2
    if kind is None or type(data) is not tuple or len(data) < count + 2:
        raise PickleError("a sparse tensor has an unknown layout")
    parts = data[: count + 1]
    if not all(isinstance(part, DescribedTensor) for part in parts):
        raise PickleError("a sparse tensor is described in an unknown way")
    return SparseTensor(kind, parts[:count], parts[count], sizes(data[count + 1]))


def _rebuild_meta(dtype: Any, shape: Any, *_: Any) -> MissingTensor:
    return MissingTensor(sizes(shape), dtype_name(dtype), "on the meta device and has no values")


def _rebuild_nested(buffer: Any, *_: Any) -> MissingTensor:
    if not isinstance(buffer, DescribedTensor):
        raise PickleError("a nested tensor is described in an unknown way")
    return MissingTensor(buffer.shape, buffer.dtype, "a nested tensor, rows of different lengths, which are not read")


def _rebuild_cast(data: Any, dtype: Any, *_: Any) -> DescribedTensor:
    tensor = getattr(data, "tensor", data)
    if not isinstance(tensor, DescribedTensor):
        raise PickleError("a tensor is described in an unknown way")
    wanted = dtype_name(dtype)
    return tensor if tensor.dtype == wanted or wanted not in ELEMENTS else CastTensor(tensor, wanted)


def _rebuild_wrapper(cls: Any, dtype: Any, shape: Any, *_: Any) -> MissingTensor:
    name = cls.class_name if isinstance(cls, Global) else "unknown"
    return MissingTensor(sizes(shape), dtype_name(dtype), f"of class {name[:200]}, whose values are not understood")


def _rebuild_type(func: Any, cls: Any, args: Any, state: Any = None) -> Any:
    """Makes a tensor of a subclass: the plain tensor, or the whole of a distributed one."""
    if not isinstance(func, Global) or func.call is None or type(args) is not tuple:
        raise PickleError("a tensor is described in an unknown way")
    tensor = func.call(*args)
    if type(state) is tuple:  # attributes and slots
        state = {key: value for part in state if type(part) is dict for key, value in part.items()}
    name = cls.class_name if isinstance(cls, Global) else "unknown"
    if isinstance(tensor, MissingTensor) and type(state) is dict:
        return _local_part(tensor, name, state)
    if isinstance(tensor, DescribedTensor) and not name.startswith(("torch.nn.", "torch.Tensor")):
        tensor.note = f"stored as a tensor of class {name[:200]}; its plain values are read"
    return tensor


def _local_part(whole: MissingTensor, name: str, state: dict[Any, Any]) -> DescribedTensor:
    """Returns the values of a distributed tensor, if the file has all of them."""
    local = state.get("_local_tensor")
    if not name.endswith(".DTensor") or not isinstance(local, DescribedTensor):
        return whole
    if local.shape == whole.shape:
        return local
    reason = f"one part, of shape {list(local.shape)}, of a distributed tensor; join the parts before saving"
    return MissingTensor(whole.shape, whole.dtype, reason)


CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_v2,
    "torch._utils._rebuild_tensor_v2": _rebuild_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.nn.Parameter": _first,
    "torch.nn.parameter.Buffer": _first,
    "torch.autograd.variable.Variable": _first,
    "torch._utils._rebuild_qtensor": _rebuild_quantised,
    "torch._utils._rebuild_sparse_tensor": _rebuild_sparse,
    "torch._utils._rebuild_nested_tensor": _rebuild_nested,
    "torch._utils._rebuild_meta_tensor_no_storage": _rebuild_meta,
    "torch._utils._rebuild_device_tensor_from_numpy": _rebuild_cast,
    "torch._utils._rebuild_xla_tensor": _rebuild_cast,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _rebuild_cast,
    "torch._utils._rebuild_wrapper_subclass": _rebuild_wrapper,
    "torch._tensor._rebuild_from_type_v2": _rebuild_type,
    "torch._tensor._rebuild_from_type": _rebuild_type,
    "torch.serialization._get_layout": _first,
    "torch.Size": _first,
}  # fmt: skip
"""What stands for the functions by which torch rebuilds tensors, by name."""
