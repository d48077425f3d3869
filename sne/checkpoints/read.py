"""One way in: anything that holds a network's weights becomes a `Network`."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from sne.checkpoints.folder import folder_source, index_source
from sne.checkpoints.kinds import Kind, kind_of
from sne.checkpoints.module import module_source
from sne.checkpoints.safetensors_file import SafetensorsSource
from sne.checkpoints.source import CheckpointSource, StateDictSource
from sne.checkpoints.torch_file import torch_source
from sne.checkpoints.torchscript import TorchScriptSource
from sne.checkpoints.unwrap import unwrap
from sne.errors import CheckpointError
from sne.networks import Network, Note, build_network


def read_network(source: str | PathLike[str] | Mapping[str, Any] | nn.Module, *, name: str | None = None) -> Network:
    """Reads a network from its weights alone; executes nothing and loads no values yet.

    Args:
        source: a file (.safetensors; .pt, .pth, .bin, .ckpt; a TorchScript archive; .onnx), a folder with one
            checkpoint or with shards, a `*.index.json`, a state dict (wrapped or not), or a module.
        name: what to call the network; by default the path, or the class of the module.

    Returns:
        The network: layers in order, with notes on every tensor that is not used or not surely understood.

    Raises:
        CheckpointError: for anything that cannot be read whole.
    """
    opened = open_source(source)
    network = build_network(name or opened.name, opened, opened.hints)
    if not opened.notes:
        return network
    extra = tuple(Note(key, reason) for key, reason in opened.notes.items())
    return Network(network.name, network.layers, opened, network.notes + extra)


def open_source(source: str | PathLike[str] | Mapping[str, Any] | nn.Module) -> CheckpointSource:
    """Opens the tensors behind a path, state dict or module; see `read_network`.

    Args:
        source: as `read_network` takes it.

    Returns:
        The tensors, not loaded yet.

    Raises:
        CheckpointError: for anything that cannot be read whole.
    """
    if isinstance(source, nn.Module):
        return module_source(source)
    if isinstance(source, Mapping):
        state, notes = unwrap(source, "state dict")
        return StateDictSource(state, notes=notes)
    if not isinstance(source, str | PathLike):
        kind = type(source).__name__
        raise CheckpointError(kind, "cannot be read; expected a path, a state dict or an nn.Module")
    path = Path(source)
    try:
        if path.is_dir():
            return folder_source(path, open_file)
        if not path.exists():
            raise CheckpointError(path, "no such file or folder")
        if path.name.endswith(".index.json"):
            return index_source(path, open_file)
        return open_file(path)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from error


def open_file(file: Path) -> CheckpointSource:
    """Opens one checkpoint file, by its content rather than by its name.

    Args:
        file: an existing file.

    Returns:
        Its tensors, not loaded yet.

    Raises:
        CheckpointError: for anything that cannot be read whole.
    """
    if not file.is_file():
        raise CheckpointError(file, "not a regular file")
    kind = kind_of(file)
    if kind is Kind.SAFETENSORS:
        return SafetensorsSource(file)
    if kind is Kind.TORCHSCRIPT:
        return TorchScriptSource(file)
    if kind is Kind.ONNX:
        from sne.checkpoints.onnx_file import OnnxSource

        return OnnxSource(file)
    return torch_source(file, is_zip=kind is Kind.TORCH_ZIP)
