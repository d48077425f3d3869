"""Reader of Keras models (.keras, .weights.h5, .h5) and of plain HDF5 files of arrays."""

import io
import json
import mmap
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sne.checkpoints.formats.arrays import ArrayTensors, StoredArray
from sne.checkpoints.formats.channels_last import open_arrays, read_channels_last
from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.hdf5.arrays import Hdf5Array
from sne.checkpoints.formats.hdf5.file import SIGNATURE
from sne.checkpoints.formats.hdf5.messages import Hdf5Error
from sne.checkpoints.formats.hdf5.objects import Hdf5Objects
from sne.checkpoints.formats.keras_names import (
    KerasConfig,
    class_of_group,
    module_of_group,
    numbered_variables,
    old_names,
    parse_config,
    variable_names,
)
from sne.checkpoints.formats.stored_bytes import StoredBytes
from sne.checkpoints.formats.zip_archive import read_members
from sne.checkpoints.raw_data import parse_json
from sne.checkpoints.remote.path import FilePath
from sne.errors import CheckpointError, RemoteError
from sne.networks import Hint

_WEIGHTS = "model.weights.h5"
_NOT_FOLLOWED = "a link that is not followed"
_OPTIMISER = "state of an optimiser, not a weight"
_RANDOM = "state of a random generator, not a weight"
_MAX_CONFIG = 200_000_000
_DAMAGE = (Hdf5Error, OSError, ValueError, IndexError, OverflowError, RecursionError)

Opener = Callable[[], AbstractContextManager[tuple[io.BufferedIOBase, int]]]


def is_hdf5(start: FileStart) -> bool:
    """Whether a file starts with the signature of HDF5."""
    return start.head.startswith(SIGNATURE)


def is_keras(start: FileStart) -> bool:
    """Whether a file is a zip archive with the weights and the configuration of a Keras model."""
    return {_WEIGHTS, "config.json"} <= start.members


def open_hdf5(file: FilePath, select: str | None = None) -> ArrayTensors:
    """Opens an HDF5 file: a model or weights of Keras, or plain arrays.

    Args:
        file: Path of the file.
        select: Ignored; the file holds one network.

    Returns:
        The arrays. Those of Keras are turned to the names and axes of torch.

    Raises:
        CheckpointError: If the file is damaged or holds no arrays of numbers.
    """
    return _Contents(file, lambda: _WholeFile(file)).open(None)


def open_keras(file: FilePath, select: str | None = None) -> ArrayTensors:
    """Opens a .keras archive. Its configuration names the layers and their order; nothing is built from it.

    Args:
        file: Path of the archive.
        select: Ignored; the file holds one network.

    Returns:
        The weights, turned to the names and axes of torch.

    Raises:
        CheckpointError: If the archive is damaged or holds no arrays of numbers.
    """
    members = read_members(file)
    described = members["config.json"]
    if described.size > _MAX_CONFIG:
        raise CheckpointError(file, f"config.json has {described.size} bytes, at most {_MAX_CONFIG} are read")
    config = parse_json(described.read_bytes(0, described.size), file, "configuration")
    return _Contents(file, lambda: _Member(members[_WEIGHTS])).open(config)


class _WholeFile(AbstractContextManager[tuple[io.BufferedIOBase, int]]):
    """A file, opened while it is needed."""

    def __init__(self, file: FilePath):
        self._file = file

    def __enter__(self) -> tuple[io.BufferedIOBase, int]:
        self._stream = self._file.open("rb")
        return self._stream, self._file.stat().st_size

    def __exit__(self, *_: object) -> None:
        self._stream.close()


class _Member(AbstractContextManager[tuple[io.BufferedIOBase, int]]):
    """A member of a zip archive, decompressed into memory if it is compressed."""

    def __init__(self, member: StoredBytes):
        self._member = member

    def __enter__(self) -> tuple[io.BufferedIOBase, int]:
        content, start = self._member.buffer()
        return _Part(content, start, self._member.size), self._member.size

    def __exit__(self, *_: object) -> None:
        """Leaves the file mapped."""


