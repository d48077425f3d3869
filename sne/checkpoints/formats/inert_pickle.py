"""Pickles of torch and TorchScript read without importing or calling anything that they name."""

import io
import pickle
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from sne.checkpoints.raw_data import DTYPES, Record, read_bytes
from sne.errors import CheckpointError

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32",
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
"""Element types by the name of the storage class. Sizes of other storage classes count bytes."""

_NUMPY_NAMES = (
    "numpy.ndarray", "numpy.dtype",
    "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar",
)  # fmt: skip
_LOCK = threading.Lock()  # torch keeps the names that a pickle may use in one place for all threads


@dataclass(frozen=True)
class Storage:
    """A storage that a pickle refers to: its key in the archive, its element type and its number of elements."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class DescribedTensor:
    """A tensor as a pickle describes it: a storage, and an offset, shape and stride within it, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def extent(self) -> int:
        """Number of elements of the storage from the tensor's first to its last, 0 for a tensor without elements."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


class InertObject:
    """An object of an unknown class. It keeps the attributes that it is given and does nothing."""

    class_name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> "InertObject":
        """Accepts any arguments."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        self.fields: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.fields = state if isinstance(state, dict) else {"state": state}


class _Discarded:
    """Stands for any object that is not needed. It accepts everything and keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Discarded":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Ignores an item of a list."""

    def extend(self, values: Any) -> None:
        """Ignores items of a list."""

    def add(self, value: Any) -> None:
        """Ignores an item of a set."""


@final
class _RebuildTensor:
    """Stands for `torch._utils._rebuild_tensor_v2`. It has no attributes that a pickle could set."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> DescribedTensor:
        counts = [offset, *shape, *stride]
        if not isinstance(storage, Storage) or len(shape) != len(stride):
            raise pickle.UnpicklingError("a tensor is described in an unknown way")
        if any(type(count) is not int or count < 0 for count in counts):
            raise pickle.UnpicklingError("a tensor has sizes that are not whole numbers")
        tensor = DescribedTensor(storage, offset, tuple(shape), tuple(stride))
        if tensor.extent and offset + tensor.extent > storage.count:
            raise pickle.UnpicklingError(f"a tensor of shape {list(shape)} reaches beyond its storage")
        return tensor


@final
class _FirstArgument:
    """Stands for functions that attach a type to a container. It returns the container."""

    __slots__ = ()

    def __call__(self, value: Any, *_: Any) -> Any:
        return value


@final
class ModuleUnpickler(pickle.Unpickler):
    """Unpickles a scripted module into described tensors, containers and inert objects.

    Args:
        stream: The pickle.
    """

    def find_class(self, module: str, name: str, /) -> Any:
        """Returns a stand-in for a class or function that the pickle names.

        Raises:
            pickle.UnpicklingError: If it is neither a tensor, a container nor a scripted module.
        """
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return _FirstArgument()
        if module.startswith("__torch__") or module == "torch.jit" or (module, name) == ("torch", "device"):
            return type(name, (InertObject,), {"class_name": name, "__module__": __name__})
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is neither a tensor nor a scripted module")

    def persistent_load(self, pid: Any, /) -> Any:
        """Returns the storage that the pickle refers to.

        Raises:
            pickle.UnpicklingError: If the reference is not one to a storage.
        """
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and type(pid[4]) is int):
            raise pickle.UnpicklingError("it refers to something that is not a storage")
        if not isinstance(pid[1], str) or pid[1] not in DTYPES:
            raise pickle.UnpicklingError(f"a storage has the unknown element type {str(pid[1])[:40]!r}")
        return Storage(str(pid[2]), pid[1], pid[4])


@final
class _StorageSizes(pickle.Unpickler):
    """Collects the size in bytes of every storage that a pickle refers to and discards everything else."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        return type("_Named", (_Discarded,), {})

    def persistent_load(self, pid: Any, /) -> Any:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and type(pid[4]) is int):
            raise pickle.UnpicklingError("it refers to something that is not a storage")
        width = DTYPES[pid[1]].itemsize if isinstance(pid[1], str) and pid[1] in DTYPES else 1
        key = str(pid[2])
        self.sizes[key] = max(self.sizes.get(key, 0), pid[4] * width)
        return _Discarded()


def check_storages(file: Path, records: Mapping[str, Record]) -> None:
    """Refuses a torch archive in which a storage is missing or shorter than its pickle claims.

    `torch.load` maps an archive without this check and would read a shortened record on into the next one.

    Args:
        file: Path of the archive.
        records: Members of the archive, by name.

    Raises:
        CheckpointError: If a storage does not have the size that is claimed, or the pickle is damaged.
    """
    pickles = [name for name in records if name.endswith("data.pkl") and name.count("/") <= 1]
    if len(pickles) != 1:
        raise CheckpointError(file, f"a torch archive has one data.pkl, this one has {len(pickles)}")
    census = _StorageSizes(io.BytesIO(read_pickle(file, records[pickles[0]])))
    try:
        census.load()
    except Exception as error:  # a hostile pickle can raise anything
        raise CheckpointError(file, f"truncated or damaged torch file: its pickle is broken ({error})") from error
    folder = pickles[0].removesuffix("data.pkl") + "data/"
    for key, size in census.sizes.items():
        found = records.get(folder + key)
        if found is None or found.size < size:
            state = "is missing" if found is None else f"has {found.size} bytes"
            raise CheckpointError(file, f"storage {key[:40]!r} of {size} bytes {state}")


def read_pickle(file: Path, record: Record) -> bytes:
    """Reads a pickle from an archive without unpickling it.

    Args:
        file: Path of the archive.
        record: Position of the pickle.

    Returns:
        The bytes of the pickle.
    """
    return read_bytes(file, record.start(file), record.size, "data.pkl").numpy().tobytes()


@contextmanager
def inert_numpy() -> Iterator[None]:
    """Makes `torch.load(weights_only=True)` skip NumPy objects instead of refusing the file.

    Trainers store best scores and learning rates as NumPy numbers next to the weights. Inside this context, such
    objects are loaded as empty objects, and none of NumPy's code runs.
    """
    with _LOCK, torch.serialization.safe_globals([(_Discarded, name) for name in _NUMPY_NAMES]):
        yield
