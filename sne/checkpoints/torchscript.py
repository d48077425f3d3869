"""Reader of TorchScript archives: the tensors of the module, without running or compiling its code.

The archive's `data.pkl` is read with an unpickler that knows tensors and containers; every other class
becomes an object that only remembers its attributes: nothing that a file names is ever imported or called.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.archive import Record, read_directory
from sne.checkpoints.classes import class_hint
from sne.checkpoints.regions import DTYPES, read_bytes
from sne.checkpoints.source import CheckpointSource, tied_hints
from sne.checkpoints.storages import STORAGES
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo

_MAX_DEPTH = 100
_MAX_VISITS = 1_000_000


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Described:
    """A tensor as the pickle describes it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Opaque:
    """An object of a class that is not known here; it keeps what it is given and does nothing."""

    class_name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Opaque":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        self.fields: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.fields = state if isinstance(state, dict) else {"state": state}


@final
class _Rebuild:
    """Stands for `torch._utils._rebuild_tensor_v2`; without attributes that a pickle could set."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Described:
        counts = [offset, *shape, *stride]
        if not isinstance(storage, _Storage) or len(shape) != len(stride):
            raise pickle.UnpicklingError("a tensor is described in an unknown way")
        if any(type(count) is not int or count < 0 for count in counts):
            raise pickle.UnpicklingError("a tensor has sizes that are not whole numbers")
        reach = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        if 0 not in shape and offset + reach > storage.count:
            raise pickle.UnpicklingError(f"a tensor of shape {list(shape)} reaches beyond its storage")
        return _Described(storage, offset, tuple(shape), tuple(stride))


@final
class _First:
    """Stands for the functions that tag a container with its type: gives the container back."""

    __slots__ = ()

    def __call__(self, value: Any, *_: Any) -> Any:
        return value


@final
class _Unpickler(pickle.Unpickler):
    """Knows tensors and containers; imports nothing."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Rebuild()
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return _First()
        if module.startswith("__torch__") or module == "torch.jit" or (module, name) == ("torch", "device"):
            return type(name, (_Opaque,), {"class_name": name, "__module__": __name__})
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is neither a tensor nor a scripted module")

    def persistent_load(self, pid: Any, /) -> Any:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], str)):
            raise pickle.UnpicklingError(f"unknown persistent object {str(pid)[:60]}")
        return _Storage(str(pid[2]), pid[1], int(pid[4]))


@final
class TorchScriptSource(CheckpointSource):
    """The tensors of a TorchScript archive.

    Args:
        file: the archive.

    Raises:
        CheckpointError: for a damaged archive, or one whose pickle names anything but tensors and modules.
    """

    def __init__(self, file: Path):
        self._file = file
        records = read_directory(file)
        pickles = [name for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise CheckpointError(file, f"a TorchScript archive holds one data.pkl, this one {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        self._tensors: dict[str, _Described] = {}
        self._records: dict[str, Record] = {}
        hints: dict[str, Hint] = {}
        _collect(file, records[pickles[0]], "", self._tensors, hints)
        self._locate(records, root + "data/", self._tensors)
        constants: dict[str, _Described] = {}
        if f"{root}constants.pkl" in records:
            _collect(file, records[f"{root}constants.pkl"], "constants", constants, {})
        self._locate(records, root + "constants/", constants)
        self._tensors.update(constants)
        if not self._tensors:
            raise CheckpointError(file, "holds no tensors")
        infos = [TensorInfo(name, t.shape, t.storage.dtype) for name, t in self._tensors.items()]
        marks = {
            name: (self._records[name], t.offset, t.shape, t.stride)
            for name, t in self._tensors.items()
            if 0 not in t.shape
        }
        super().__init__(str(file), infos, hints=tied_hints(marks, hints))

    def _locate(self, records: Mapping[str, Record], folder: str, tensors: Mapping[str, _Described]) -> None:
        for name, tensor in tensors.items():
            record = records.get(folder + tensor.storage.key)
            needed = tensor.storage.count * DTYPES[tensor.storage.dtype].itemsize
            if record is None:
                raise CheckpointError(self._file, f"the values of tensor {name!r} are missing")
            if record.size < needed:
                raise CheckpointError(self._file, f"tensor {name!r} needs {needed} bytes, its record has {record.size}")
            self._records[name] = record

    def _stored(self, name: str) -> Tensor:
        tensor, record = self._tensors[name], self._records[name]
        kind = DTYPES[tensor.storage.dtype]
        if 0 in tensor.shape:
            return torch.empty(tensor.shape, dtype=kind)
        reach = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
        start = record.start(self._file) + tensor.offset * kind.itemsize
        flat = read_bytes(self._file, start, reach * kind.itemsize, name).view(kind)
        return flat.as_strided(tensor.shape, tensor.stride).contiguous()


def _collect(file: Path, record: Record, path: str, tensors: dict[str, _Described], hints: dict[str, Hint]) -> None:
    data = read_bytes(file, record.start(file), record.size, "data.pkl").numpy().tobytes()
    try:
        _walk(_Unpickler(io.BytesIO(data)).load(), path, tensors, hints)
    except Exception as error:  # a hostile pickle can raise anything
        raise CheckpointError(file, f"its pickle is not that of a scripted module: {error}") from error


def _walk(root: Any, path: str, tensors: dict[str, _Described], hints: dict[str, Hint]) -> None:
    """Collects the tensors below an object, named by attribute."""
    pending: list[tuple[str, Any, int]] = [(path, root, 0)]
    visits = 0
    while pending:
        path, value, depth = pending.pop()
        visits += 1
        if depth > _MAX_DEPTH or visits > _MAX_VISITS:
            raise ValueError("modules are nested without end")
        inner: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, _Described):
            tensors[path] = value
        elif isinstance(value, _Opaque):
            if path and (hint := class_hint(type(value).class_name)) is not None:
                hints[path] = hint
            # A recurrent layer lists in `_flat_weights` the tensors that it also holds by name.
            inner = ((key, field) for key, field in value.fields.items() if key != "_flat_weights")
        elif isinstance(value, dict):
            inner = value.items()
        elif isinstance(value, list | tuple):
            inner = enumerate(value)
        pending += [(f"{path}.{key}" if path else str(key), field, depth + 1) for key, field in inner]
