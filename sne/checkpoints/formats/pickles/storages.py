"""Storages that the pickles of torch refer to: members of an archive, or bytes behind the pickle."""

from collections.abc import Mapping
from typing import Any, final

from sne.checkpoints.formats.pickles.stand_ins import Global, PickleError
from sne.checkpoints.formats.pickles.tensors import STORAGES, Storage
from sne.checkpoints.formats.stored_bytes import DeflatedBytes, MemoryBytes, StoredBytes
from sne.checkpoints.remote.path import FilePath
from sne.errors import CheckpointError

_MOST_KEYS = 10_000_000


def byte_order(members: Mapping[str, StoredBytes], root: str) -> str:
    """Returns the byte order of a torch archive, "little" unless a record says otherwise.

    Args:
        members: Members of the archive.
        root: Folder of the archive that holds all records, with a slash, or nothing.
    """
    record = members.get(f"{root}byteorder")
    return "big" if record is not None and record.read_bytes(0, 16).strip() == b"big" else "little"


def in_memory(stored: StoredBytes) -> StoredBytes:
    """Returns bytes that can be read many times: compressed ones are decompressed once.

    Args:
        stored: Bytes.
    """
    if not isinstance(stored, DeflatedBytes):
        return stored
    return MemoryBytes(stored.file, stored.read_bytes(0, stored.size), stored.most)


def storage_type(kind: Any) -> str:
    """Returns the element type of a storage class.

    Args:
        kind: What a pickle has in the place of the class.

    Raises:
        PickleError: If it is no storage class that is known.
    """
    package, _, name = kind.class_name.rpartition(".") if isinstance(kind, Global) else ("", "", "")
    if not package.startswith("torch") or name not in STORAGES:
        shown = kind.class_name if isinstance(kind, Global) else str(kind)
        raise PickleError(f"a storage has the unknown element type {shown[:40]!r}")
    return STORAGES[name]


def _reference(pid: Any) -> tuple[Any, ...]:
    """Returns the parts of a reference to a storage."""
    if type(pid) is not tuple or len(pid) < 5 or pid[0] != "storage" or type(pid[4]) is not int or pid[4] < 0:
        raise PickleError("it refers to something that is not a storage")
    return pid


@final
class ArchivedStorages:
    """The storages of a torch archive, each a member of its own.

    Args:
        file: Path of the archive.
        members: Members of the archive.
        folder: Start of the names of storages.
        order: Byte order of the storages, "little" or "big".
    """

    def __init__(self, file: FilePath, members: Mapping[str, StoredBytes], folder: str, order: str):
        self._file = file
        self._members = members
        self._folder = folder
        self._is_swapped = order == "big"
        self._found: dict[tuple[str, str, int], Storage] = {}

    def find(self, pid: Any) -> Storage:
        """Returns the storage that a pickle refers to.

        Args:
            pid: Persistent id.

        Raises:
            CheckpointError: If the storage is missing or shorter than the pickle claims.
            PickleError: If it is not the reference of a storage.
        """
        _, kind, key, _, count = _reference(pid)[:5]
        name, dtype = str(key), storage_type(kind)
        found = self._found.get((name, dtype, count))
        if found is None:
            stored = self._members.get(self._folder + name)
            found = Storage(name, dtype, count, stored, self._is_swapped)
            if stored is None or stored.size < found.num_bytes:
                state = "is missing" if stored is None else f"has {stored.size} bytes"
                raise CheckpointError(self._file, f"storage {name[:40]!r} of {found.num_bytes} bytes {state}")
            self._found[name, dtype, count] = found
        return found


@final
class FollowingStorages:
    """The storages that follow a pickle of torch before 1.6."""

    def __init__(self) -> None:
        self._roots: dict[str, Storage] = {}
        self._views: dict[tuple[str, str], tuple[Storage, Storage, int]] = {}

    def find(self, pid: Any) -> Any:
        """Returns the storage that a pickle refers to; its bytes are found later.

        Args:
            pid: Persistent id.

        Raises:
            PickleError: If it is not the reference of a storage or of the source of a class.
        """
        if type(pid) is tuple and len(pid) > 1 and pid[0] == "module":
            return pid[1]  # a class, beside its source
        _, kind, key, _, count = _reference(pid)[:5]
        view = pid[5] if len(pid) > 5 else None
        name, dtype = str(key), storage_type(kind)
        root = self._roots.setdefault(name, Storage(name, dtype, count))
        if root.dtype != dtype:
            raise PickleError("a storage has two element types")
        root.count = max(root.count, count)
        if view is None:
            return root
        if type(view) is not tuple or len(view) != 3 or any(type(part) is not int or part < 0 for part in view[1:]):
            raise PickleError("a view of a storage is described in an unknown way")
        known = self._views.get((name, str(view[0])))
        if known is None:
            known = root, Storage(str(view[0]), dtype, view[2]), view[1]
            self._views[name, str(view[0])] = known
        return known[1]

    def locate(self, keys: Any, stored: StoredBytes, position: int) -> None:
        """Finds the bytes of every storage.

        Args:
            keys: Keys of the storages in their order.
            stored: The file.
            position: Offset of the first storage.

        Raises:
            PickleError: If a storage is missing or shorter than the pickle claims.
        """
        if type(keys) is not list or len(keys) > _MOST_KEYS:
            raise PickleError("truncated or damaged: there is no list of storages")
        for key in keys:
            root = self._roots.get(str(key))
            if root is None:
                raise PickleError("damaged: a storage is not used")
            count = int.from_bytes(stored.read_bytes(position, 8), "little")
            position += 8
            size = count * root.width
            if count < root.count or position + size > stored.size:
                raise PickleError(f"truncated: a storage of {root.num_bytes} bytes is not there")
            root.stored = stored.part(position, size)
            position += size
        for root, view, offset in self._views.values():
            if root.stored is not None and (offset + view.count) * root.width <= root.stored.size:
                view.stored = root.stored.part(offset * root.width, view.num_bytes)
            else:
                raise PickleError("a view reaches beyond its storage")
        if any(root.stored is None and root.count for root in self._roots.values()):
            raise PickleError("truncated: a storage is not there")
