"""The entry: anything that holds the weights of a network becomes a `Network`."""

from collections import Counter
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from sne.checkpoints.adapters import describe_adapter
from sne.checkpoints.choice import choose_network
from sne.checkpoints.configuration import heads_of, read_config
from sne.checkpoints.folder import open_folder, open_index
from sne.checkpoints.formats.known import open_file
from sne.checkpoints.module import module_tensors
from sne.checkpoints.nonfinite import without_nonfinite, without_nonfinite_constants
from sne.checkpoints.remote import FilePath, is_remote, open_remote
from sne.checkpoints.source import CheckpointSource
from sne.checkpoints.state_dict import StateDictTensors
from sne.checkpoints.stored import StoredTensors
from sne.checkpoints.unwrapping import unwrap
from sne.errors import CheckpointError
from sne.networks import Network, Note, build_network
from sne.work.collection import paused_collection

Readable: TypeAlias = str | PathLike[str] | Mapping[str, Any] | nn.Module
"""What can be read: a path, a state dict (wrapped or not), or a module."""


def read_network(
    source: Readable, *, name: str | None = None, select: str | None = None, allow_nonfinite: bool = False
) -> Network:
    """Reads a network from its weights alone. Executes nothing and loads no values yet.

    Only small parameters of no known layer are looked at: those that hold NaN or infinity are masks or constants, and
    are set aside with a note.

    Args:
        source: A checkpoint file in any of the `sne.checkpoints.formats.FORMATS`, a folder with one checkpoint or its
            shards, a `*.index.json`, a state dict (wrapped or not), or a module.
        name: Name of the network; by default the path as given (for a folder, the folder and not the file in it), or
            the class of the module.
        select: Name of the network to read where the source holds several: the keys that lead to its state dict, such
            as "model_ema" or "0", or a prefix of its tensors' names, such as "teacher". By default the main network is
            read, and a note states which one that is.
        allow_nonfinite: Whether a network with NaN or infinite weights is read. All values are then loaded once, and
            each layer in which some are NaN or infinite is left out, with a note that counts them. Otherwise loading
            such a weight raises an error.

    Returns:
        The network: its layers in order, and a note on every tensor that is not used or not surely understood.

    Raises:
        CheckpointError: If the source cannot be read whole, or holds no network of the name `select`.

    Example:
        >>> network = read_network(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        >>> [(layer.name, layer.type.value, layer.level) for layer in network.layers]
        [('0', 'linear', 0), ('2', 'linear', 1)]
        >>> network.read(network.layers[0].parts[0]).shape
        torch.Size([3, 4, 1])
    """
    with paused_collection():
        opened, own_name = _open_named(source, select)
        network = build_network(name or own_name, opened, opened.hints, heads=heads_of(opened.config))
    network = without_nonfinite_constants(network)
    if not network.layers:
        raise CheckpointError(opened.name, _without_weights(network))
    if opened.notes:
        extra = tuple(Note(key, reason) for key, reason in opened.notes.items())
        network = Network(network.name, network.layers, opened, network.notes + extra)
    if (adapter := describe_adapter(opened.infos)) is not None:
        own = Note(Path(opened.name).name, adapter)
        network = Network(network.name, network.layers, opened, (own, *network.notes))
    return without_nonfinite(network) if allow_nonfinite else network


def open_source(source: Readable, *, select: str | None = None) -> CheckpointSource:
    """Opens the tensors of a checkpoint without recognising layers.

    Args:
        source: A path, a state dict or a module, as in `read_network`.
        select: Name of the network to open where the source holds several, as in `read_network`.

    Returns:
        The tensors, not loaded yet.

    Raises:
        CheckpointError: If the source cannot be read whole, or holds no network of the name `select`.

    Example:
        >>> open_source(nn.Linear(4, 3)).load("bias").shape
        torch.Size([3])
        >>> state = nn.Linear(4, 3).state_dict()
        >>> list(open_source({"net": state, "ema": {"bias": state["bias"]}}, select="ema").infos)
        ['bias']
    """
    return _open_named(source, select)[0]


def _open_named(source: Readable, select: str | None) -> tuple[CheckpointSource, str]:
    """Opens a checkpoint, and returns how its network is called: a folder by its path, not by the file in it."""
    if select is not None and not select.strip():
        raise CheckpointError(str(source)[:200] if isinstance(source, str | PathLike) else type(source).__name__,
                              "the name of the network to select is empty")  # fmt: skip
    if isinstance(source, nn.Module):
        opened = CheckpointSource(choose_network(module_tensors(source), select))
        return opened, opened.name
    if isinstance(source, Mapping):
        state, notes = unwrap(source, "state dict", select)
        opened = CheckpointSource(choose_network(StateDictTensors(state, notes=notes), None))
        return opened, opened.name
    if not isinstance(source, str | PathLike):
        kind = type(source).__name__
        raise CheckpointError(kind, "cannot be read; expected a path, a state dict or an nn.Module")
    path = open_remote(source) if is_remote(source) else Path(source)
    try:
        is_folder = path.is_dir()
        stored = open_folder(path, select) if is_folder else _open_file(path, select)
        opened = CheckpointSource(stored, config=read_config(path))
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error
    return opened, str(path) if is_folder else opened.name


def _without_weights(network: Network) -> str:
    """Says why a network has no layers: the most frequent reason why tensors were set aside."""
    reasons = Counter(note.reason for note in network.notes).most_common(1)
    why = f", {reasons[0][1]} of them because: {reasons[0][0]}" if reasons else ""
    return f"none of its {len(network.source.infos)} tensors is a weight{why}"


def _open_file(path: FilePath, select: str | None) -> StoredTensors:
    if not path.exists():
        raise CheckpointError(path, "no such file or folder")
    if path.name.endswith(".index.json"):
        return open_index(path, select)
    return open_file(path, select)
