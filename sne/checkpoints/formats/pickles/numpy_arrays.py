"""NumPy arrays and numbers, and Python's containers, as pickles describe them."""

import re
from collections.abc import Callable, Hashable, Mapping
from math import prod
from typing import Any, final

from torch import Tensor

from sne.checkpoints.described import DescribedTensor, InertObject
from sne.checkpoints.formats.pickles.stand_ins import Global, PickleError, Stateful
from sne.checkpoints.formats.pickles.tensors import check_size, sizes
from sne.checkpoints.formats.stored_bytes import MemoryBytes, StoredBytes, most_memory
from sne.checkpoints.raw_data import DTYPES
from sne.checkpoints.remote.path import FilePath

_KINDS = {
    "f8": "float64", "f4": "float32", "f2": "float16", "i8": "int64", "i4": "int32", "i2": "int16", "i1": "int8",
    "u8": "uint64", "u4": "uint32", "u2": "uint16", "u1": "uint8", "b1": "bool", "c8": "complex64",
    "c16": "complex128",
}  # fmt: skip
_OTHERS = {f"ml_dtypes.{name}": name for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")}
_CODE = re.compile(r"^([<>=|]?)([a-z]\d+)$")


@final
class ArrayType(Stateful):
    """The element type of an array.

    Args:
        code: Name of the type, such as "f4".
    """

    __slots__ = ("dtype", "is_swapped")

    def __init__(self, code: Any, *_: Any):
        super().__init__("numpy.dtype")
        text = code if type(code) is str else code.decode("latin-1") if type(code) is bytes else ""
        found = _CODE.match(text)
        self.dtype = _KINDS.get(found[2]) if found else None
        self.is_swapped = bool(found and found[1] == ">")
        if isinstance(code, Global):
            self.dtype = _OTHERS.get(code.class_name)

    def set_state(self, state: Any) -> None:
        """Takes the order of bytes; a type with fields or subarrays has no element type."""
        if type(state) is not tuple or len(state) < 5:
            raise PickleError("a NumPy dtype is described in an unknown way")
        order = state[1].decode("latin-1") if type(state[1]) is bytes else state[1]
        self.is_swapped = order == ">"
        if any(part is not None for part in state[2:5]):
            self.dtype = None


@final
class ArrayTensor(DescribedTensor):
    """The values of a NumPy array.

    Args:
        stored: The bytes.
        shape: Shape of the array.
        kind: Element type.
        is_fortran: Whether the first axis varies fastest.
    """

    __slots__ = ("_is_fortran", "_is_swapped", "_stored")

    def __init__(self, stored: StoredBytes, shape: tuple[int, ...], kind: ArrayType, is_fortran: bool):
        assert kind.dtype is not None
        super().__init__(shape, kind.dtype)
        self._stored = stored
        self._is_swapped = kind.is_swapped
        self._is_fortran = is_fortran

    @property
    def place(self) -> Hashable:
        """The bytes and how they are arranged."""
        return (self._stored.key, self.shape, self.dtype, self._is_fortran) if self._stored.size else None

    def read(self, name: str) -> Tensor:
        """Reads the array."""
        element = DTYPES[self.dtype]
        check_size(self._stored, self.shape, element.itemsize, name)
        raw = self._stored.read(0, prod(self.shape) * element.itemsize)
        if self._is_swapped and element.itemsize > 1:
            half = element.itemsize // 2 if element.is_complex else element.itemsize
            raw = raw.view(-1, half).flip(1).flatten()
        if raw.storage_offset() % element.itemsize:
            raw = raw.clone()
        values = raw.view(element)
        if self._is_fortran:
            return values.reshape(self.shape[::-1]).permute(*reversed(range(len(self.shape)))).contiguous()
        return values.reshape(self.shape)


@final
class NumpyArray(Stateful):
    """A NumPy array. It has a tensor if its elements are numbers."""

    __slots__ = ("_file", "tensor")

    def __init__(self, file: FilePath):
        super().__init__("numpy.ndarray")
        self._file = file
        self.tensor: ArrayTensor | None = None

    def set_state(self, state: Any) -> None:
        """Takes shape, element type, order and values."""
        if type(state) is not tuple or len(state) not in (4, 5):
            raise PickleError("a NumPy array is described in an unknown way")
        shape, kind, is_fortran, data = state[-4:]
        self.take(shape, kind, is_fortran is True or is_fortran == 1, data)

    def take(self, shape: Any, kind: Any, is_fortran: bool, data: Any) -> None:
        """Takes shape, element type, order and values.

        Args:
            shape: Shape of the array.
            kind: Element type.
            is_fortran: Whether the first axis varies fastest.
            data: The values.
        """
        if not isinstance(kind, ArrayType):
            raise PickleError("a NumPy array has no dtype")
        if kind.dtype is None or not isinstance(data, str | bytes | StoredBytes):
            return  # objects, text or records
        counts = sizes((shape,) if type(shape) is int else shape)
        stored = as_stored(self._file, data)
        needed = prod(counts) * DTYPES[kind.dtype].itemsize
        if stored.size != needed:
            raise PickleError(f"an array of shape {list(counts)} needs {needed} bytes and has {stored.size}")
        self.tensor = ArrayTensor(stored, counts, kind, is_fortran and len(counts) > 1)


def as_stored(file: FilePath, data: str | bytes | StoredBytes) -> StoredBytes:
    """Returns bytes of a pickle as something that is read later.

    Args:
        file: File that the pickle comes from.
        data: Bytes; text stands for the bytes of a string of Python 2.
    """
    if isinstance(data, StoredBytes):
        return data
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return MemoryBytes(file, raw, most_memory(len(raw)))


def calls(file: FilePath) -> dict[str, Callable[..., Any]]:
    """Returns what stands for Python's containers and for the functions by which NumPy rebuilds arrays.

    Args:
        file: File that the pickle comes from.

    Returns:
        Functions by the name that stands for them in a pickle.
    """

    def reconstruct(cls: Any, *_: Any) -> Any:
        name = cls.class_name if isinstance(cls, Global) else "unknown"
        return NumpyArray(file) if name == "numpy.ndarray" else InertObject(name)

    def from_buffer(data: Any, kind: Any, shape: Any, order: Any = "C", *_: Any) -> NumpyArray:
        array = NumpyArray(file)
        array.take(shape, kind, order == "F", data)
        return array

    def scalar(kind: Any, data: Any = None) -> Any:
        if not isinstance(kind, ArrayType) or kind.dtype is None or not isinstance(data, str | bytes):
            return InertObject("numpy.generic")
        array = NumpyArray(file)
        array.take((), kind, False, data)
        return array.tensor.read("number").item() if array.tensor is not None else None

    result: dict[str, Callable[..., Any]] = dict(_CONTAINERS)
    for package in ("numpy.core", "numpy._core"):
        result[f"{package}.multiarray._reconstruct"] = reconstruct
        result[f"{package}.multiarray.scalar"] = scalar
        result[f"{package}.numeric._frombuffer"] = from_buffer
    result["numpy.dtype"] = ArrayType
    return result


def _mapping(*args: Any) -> Any:
    """A mapping, from pairs, another mapping, or nothing."""
    given = args[-1] if args else None
    if type(given) is dict:
        return given
    if type(given) in (list, tuple):
        pairs: Any = given
        if not all(type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) in (str, int) for pair in pairs):
            return InertObject("dict", args)
        return {key if type(key) is str else str(key)[:40]: value for key, value in pairs}
    return {}


