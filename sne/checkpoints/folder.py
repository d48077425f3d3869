"""Folders that hold one checkpoint: a single file, or shards with or without an index."""

import re
from collections import Counter
from collections.abc import Mapping, Set
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import final

from torch import Tensor

from sne.checkpoints.choice import choose_network
from sne.checkpoints.composed import ComposedWeight
from sne.checkpoints.folder_files import (
    ADAPTER,
    PARALLEL,
    SHARD,
    USUAL,
    FolderFiles,
    find_checkpoints,
    list_folder,
    stem_of,
)
from sne.checkpoints.formats.foreign import find_foreign_folder
from sne.checkpoints.formats.known import SUFFIXES, open_file, open_part
from sne.checkpoints.parallel import ParallelTensors
from sne.checkpoints.raw_data import leads_out, parse_json
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.stored import StoredTensors, read_range
from sne.errors import CheckpointError
from sne.networks import Hint

_MAX_INDEX = 100_000_000
_MAX_SHARDS = 10_000
_LONGEST_NAME = 200
_STAGE = re.compile(r"^layer_\d+-model_\d+")


@final
class ShardedTensors(StoredTensors):
    """Several files that together hold one network.

    Args:
        name: The folder or index, as messages call it.
        shards: The tensors of each file, by file name.

    Raises:
        CheckpointError: If a tensor is in two shards.
    """

    def __init__(self, name: str, shards: Mapping[str, StoredTensors]):
        self._shard_of: dict[str, StoredTensors] = {}
        hints: dict[str, Hint] = {}
        notes: dict[str, str] = {}
        metadata: dict[str, str] = {}
        composed: list[ComposedWeight] = []
        for file, shard in shards.items():
            for tensor in shard.infos:
                if tensor in self._shard_of:
                    raise CheckpointError(name, f"tensor {tensor!r} is in {file} and in another shard")
                self._shard_of[tensor] = shard
            hints.update(shard.hints)
            notes.update(shard.notes)
            metadata.update(shard.metadata)
            composed += shard.composed or ()
        infos = [shard.infos[tensor] for tensor, shard in self._shard_of.items()]
        super().__init__(name, infos, hints=hints, composed=composed or None, notes=notes, metadata=metadata)

    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor from its shard."""
        return self._shard_of[name].read_stored(name)

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads some entries of one tensor from its shard."""
        return read_range(self._shard_of[name], name, start, stop)


def open_folder(folder: FilePath, select: str | None = None) -> StoredTensors:
    """Opens the one checkpoint in a folder.

    Args:
        folder: Path of an existing folder.
        select: Name of the network to read if there are several, as in `sne.read_network`.

    Returns:
        The tensors, with a note for each other checkpoint and each state of a training in the folder, and for the
        folders in it that hold checkpoints. If the folder has the weights in several formats, safetensors are
        preferred.

    Raises:
        CheckpointError: If there is no checkpoint, if there are several, or if a shard is missing.
    """
    files = list_folder(folder)
    names = [name for name in files.names if stem_of(name) != ADAPTER] or files.names
    single = next((name for stem in USUAL for name in names if stem_of(name) == stem), None)
    if single is not None:
        return _with_notes(open_file(folder / single, select), files, {single})
    kinds = [[name for name in of_kind if name in names] for of_kind in files.checkpoints.values()]
    for of_kind in (*kinds, []):
        suffixes = {Path(name).suffix for name in of_kind}
        indexes = [index for index in files.indexes if not suffixes or any(f"{s}.index" in index for s in suffixes)]
        if len(indexes) > 1:
            raise CheckpointError(folder, f"the folder has several indexes ({', '.join(indexes)}); name one of them")
        if indexes:
            stored, shards = _read_index(folder / indexes[0])
            return _with_notes(choose_network(stored, select), files, shards)
        if of_kind:
            return _with_notes(_open_files(files, of_kind, select), files, set(of_kind))
    return _open_below(files, select)


def _open_files(files: FolderFiles, names: list[str], select: str | None) -> StoredTensors:
    """Opens a file, shards, or tensor-parallel parts."""
    folder = files.folder
    if len(names) == 1 and not SHARD.match(stem_of(names[0])):
        return open_file(folder / names[0], select)
    if len(names) > 1 and all(PARALLEL.match(name) for name in names):
        parts = sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
        numbers = [int(match[2]) for name in parts if (match := PARALLEL.match(name))]
        if numbers != list(range(len(parts))):
            raise CheckpointError(folder, f"parts are missing: the folder has {', '.join(parts[:5])}")
        joined = ParallelTensors(str(folder), {name: open_part(folder / name) for name in parts})
        return choose_network(joined, select)
    _check_complete(folder, names)
    shards = {name: open_part(folder / name) for name in names}
    return choose_network(ShardedTensors(str(folder), shards), select)


