"""Reader of the tar files that torch before 0.1.10 wrote."""

import struct
from typing import Any

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.packed_file import is_tar, read_tar
from sne.checkpoints.formats.pickles.machine import PickleMachine
from sne.checkpoints.formats.pickles.objects import present
from sne.checkpoints.formats.pickles.stand_ins import PickleError
from sne.checkpoints.formats.pickles.storages import storage_type
from sne.checkpoints.formats.pickles.tensors import Storage, StridedTensor
from sne.checkpoints.formats.stored_bytes import StoredBytes
from sne.checkpoints.formats.torch_file import calls, state_tensors
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.state_dict import StateDictTensors
from sne.errors import CheckpointError

_MEMBERS = ("storages", "tensors", "pickle")
_MOST_AXES = 64
_FIRST = (b"sys_info\0", b"storages\0", b"tensors\0", b"pickle\0")


def is_old_torch_tar(start: FileStart) -> bool:
    """Whether a file is a tar file whose first member has the name of one of torch's."""
    return start.head.startswith(_FIRST) and is_tar(start.path)


def open_old_torch_tar(file: FilePath, select: str | None = None) -> StateDictTensors:
    """Opens a tar file as `torch.save` wrote it before 0.1.10.

    Args:
        file: Path of the file.
        select: Name of the network to read if there are several, see `sne.checkpoints.unwrapping.unwrap`.

    Returns:
        Its tensors.

    Raises:
        CheckpointError: If the file is damaged or holds no tensors.

    Source: `legacy_load` in torch's `serialization._legacy_load`.
    """
    members = read_tar(file)
    missing = [name for name in _MEMBERS if name not in members]
    if missing:
        raise CheckpointError(file, f"a tar file of torch without {' and '.join(missing)}")
    try:
        objects = _read_storages(file, members["storages"])
        _read_tensors(file, members["tensors"], objects)

        def find(reference: Any) -> Any:
            if type(reference) is tuple and reference:
                return reference[0]  # a class, beside its source
            return objects[_key(reference)]

        content, _ = PickleMachine(members["pickle"], calls(file), find).load()
        return state_tensors(file, present(content), select)
    except (PickleError, struct.error, KeyError) as error:
        raise CheckpointError(file, f"truncated or damaged tar file of torch: {error}") from error


def _key(reference: Any) -> int:
    return int(reference) if type(reference) is int or (type(reference) is str and reference.isdecimal()) else -1


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise PickleError("the number of its objects is not there")
    return value


def _triple(value: Any) -> tuple[Any, ...]:
    if type(value) is not tuple or len(value) != 3:
        raise PickleError("an object is described in an unknown way")
    return value


def _read_storages(file: FilePath, stored: StoredBytes) -> dict[int, Any]:
    """Reads where the storages lie: a pickle with the key, and then the number of elements and their values, each."""
    machine = PickleMachine(stored, calls(file))
    count, end = machine.load()
    found: dict[int, Any] = {}
    for _ in range(_count(count)):
        value, end = machine.load(end)
        key, _, kind = _triple(value)
        (elements,) = struct.unpack("<q", stored.read_bytes(end, 8))
        storage = Storage(str(key), storage_type(kind), _count(elements))
        if end + 8 + storage.num_bytes > stored.size:
            raise PickleError(f"a storage of {storage.num_bytes} bytes is not there")
        storage.stored = stored.part(end + 8, storage.num_bytes)
        found[_key(key)] = storage
        end += 8 + storage.num_bytes
    views, _ = machine.load(end)
    for view in views if type(views) is list else ():
        if type(view) is not tuple or len(view) != 4 or any(type(part) is not int or part < 0 for part in view):
            raise PickleError("a view of a storage is described in an unknown way")
        target, root, offset, elements = view
        whole = found[root]
        part = Storage(str(target), whole.dtype, elements)
        if (offset + elements) * whole.width > whole.stored.size:
            raise PickleError("a view reaches beyond its storage")
        part.stored = whole.stored.part(offset * whole.width, part.num_bytes)
        found[target] = part
    return found


def _read_tensors(file: FilePath, stored: StoredBytes, found: dict[int, Any]) -> None:
    """Reads the tensors: a pickle with the key, and then number of axes, sizes, strides and offset, each."""
    machine = PickleMachine(stored, calls(file))
    count, end = machine.load()
    for _ in range(_count(count)):
        value, end = machine.load(end)
        key, storage, _ = _triple(value)
        (axes,) = struct.unpack("<i", stored.read_bytes(end, 4))
        if not 0 <= axes <= _MOST_AXES:
            raise PickleError(f"a tensor has {axes} axes")
        numbers = struct.unpack(f"<{2 * axes + 1}q", stored.read_bytes(end + 8, 16 * axes + 8))
        end += 16 + 16 * axes
        found[_key(key)] = StridedTensor(found[_key(storage)], numbers[-1], numbers[:axes], numbers[axes:-1])
