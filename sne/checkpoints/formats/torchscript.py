"""Reader of TorchScript archives: the tensors of the module, without compiling or running its code."""

from collections.abc import Iterable, Mapping
from typing import Any, final

from sne.checkpoints.described import DescribedTensor, InertObject
from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.pickles.machine import PickleMachine
from sne.checkpoints.formats.pickles.numpy_arrays import calls as container_calls
from sne.checkpoints.formats.pickles.rebuilding import CALLS
from sne.checkpoints.formats.pickles.script_code import read_code
from sne.checkpoints.formats.pickles.stand_ins import Global, PickleError
from sne.checkpoints.formats.pickles.storages import ArchivedStorages, byte_order, in_memory
from sne.checkpoints.formats.stored_bytes import StoredBytes
from sne.checkpoints.formats.zip_archive import read_members
from sne.checkpoints.module import class_hint
from sne.checkpoints.packed_params import unpack
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.state_dict import StateDictTensors
from sne.errors import CheckpointError
from sne.networks import Hint

_MOST_DEPTH = 100
_MOST_SHARING = 10
_MOST_CODE = 4_000_000
_FROZEN = (
    "the module was frozen: its tensors are constants of the code, named by the order in which the code uses them; "
    "layers may have been folded into one another"
)
_CONVERTED = "weights that were converted for one kind of processor are not stored in this file; save the module itself"


def is_torchscript(start: FileStart) -> bool:
    """Whether a file is a zip archive with a data.pkl and a constants.pkl, as `torch.jit.save` writes."""
    roots = {name.partition("/")[0] for name in start.members}
    has_pickle = any(name.endswith("data.pkl") for name in start.members)
    return has_pickle and any(f"{root}/constants.pkl" in start.members for root in roots)


def open_torchscript(file: FilePath, select: str | None = None) -> StateDictTensors:
    """Opens a TorchScript archive.

    Args:
        file: Path of the archive.
        select: Not used: the tensors are a flat list.

    Returns:
        The tensors, named by the attributes of the scripted module.

    Raises:
        CheckpointError: If the archive is damaged or holds no tensors.
    """
    members = read_members(file)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError(file, f"a TorchScript archive has one data.pkl, this one has {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    found = _Found()
    found.collect("", _read(file, members, root, "data"))
    if f"{root}constants.pkl" in members:
        is_frozen = not found.tensors
        found.collect("constants", _read(file, members, root, "constants"))
        if is_frozen and found.tensors:
            found.name_constants([_text(stored) for name, stored in members.items() if name.endswith(".py")])
    if not found.tensors:
        raise CheckpointError(file, "the archive holds no tensors")
    notes = found.notes | {name: tensor.note for name, tensor in found.tensors.items() if tensor.note}
    return StateDictTensors(found.tensors, name=str(file), hints=found.hints, notes=notes)


def _text(stored: StoredBytes) -> str:
    """Returns the code of a class."""
    return stored.read_bytes(0, min(stored.size, _MOST_CODE)).decode("utf-8", "replace")


def _read(file: FilePath, members: Mapping[str, StoredBytes], root: str, name: str) -> Any:
    """Reads one pickle of the archive; its storages lie in a folder of the same name."""
    storages = ArchivedStorages(file, members, f"{root}{name}/", byte_order(members, root))
    calls = {**container_calls(file), **CALLS, **_CALLS}
    try:
        return PickleMachine(in_memory(members[f"{root}{name}.pkl"]), calls, storages.find).load()[0]
    except PickleError as error:
        raise CheckpointError(file, f"{name}.pkl cannot be read: {error}") from error


def _first(value: Any, *_: Any) -> Any:
    return value


_CALLS = {
    f"torch.jit._pickle.{name}": _first
    for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
}


@final
class _Found:
    """What a scripted module holds."""

    def __init__(self) -> None:
        self.tensors: dict[str, DescribedTensor] = {}
        self.hints: dict[str, Hint] = {}
        self.notes: dict[str, str] = {}
        self._visits = 0
        self._seen: set[int] = set()

    def collect(self, path: str, root: Any) -> None:
        """Collects the tensors below an object, named by the attributes that lead to them."""
        pending: list[tuple[str, Any, int]] = [(path, root, 0)]
        while pending:
            path, value, depth = pending.pop()
            self._visits += 1
            self._seen.add(id(value))
            if depth > _MOST_DEPTH or self._visits > _MOST_SHARING * (len(self._seen) + 1000):
                raise CheckpointError(path[:100], "hostile: modules are nested without end")
            inner: Iterable[tuple[Any, Any]] = ()
            if isinstance(value, DescribedTensor):
                self.tensors[path] = value
            elif isinstance(value, InertObject):
                inner = self._object(path, value)
            elif type(value) is dict:
                inner = value.items()
            elif type(value) is list or type(value) is tuple:
                inner = enumerate(value)
            pending += [
                (f"{path}.{key}" if path else str(key), field, depth + 1)
                for key, field in inner
                if isinstance(field, DescribedTensor | InertObject | dict | list | tuple)
            ]

    def _object(self, path: str, value: InertObject) -> Iterable[tuple[Any, Any]]:
        """Returns what a scripted object holds, by name."""
        if not value.class_name.startswith(("__torch__", "torch.")):
            self.notes[path or "the module"] = f"object of class {value.class_name[:200]}, not read"
            return ()
        if isinstance(value, Global):
            return ()
        packed = {name: part for name, part in unpack(value).items() if isinstance(part, DescribedTensor)}
        if packed:
            start = path.removesuffix("_packed_params").rstrip(".").removesuffix("_packed_params").rstrip(".")
            self._hint(start, value, packed["weight"].ndim if "weight" in packed else 0)
            return [] if self._add(start, packed) else ()
        weight = value.fields.get("weight")
        self._hint(path, value, weight.ndim if isinstance(weight, DescribedTensor) else None)
        # A recurrent layer lists in `_flat_weights` the tensors that it also holds by name.
        return [(key, field) for key, field in value.fields.items() if key != "_flat_weights"]

    def name_constants(self, texts: list[str]) -> None:
        """Names the constants of a frozen module by what its code does with them."""
        uses = read_code(texts)
        renamed: dict[str, DescribedTensor] = {}
        for name, tensor in self.tensors.items():
            number = name.removeprefix("constants.")
            known = uses.names.get(int(number)) if number.isdecimal() else None
            renamed[known or name] = tensor
        self.tensors = renamed
        self.hints |= uses.hints
        self.notes["the module"] = _FROZEN
        if uses.is_incomplete:
            self.notes["ConstantMKLDNNTensor"] = _CONVERTED

    def _add(self, path: str, tensors: Mapping[str, DescribedTensor]) -> bool:
        for name, tensor in tensors.items():
            self.tensors[f"{path}.{name}" if path else name] = tensor
        return True

    def _hint(self, path: str, value: InertObject, axes: int | None) -> None:
        hint = class_hint(value.class_name.rpartition(".")[2], axes)
        if path and hint is not None:
            self.hints[path] = hint