def _open_below(files: FolderFiles, select: str | None) -> StoredTensors:
    """Opens the folder that a file names as the newest, or says what a folder without a checkpoint of its own holds."""
    folder = files.folder
    for pointer, inside in (("latest", ""), ("refs/main", "snapshots")):  # of DeepSpeed and of Hugging Face's cache
        file = folder / pointer
        if file.is_file() and file.stat().st_size < _LONGEST_NAME:
            name = file.read_text(errors="replace").strip()
            if name and _stays_in_folder(name) and (folder / inside / name).is_dir():
                return open_folder(folder / inside / name, select)
    parts = [name for name in files.folders if _holds_checkpoint(folder / name)]
    if parts:
        is_pipeline = (folder / "model_index.json").is_file()
        what = "a pipeline of several networks" if is_pipeline else "a folder without a checkpoint"
        raise CheckpointError(folder, f"{what}; name one of its parts: {', '.join(parts[:20])}")
    if (foreign := find_foreign_folder(_some_paths(folder))) is not None:
        raise CheckpointError(folder, f"cannot be read: the folder seems to be {foreign}")
    training = f"; {', '.join(files.training[:5])} hold the state of a training" if files.training else ""
    wanted = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
    raise CheckpointError(folder, f"a folder without a checkpoint; looked for {wanted} and *.index.json{training}")


def _with_notes(stored: StoredTensors, files: FolderFiles, read: Set[str]) -> StoredTensors:
    """Adds notes on what else a folder holds."""
    notes: dict[str, str] = {}
    for name in files.names:
        if name not in read:
            is_adapter = stem_of(name) == ADAPTER
            notes[name] = "an adapter beside the network; not applied" if is_adapter else "another checkpoint; not read"
    notes |= dict.fromkeys(files.training, "state of the training, not a weight")
    for name in files.folders:
        is_read = any(one.startswith(f"{name}/") for one in read)
        if not is_read and _holds_checkpoint(files.folder / name):
            notes[f"{name}/"] = "a folder with checkpoints of its own, such as further modules of a pipeline; not read"
    stored.notes = {**notes, **stored.notes}
    return stored


def _holds_checkpoint(folder: FilePath) -> bool:
    """Whether a folder, or one of those in it, has a checkpoint."""
    return next(find_checkpoints(folder), None) is not None


def _some_paths(folder: FilePath) -> set[str]:
    """Lists what is in a folder and in the folders in it, by its path from the folder on."""
    own = list(islice(folder.iterdir(), _MAX_SHARDS))
    below = (f"{path.name}/{inner.name}" for path in own if path.is_dir() for inner in islice(path.iterdir(), 100))
    return {path.name for path in own} | set(islice(below, _MAX_SHARDS))


def open_index(index: FilePath, select: str | None = None) -> StoredTensors:
    """Opens the shards that a `*.index.json` lists.

    Args:
        index: Path of the index file.
        select: Name of the network to read if there are several, as in `sne.read_network`.

    Returns:
        The tensors of all shards.

    Raises:
        CheckpointError: If the index is malformed, or if a shard lies outside its folder, is missing, or lacks one of
            its tensors.
    """
    return choose_network(_read_index(index)[0], select)


def _read_index(index: FilePath) -> tuple["ShardedTensors", set[str]]:
    """Opens the shards that an index lists, and returns them with the names of their files."""
    size = index.stat().st_size
    if size > _MAX_INDEX:
        raise CheckpointError(index, f"the index has {size} bytes, at most {_MAX_INDEX} are read")
    content = parse_json(index.read_bytes(), index, "index")
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(index, "the index has no weight_map from tensors to files")
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not _stays_in_folder(file):
            raise CheckpointError(index, f"tensor {tensor!r} is in {str(file)[:80]!r}, not a file of the same folder")
    files = sorted(set(weight_map.values()))
    if len(files) > _MAX_SHARDS:
        raise CheckpointError(index, f"the index names {len(files)} shards, at most {_MAX_SHARDS} are read")
    missing = [file for file in files if not (index.parent / file).is_file()]
    if missing:
        raise CheckpointError(index, f"{len(missing)} of {len(files)} shards are missing: {', '.join(missing[:5])}")
    links = [file for file in files if leads_out(index, index.parent / file)]
    if links:
        raise CheckpointError(index, f"shard {links[0]!r} is a link to a file of another folder")
    shards = {file: open_part(index.parent / file) for file in files}
    for tensor, file in weight_map.items():
        if tensor not in shards[file].infos:
            raise CheckpointError(index, f"tensor {tensor!r} is not in its shard {file}")
    return ShardedTensors(str(index), shards), set(files)


def _stays_in_folder(file: str) -> bool:
    """Whether a path that a file names is relative and has no way out of its folder."""
    path = PurePosixPath(file)
    parts = path.parts
    return bool(parts) and not path.is_absolute() and ".." not in parts and "\\" not in file and ":" not in file


def _check_complete(folder: FilePath, files: list[str]) -> None:
    """Accepts several files as one network only if they are all shards of it, such as `x-00001-of-00003`."""
    matches = {file: SHARD.match(stem_of(file)) for file in files}
    groups = Counter((match[1], match[3]) for match in matches.values() if match)
    if any(match is None for match in matches.values()) or len(groups) != 1:
        if all(_STAGE.match(file) for file in files):
            raise CheckpointError(
                folder,
                f"{len(files)} parts of one network, as GPT-NeoX and Megatron-DeepSpeed write a pipeline of layers; "
                "convert them with their own scripts, such as convert_neox_to_hf.py",
            )
        shown = ", ".join(files[:5]) + (", ..." if len(files) > 5 else "")
        raise CheckpointError(folder, f"the folder has several checkpoints ({shown}); name one of them")
    ((_, total), count) = groups.popitem()
    if count != int(total):
        raise CheckpointError(folder, f"{int(total) - count} of {int(total)} shards are missing")
