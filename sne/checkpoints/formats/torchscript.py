"""Reader of TorchScript archives: the tensors of the module, without compiling or running its code."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.inert_pickle import DescribedTensor, InertObject, ModuleUnpickler, read_pickle
from sne.checkpoints.module import class_hint
from sne.checkpoints.raw_data import DTYPES, Record, read_bytes, read_directory
from sne.checkpoints.stored import StoredTensors, mark_tied
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo

_MAX_DEPTH = 100
_MAX_VISITS = 1_000_000


def is_torchscript(start: FileStart) -> bool:
    """Whether a file is a zip archive with a data.pkl and a constants.pkl, as `torch.jit.save` writes."""
    roots = {name.partition("/")[0] for name in start.members}
    has_pickle = any(name.endswith("data.pkl") for name in start.members)
    return has_pickle and any(f"{root}/constants.pkl" in start.members for root in roots)


@final
class TorchScriptTensors(StoredTensors):
    """The tensors of a TorchScript archive, named by the attributes of the scripted module.

    Args:
        file: Path of the archive.
        select: Ignored; the file holds one flat list of tensors.

    Raises:
        CheckpointError: If the archive is damaged, or its pickle names anything but tensors and scripted modules.
    """

    def __init__(self, file: Path, select: str | None = None):
        self._file = file
        records = read_directory(file)
        pickles = [name for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise CheckpointError(file, f"a TorchScript archive has one data.pkl, this one has {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        self._tensors: dict[str, DescribedTensor] = {}
        self._records: dict[str, Record] = {}
        hints: dict[str, Hint] = {}
        _collect(file, records[pickles[0]], "", self._tensors, hints)
        self._locate(records, root + "data/", self._tensors)
        constants: dict[str, DescribedTensor] = {}
        if f"{root}constants.pkl" in records:
            _collect(file, records[f"{root}constants.pkl"], "constants", constants, {})
        self._locate(records, root + "constants/", constants)
        self._tensors.update(constants)
        if not self._tensors:
            raise CheckpointError(file, "the archive holds no tensors")
        infos = [TensorInfo(name, t.shape, t.storage.dtype) for name, t in self._tensors.items()]
        places = {
            name: (self._records[name], t.offset, t.shape, t.stride) for name, t in self._tensors.items() if t.extent
        }
        super().__init__(str(file), infos, hints=mark_tied(hints, places))

    def _locate(self, records: Mapping[str, Record], folder: str, tensors: Mapping[str, DescribedTensor]) -> None:
        """Finds the record that holds the values of each tensor."""
        for name, tensor in tensors.items():
            record = records.get(folder + tensor.storage.key)
            needed = tensor.storage.count * DTYPES[tensor.storage.dtype].itemsize
            if record is None:
                raise CheckpointError(self._file, f"the values of tensor {name!r} are missing")
            if record.size < needed:
                raise CheckpointError(self._file, f"tensor {name!r} needs {needed} bytes, its record has {record.size}")
            self._records[name] = record

    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor from its record in the archive."""
        tensor, record = self._tensors[name], self._records[name]
        dtype = DTYPES[tensor.storage.dtype]
        if not tensor.extent:
            return torch.empty(tensor.shape, dtype=dtype)
        start = record.start(self._file) + tensor.offset * dtype.itemsize
        flat = read_bytes(self._file, start, tensor.extent * dtype.itemsize, name).view(dtype)
        return flat.as_strided(tensor.shape, tensor.stride).contiguous()


def _collect(
    file: Path, record: Record, path: str, tensors: dict[str, DescribedTensor], hints: dict[str, Hint]
) -> None:
    """Adds the tensors of one pickle in the archive to `tensors`, and hints from its classes to `hints`."""
    data = read_pickle(file, record)
    try:
        _walk(ModuleUnpickler(io.BytesIO(data)).load(), path, tensors, hints)
    except Exception as error:  # a hostile pickle can raise anything
        raise CheckpointError(file, f"the pickle is not that of a scripted module: {error}") from error


def _walk(root: Any, path: str, tensors: dict[str, DescribedTensor], hints: dict[str, Hint]) -> None:
    """Collects the tensors below an object, named by the attributes that lead to them."""
    pending: list[tuple[str, Any, int]] = [(path, root, 0)]
    visits = 0
    while pending:
        path, value, depth = pending.pop()
        visits += 1
        if depth > _MAX_DEPTH or visits > _MAX_VISITS:
            raise ValueError("modules are nested without end")
        inner: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, DescribedTensor):
            tensors[path] = value
        elif isinstance(value, InertObject):
            if path and (hint := class_hint(type(value).class_name)) is not None:
                hints[path] = hint
            # A recurrent layer lists in `_flat_weights` the tensors that it also holds by name.
            inner = ((key, field) for key, field in value.fields.items() if key != "_flat_weights")
        elif isinstance(value, dict):
            inner = value.items()
        elif isinstance(value, list | tuple):
            inner = enumerate(value)
        pending += [(f"{path}.{key}" if path else str(key), field, depth + 1) for key, field in inner]