class _Part(io.BufferedIOBase):
    """A part of something that gives bytes by their index, as a stream."""

    def __init__(self, content: bytes | mmap.mmap, start: int, size: int):
        self._content, self._start, self._size, self._at = content, start, size, 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = min(max(offset, 0), self._size)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        piece = self._content[self._start + self._at : self._start + end]
        self._at = end
        return piece


class _Contents:
    """The arrays and texts of an HDF5 file.

    Args:
        file: The file, for messages.
        opened: Gives the bytes of the HDF5 file and their number.
    """

    def __init__(self, file: FilePath, opened: Opener):
        self._file, self._opened = file, opened
        self._arrays: dict[str, Hdf5Array] = {}
        self._texts: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, StoredArray] = {}
        self.notes: dict[str, str] = {}
        try:
            with opened() as (stream, size):
                self._collect(Hdf5Objects(stream, size))
        except RemoteError:
            raise
        except _DAMAGE as error:
            raise CheckpointError(file, f"damaged or unusual HDF5: {error}") from error

    def _collect(self, objects: Hdf5Objects) -> None:
        for path, found in objects.walk():
            if found.array is None and not found.reason:
                self._texts[path] = {name: objects.value(attribute) for name, attribute in found.attributes.items()}
            for name, target in found.links.items():
                if target is None:
                    self.notes[f"{path}/{name}".strip("/").replace("/", ".")] = _NOT_FOLLOWED
            if found.reason:
                self.notes[path.replace("/", ".")] = found.reason
            elif found.array is not None:
                self._arrays[path] = found.array
                self.stored[path] = StoredArray(path, found.array.shape, found.array.element.dtype)

    def open(self, config: Any) -> ArrayTensors:
        """Returns the arrays as tensors.

        Args:
            config: Parsed configuration of the model, None if it is not known.
        """
        root = "model_weights" if "model_weights" in self._texts else ""
        if config is None and isinstance(text := self._texts.get("", {}).get("model_config"), str):
            config = _parsed(text)
        known = parse_config(config)
        if any(self._list(root, key) for key in ("layer_names", "layer_names0")):
            return self._legacy(root, known)
        if numbered_variables(self.stored):
            return self._numbered(known)
        return open_arrays(self._file, self.stored, self.read, self.notes)

    def read(self, array: StoredArray) -> Tensor:
        """Reads the values of one array."""
        found = self._arrays[array.key]
        try:
            with self._opened() as (stream, size):
                values = Hdf5Objects(stream, size).values(found)
        except RemoteError:
            raise
        except _DAMAGE as error:
            raise CheckpointError(self._file, f"array {array.key!r}: {error}") from error
        if array.dtype == "bfloat16":
            return torch.from_numpy(values.view(np.uint16).copy()).view(torch.bfloat16)
        return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), copy=True))

    def _list(self, path: str, name: str) -> list[str]:
        """Returns an attribute that lists names; Keras cuts long ones into several attributes with a number."""
        held = self._texts.get(path, {})
        pieces = [held[name]] if name in held else []
        while f"{name}{len(pieces)}" in held:
            pieces.append(held[f"{name}{len(pieces)}"])
        found: list[str] = []
        for piece in pieces:
            found += [item for item in piece if isinstance(item, str)] if isinstance(piece, list) else []
        return found

    def _legacy(self, root: str, config: KerasConfig) -> ArrayTensors:
        """Reads files whose variables have names: one group per layer, in the order of an attribute."""
        prefix = f"{root}/" if root else ""
        arrays: dict[str, StoredArray] = {}
        classes: dict[str, str] = {}
        for layer in self._list(root, "layer_names"):
            group = f"{prefix}{layer}"
            names = [name for name in self._list(group, "weight_names") if f"{group}/{name}" in self.stored]
            parents = [name.split("/")[:-1] for name in names]
            shared = 0
            while parents and all(len(p) > shared and p[shared] == parents[0][shared] for p in parents):
                shared += 1
            kernels = {leaf: self.stored[f"{group}/{name}"].shape for name in names for leaf in [name.split("/")[-1]]}
            renamed = old_names(layer, kernels)
            for name in names:
                components = name.split("/")
                module = "/".join([layer, *components[shared:-1]]).replace("_._", "/")  # lists of transformers
                arrays[f"{module}/{renamed.get(components[-1], components[-1])}"] = self.stored[f"{group}/{name}"]
                own = layer if len(components) - 1 <= shared else components[-2]
                classes[module] = config.classes.get(own, "")
        used = {array.key for array in arrays.values()}
        for path in self.stored:
            if path not in used:
                is_state = path.startswith("optimizer_weights")
                self.notes[path.replace("/", ".")] = _OPTIMISER if is_state else "no weight of a layer"
        return self._turned(arrays, classes)

    def _numbered(self, config: KerasConfig) -> ArrayTensors:
        """Reads files of Keras 3, whose variables are numbers; classes of layers tell what they are."""
        arrays: dict[str, StoredArray] = {}
        classes: dict[str, str] = {}
        names = {
            path.removesuffix("/vars"): held["name"]
            for path, held in self._texts.items()
            if path.endswith("/vars") and isinstance(held.get("name"), str)
        }
        taken: dict[str, str] = {}
        for group, variables in numbered_variables(self.stored).items():
            if group.split("/")[0] == "optimizer":
                self.notes[group] = _OPTIMISER
                continue
            last = group.rpartition("/")[2]
            if last.startswith("seed_generator"):
                self.notes[group.replace("/", ".")] = _RANDOM
                continue
            module = module_of_group(group, names)
            if taken.setdefault(module, group) != group:
                module = module_of_group(group, {})  # two layers of one name: told apart by their groups
                taken[module] = group
            name = names.get(group, last)
            kind = class_of_group(last) or self._class_by_parent(group, variables) or config.classes.get(name, "")
            known = variable_names(kind, len(variables), config.settings.get(name, {}))
            classes[module] = kind if known else ""
            for index, (number, path) in enumerate(variables):
                leaf = f"vars_{number}" if known is None else known[index]
                arrays[f"{module}/{leaf}" if module else leaf] = self.stored[path]
        order = {name: index for index, name in enumerate(config.order)}

        def rank(path: str) -> int:
            return min((order[name] for name in path.split("/") if name in order), default=len(order))

        ranked = sorted(arrays, key=rank)
        return self._turned({path: arrays[path] for path in ranked}, classes, has_order=bool(order))

    def _class_by_parent(self, group: str, variables: list[tuple[int, str]]) -> str:
        """Returns the class of layers whose groups are named after what they do in another layer."""
        parent, _, last = group.rpartition("/")
        above = parent.rpartition("/")[2]
        if last.endswith("_dense") and above.startswith(("multi_head_attention", "grouped_query_attention")):
            return "EinsumDense"
        if last == "cell":
            kind = above if not above.endswith("_layer") else ""
            for name in ("lstm", "gru", "simple_rnn"):
                if kind.startswith(name):
                    return class_of_group(f"{name}_cell")
            shapes = [self.stored[path].shape for _, path in variables]
            if len(shapes) >= 2 and all(len(shape) == 2 for shape in shapes[:2]):
                return "LSTMCell"  # kernel, recurrent kernel and bias, as in every cell
        return ""

    def _turned(
        self, arrays: Mapping[str, StoredArray], classes: Mapping[str, str], *, has_order: bool = True
    ) -> ArrayTensors:
        """Turns arrays to the names and axes of torch. They stand in the order of the model, if it is known."""
        reading = read_channels_last(arrays, classes)
        hints = dict(reading.hints)
        if has_order:
            order: dict[str, int] = {}
            for array in reading.turned:
                order.setdefault(array.name.rpartition(".")[0], len(order))
            for module, index in order.items():
                hints[module] = replace(hints.get(module, Hint()), order=index)
        notes = {**self.notes, **reading.notes}
        return ArrayTensors(str(self._file), reading.turned, self.read, hints=hints, notes=notes)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