def _default_mapping(*args: Any) -> Any:
    return _mapping(*args[1:])


def _sequence(*args: Any) -> Any:
    given = args[0] if args else None
    return given if type(given) is list else list(given) if type(given) is tuple else []


def _encode(text: Any = "", encoding: Any = "latin1", *_: Any) -> Any:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise PickleError("text is encoded in an unknown way")
    return text.encode("latin-1")


def _bytes(data: Any = b"", *_: Any) -> Any:
    return data.encode("latin-1") if isinstance(data, str) else data if isinstance(data, bytes | StoredBytes) else b""


def _complex(real: Any = 0.0, imag: Any = 0.0) -> Any:
    return complex(real, imag) if type(real) in (int, float) and type(imag) in (int, float) else 0j


def _object(cls: Any, *args: Any) -> InertObject:
    return InertObject(cls.class_name if isinstance(cls, InertObject) else "unknown", args)


_BUILTINS: Mapping[str, Callable[..., Any]] = {
    "dict": _mapping, "list": _sequence, "set": _sequence, "frozenset": _sequence, "tuple": _sequence,
    "bytes": _bytes, "bytearray": _bytes, "complex": _complex,
}  # fmt: skip
_CONTAINERS: Mapping[str, Callable[..., Any]] = {
    **{f"{package}.{name}": call for package in ("builtins", "__builtin__") for name, call in _BUILTINS.items()},
    **{f"{package}._reconstructor": _object for package in ("copyreg", "copy_reg")},
    **{f"{package}.__newobj__": _object for package in ("copyreg", "copy_reg")},
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _default_mapping,
    "collections.deque": _sequence,
    "_codecs.encode": _encode,
}
