"""Folders that hold one checkpoint: a single file, or shards with or without an index."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import final

from torch import Tensor

from sne.checkpoints.choice import choose_network
from sne.checkpoints.composed import ComposedWeight
from sne.checkpoints.formats.known import SUFFIXES, open_file
from sne.checkpoints.raw_data import leads_out, parse_json
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError
from sne.networks import Hint

USUAL = ("model", "pytorch_model", "diffusion_pytorch_model", "adapter_model", "consolidated")
"""Names, without suffix, of the file that holds the whole network of a folder. They are preferred to other files."""

_SHARD = re.compile(r"^(.*)-(\d+)-of-(\d+)$")
_NOT_WEIGHTS = {"training_args", "optimizer", "scheduler", "scaler", "rng_state"}
_MAX_INDEX = 100_000_000
_MAX_SHARDS = 10_000


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


def open_folder(folder: Path, select: str | None = None) -> StoredTensors:
    """Opens the one checkpoint in a folder.

    Args:
        folder: Path of an existing folder.
        select: Name of the network to read if there are several, as in `sne.read_network`.

    Returns:
        The tensors. If the folder has the weights in several formats, safetensors are preferred.

    Raises:
        CheckpointError: If there is no checkpoint, if there are several, or if a shard is missing.
    """
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    for suffix in SUFFIXES:
        found = [name for name in names if name.endswith(suffix) and Path(name).stem not in _NOT_WEIGHTS]
        indexes = [name for name in names if name.endswith(f"{suffix}.index.json")]
        single = next((f"{stem}{suffix}" for stem in USUAL if f"{stem}{suffix}" in found), None)
        if single is not None:
            return open_file(folder / single, select)
        if len(indexes) == 1:
            return open_index(folder / indexes[0], select)
        if len(indexes) > 1:
            raise CheckpointError(folder, f"the folder has several indexes ({', '.join(indexes)}); name one of them")
        if len(found) == 1 and not _SHARD.match(Path(found[0]).stem):
            return open_file(folder / found[0], select)
        if found:
            _check_complete(folder, found)
            shards = {name: open_file(folder / name) for name in found}
            return choose_network(ShardedTensors(str(folder), shards), select)
    wanted = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
    raise CheckpointError(folder, f"a folder without a checkpoint; looked for {wanted} and *.index.json")


def open_index(index: Path, select: str | None = None) -> StoredTensors:
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
    shards = {file: open_file(index.parent / file) for file in files}
    for tensor, file in weight_map.items():
        if tensor not in shards[file].infos:
            raise CheckpointError(index, f"tensor {tensor!r} is not in its shard {file}")
    return choose_network(ShardedTensors(str(index), shards), select)


def _stays_in_folder(file: str) -> bool:
    """Whether a path that a file names is relative and has no way out of its folder."""
    path = PurePosixPath(file)
    parts = path.parts
    return bool(parts) and not path.is_absolute() and ".." not in parts and "\\" not in file and ":" not in file


def _check_complete(folder: Path, files: list[str]) -> None:
    """Accepts several files as one network only if they are all shards of it, such as `x-00001-of-00003`."""
    matches = {file: _SHARD.match(Path(file).stem) for file in files}
    groups = Counter((match[1], match[3]) for match in matches.values() if match)
    if any(match is None for match in matches.values()) or len(groups) != 1:
        shown = ", ".join(files[:5]) + (", ..." if len(files) > 5 else "")
        raise CheckpointError(folder, f"the folder has several checkpoints ({shown}); name one of them")
    ((_, total), count) = groups.popitem()
    if count != int(total):
        raise CheckpointError(folder, f"{int(total) - count} of {int(total)} shards are missing")
