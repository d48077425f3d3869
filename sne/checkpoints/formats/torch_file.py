"""Reader of torch files (.pt, .pth, .bin, .ckpt): zip archives of torch 1.6 and later, older files, plain pickles."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sne.checkpoints.described import DescribedTensor
from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.pickles import numpy_arrays, rebuilding
from sne.checkpoints.formats.pickles.machine import PickleMachine
from sne.checkpoints.formats.pickles.objects import present
from sne.checkpoints.formats.pickles.stand_ins import PickleError
from sne.checkpoints.formats.pickles.storages import ArchivedStorages, FollowingStorages, byte_order, in_memory
from sne.checkpoints.formats.pickles.tensors import Storage, StridedTensor
from sne.checkpoints.formats.stored_bytes import FileBytes, MappedFile, StoredBytes
from sne.checkpoints.formats.torchscript import is_torchscript
from sne.checkpoints.formats.zip_archive import read_members
from sne.checkpoints.module import class_hint
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.state_dict import StateDictTensors
from sne.checkpoints.unwrapping import unwrap
from sne.errors import CheckpointError
from sne.networks import Hint

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_PADDLE = "StructuredToParameterName@@"
_LAST_PROTOCOL = 5
_WEIGHTS = ("weight", "weight_orig", "weight_v", "weight_bar")  # of modules under pruning, spectral or weight norm too
_OLD_PICKLE = re.compile(
    rb"\([dl]p\d+\n|[}\]]q\x00|\(?c(numpy|torch|collections|copy_?reg|__builtin__|builtins)[\w.]*\n\w+\n"
)
"""The first opcodes of mappings, lists, and objects of named classes in protocols 0 and 1."""


def is_torch_archive(start: FileStart) -> bool:
    """Whether a file is a zip archive with a data.pkl, and not one of TorchScript."""
    return any(name.endswith("data.pkl") for name in start.members) and not is_torchscript(start)


def is_torch_pickle(start: FileStart) -> bool:
    """Whether a file starts like a pickle: of protocol 2 or later by its mark, of protocol 0 or 1 by its opcodes."""
    if start.head.startswith(b"\x80"):
        return len(start.head) > 1 and start.head[1] <= _LAST_PROTOCOL
    return _OLD_PICKLE.match(start.head) is not None


def open_torch_file(file: FilePath, select: str | None = None) -> StateDictTensors:
    """Opens a file as written by `torch.save`, or a plain pickle of tensors or NumPy arrays.

    Only the values of tensors that are loaded are read, each from its place in the file.

    Args:
        file: Path of the file.
        select: Name of the network to read if there are several, see `sne.checkpoints.unwrapping.unwrap`.

    Returns:
        Its tensors.

    Raises:
        CheckpointError: If the file is damaged or holds no tensors.
    """
    return state_tensors(file, read_content(file), select)


def read_content(file: FilePath) -> Any:
    """Reads all that a torch file or a plain pickle holds, but the values of tensors.

    Args:
        file: Path of the file.

    Returns:
        Mappings, lists, plain values, tensors and inert objects, see `sne.checkpoints.described`.

    Raises:
        CheckpointError: If the file is damaged.
    """
    mapped = MappedFile(file)
    if mapped.peek(0, 2) != b"PK":
        return read_legacy(file, FileBytes(mapped, 0, mapped.size))
    members = read_members(file)
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1]
    if len(pickles) != 1:
        raise CheckpointError(file, f"a torch archive has one data.pkl, this one has {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    storages = ArchivedStorages(file, members, root + "data/", byte_order(members, root))
    return read_pickle(file, members[pickles[0]], storages.find)


def state_tensors(file: FilePath, content: Any, select: str | None) -> StateDictTensors:
    """Finds the state dict in the content of a file.

    Args:
        file: Path of the file.
        content: Content of the file, see `sne.checkpoints.described`.
        select: Name of the network to read if there are several.

    Returns:
        The tensors of the state dict.

    Raises:
        CheckpointError: If there are none.
    """
    if isinstance(content, DescribedTensor):
        raise CheckpointError(file, "the file holds a single tensor, expected a state dict or a mapping")
    if isinstance(content, Mapping) and _PADDLE in content:
        raise CheckpointError(
            file,
            "a PaddlePaddle checkpoint, which stores matrices [in, out] under names that do not tell: save the weights "
            "of the model in torch's layout, for example with X2Paddle or paddle2onnx",
        )
    state, notes = unwrap(content, str(file), select)
    own = {name: value.note for name, value in state.items() if isinstance(value, DescribedTensor) and value.note}
    notes = {**notes, **_transposed(state), **own}
    return StateDictTensors(state, name=str(file), hints=hints_of(state), notes=notes)


def _transposed(state: Mapping[str, Any]) -> dict[str, str]:
    """Returns notes on tensors that are another one with its axes permuted. Both are read: they are two layers."""
    first: dict[Any, tuple[str, Any]] = {}
    notes: dict[str, str] = {}
    for name, value in state.items():
        if not isinstance(value, StridedTensor) or value.ndim < 2 or value.place is None:
            continue
        stored = value.storage.stored
        view = stored.key if stored else None, value.offset, tuple(sorted(zip(value.shape, value.stride, strict=True)))
        known, place = first.setdefault(view, (name, value.place))
        if place != value.place:
            notes[name] = f"shares its values with {known!r}, with permuted axes; both are read"
    return notes


def hints_of(state: Mapping[str, Any]) -> dict[str, Hint]:
    """Returns hints from the classes of the modules that tensors belong to.

    Args:
        state: Tensors by name.

    Returns:
        Hints by the path of a module.
    """
    hints: dict[str, Hint] = {}
    for name, value in state.items():
        if not isinstance(value, DescribedTensor):
            continue
        path, _, own = name.rpartition(".")
        if own in _WEIGHTS and path and value.module_class:
            hint = Hint(in_first=True) if value.module_class == "Conv1D" else class_hint(value.module_class, value.ndim)
            if hint is not None:
                hints[path] = hint
    return hints


def read_pickle(file: FilePath, stored: StoredBytes, find_storage: Callable[[Any], Any]) -> Any:
    """Reads a pickle of an archive.

    Args:
        file: Path of the archive.
        stored: The pickle.
        find_storage: Function that resolves persistent ids.

    Returns:
        Mappings, lists, plain values, tensors and inert objects.

    Raises:
        CheckpointError: If the pickle is damaged.
    """
    try:
        machine = PickleMachine(in_memory(stored), calls(file), find_storage)
        content, _ = machine.load()
        return present(content)
    except PickleError as error:
        raise CheckpointError(file, f"its pickle cannot be read: {error}") from error


def calls(file: FilePath) -> dict[str, Callable[..., Any]]:
    """Returns what stands for the functions that a pickle names.

    Args:
        file: File that the pickle comes from.
    """
    known: dict[int, tuple[Any, Storage]] = {}

    def from_bytes(data: Any, *_: Any) -> Any:
        if id(data) not in known:
            found = read_legacy(file, in_memory(numpy_arrays.as_stored(file, data)), is_nested=True)
            if type(found) is not Storage:
                raise PickleError("it has a storage that is none")
            known[id(data)] = data, found
        return known[id(data)][1]

    return {**numpy_arrays.calls(file), **rebuilding.CALLS, "torch.storage._load_from_bytes": from_bytes}


def read_legacy(file: FilePath, stored: StoredBytes, *, is_nested: bool = False) -> Any:
    """Reads a pickle that is followed by its storages, or a plain pickle.

    Args:
        file: File that the bytes come from.
        stored: The bytes.
        is_nested: Whether the bytes are a storage within another pickle.

    Returns:
        Mappings, lists, plain values, tensors and inert objects; a storage, if the bytes are one.

    Raises:
        CheckpointError: If the pickle is damaged.
        PickleError: If a nested pickle is damaged.

    Source: torch's `serialization._legacy_save`.
    """
    storages = FollowingStorages()
    names = rebuilding.CALLS if is_nested else calls(file)
    try:
        machine = PickleMachine(stored, names, storages.find)
        content, end = machine.load()
        if type(content) is int and content == _MAGIC:
            version, end = machine.load(end)
            if version != _VERSION:
                raise PickleError(f"it is of version {str(version)[:20]}, expected {_VERSION}")
            _, end = machine.load(end)  # of the system that wrote it; storages are little-endian in any case
            content, end = machine.load(end)
            keys, end = machine.load(end)
            storages.locate(keys, stored, end)
        return present(content)
    except PickleError as error:
        if is_nested:
            raise
        raise CheckpointError(file, f"its pickle cannot be read: {error}") from error
