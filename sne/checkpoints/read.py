"""The entry: anything that holds the weights of a network becomes a `Network`."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from sne.checkpoints.configuration import heads_of, read_config
from sne.checkpoints.folder import open_folder, open_index
from sne.checkpoints.formats.known import open_file
from sne.checkpoints.module import module_tensors
from sne.checkpoints.source import CheckpointSource
from sne.checkpoints.state_dict import StateDictTensors, unwrap
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError
from sne.networks import Network, Note, build_network


def read_network(source: str | PathLike[str] | Mapping[str, Any] | nn.Module, *, name: str | None = None) -> Network:
    """Reads a network from its weights alone. Executes nothing and loads no values yet.

    Args:
        source: A checkpoint file in any of the `sne.checkpoints.formats.FORMATS`, a folder with one checkpoint or its
            shards, a `*.index.json`, a state dict (wrapped or not), or a module.
        name: Name of the network; by default the path, or the class of the module.

    Returns:
        The network: its layers in order, and a note on every tensor that is not used or not surely understood.

    Raises:
        CheckpointError: If the source cannot be read whole.

    Example:
        >>> network = read_network(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        >>> [(layer.name, layer.type.value, layer.level) for layer in network.layers]
        [('0', 'linear', 0), ('2', 'linear', 1)]
        >>> network.read(network.layers[0].parts[0]).shape
        torch.Size([3, 4, 1])
    """
    opened = open_source(source)
    network = build_network(name or opened.name, opened, opened.hints, heads=heads_of(opened.config))
    if not opened.notes:
        return network
    extra = tuple(Note(key, reason) for key, reason in opened.notes.items())
    return Network(network.name, network.layers, opened, network.notes + extra)


def open_source(source: str | PathLike[str] | Mapping[str, Any] | nn.Module) -> CheckpointSource:
    """Opens the tensors of a checkpoint without recognising layers.

    Args:
        source: A path, a state dict or a module, as in `read_network`.

    Returns:
        The tensors, not loaded yet.

    Raises:
        CheckpointError: If the source cannot be read whole.

    Example:
        >>> open_source(nn.Linear(4, 3)).load("bias").shape
        torch.Size([3])
    """
    if isinstance(source, nn.Module):
        return CheckpointSource(module_tensors(source))
    if isinstance(source, Mapping):
        state, notes = unwrap(source, "state dict")
        return CheckpointSource(StateDictTensors(state, notes=notes))
    if not isinstance(source, str | PathLike):
        kind = type(source).__name__
        raise CheckpointError(kind, "cannot be read; expected a path, a state dict or an nn.Module")
    path = Path(source)
    try:
        return CheckpointSource(_open_path(path), config=read_config(path))
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error


def _open_path(path: Path) -> StoredTensors:
    if path.is_dir():
        return open_folder(path)
    if not path.exists():
        raise CheckpointError(path, "no such file or folder")
    if path.name.endswith(".index.json"):
        return open_index(path)
    return open_file(path)
