"""The table of checkpoint formats. A new format is one file in this folder and one row here."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from sne.checkpoints.choice import choose_network
from sne.checkpoints.formats.contents import FileStart, Format
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError


def _lazy(module: str, name: str) -> Callable[..., Any]:
    """Returns a function of a format's module, which is imported at the first call: few files need all of them."""

    def call(*args: Any) -> Any:
        return getattr(import_module(f"sne.checkpoints.formats.{module}"), name)(*args)

    return call


def _row(name: str, suffixes: tuple[str, ...], module: str, recognises: str, opens: str, **kind: bool) -> Format:
    """Returns a format whose functions have these names in one module."""
    return Format(name, suffixes, _lazy(module, recognises), _lazy(module, opens), **kind)


def _open_packed(file: FilePath, select: str | None) -> StoredTensors:
    from sne.checkpoints.formats.packed_file import open_packed

    return open_packed(file, select, open_file)


_TORCH = (".bin", ".pt", ".pth", ".ckpt")

FORMATS: tuple[Format, ...] = (
    _row("safetensors", (".safetensors",), "safetensors_file", "is_safetensors", "SafetensorsTensors"),
    _row("torch", _TORCH, "torch_file", "is_torch_archive", "open_torch_file", holds_tree=True),
    _row("torch pickle", _TORCH, "torch_file", "is_torch_pickle", "open_torch_file", holds_tree=True),
    _row("exported program", (".pt2",), "exported_program", "is_exported_program", "ExportedTensors"),
    _row("TorchScript", (".pt",), "torchscript", "is_torchscript", "open_torchscript"),
    _row("ONNX", (".onnx",), "onnx_file", "is_onnx", "OnnxTensors"),
    _row("Flax", (".msgpack",), "flax_file", "is_flax", "open_flax"),
    _row("GGUF", (".gguf",), "gguf_file", "is_gguf", "GgufTensors"),
    _row("Keras", (".keras",), "keras_file", "is_keras", "open_keras"),
    _row("HDF5", (".h5", ".hdf5"), "keras_file", "is_hdf5", "open_hdf5"),
    _row("NumPy", (".npz",), "numpy_file", "is_npz", "open_npz"),
    _row("NumPy", (".npy",), "numpy_file", "is_npy", "open_npy"),
    _row("torch before 0.1.10", (), "old_torch_tar", "is_old_torch_tar", "open_old_torch_tar", holds_tree=True),
    Format("packed checkpoint", (), _lazy("packed_file", "is_packed"), _open_packed, holds_tree=True),
    # A damaged file that only its name identifies: the reader reports the fault in the header.
    _row("safetensors", (".safetensors",), "safetensors_file", "is_named_safetensors", "SafetensorsTensors"),
)
"""Formats that are read. The first row that recognises a file reads it."""

SUFFIXES = tuple(dict.fromkeys(suffix for known in FORMATS for suffix in known.suffixes))
"""Suffixes of checkpoint files, in order of preference within a folder."""


def open_file(file: FilePath, select: str | None = None) -> StoredTensors:
    """Opens one checkpoint file, recognised by its content rather than by its name.

    Args:
        file: Path of an existing file.
        select: Name of the network to read if the file holds several, as in `sne.read_network`; None for the main one.

    Returns:
        A source of the tensors, which are not loaded yet.

    Raises:
        CheckpointError: If the file is not a checkpoint or cannot be read whole.
    """
    known, stored = _open(file, select)
    return choose_network(stored, None if known.holds_tree else select)


def open_part(file: FilePath) -> StoredTensors:
    """Opens one of the files that together hold a checkpoint: all of its tensors, whatever network they belong to.

    Args:
        file: Path of an existing file.

    Raises:
        CheckpointError: If the file is not a checkpoint or cannot be read whole.
    """
    return _open(file, None)[1]


def name_of_format(file: FilePath) -> str | None:
    """Returns the name of the format of a file, such as "safetensors"; None if it is in no known format.

    Args:
        file: FilePath of an existing file.

    Raises:
        CheckpointError: If the file is empty or cannot be read.
    """
    start = FileStart.read(file)
    return next((known.name for known in FORMATS if known.recognises(start)), None)


def _open(file: FilePath, select: str | None) -> tuple[Format, StoredTensors]:
    """Opens a file and returns its format, too."""
    if not file.is_file():
        raise CheckpointError(file, "not a regular file")
    start = FileStart.read(file)
    if start.foreign_first is not None:
        raise CheckpointError(file, f"cannot be read: it seems to be {start.foreign_first}")
    for known in FORMATS:
        if known.recognises(start):
            return known, known.open(file, select)
    raise CheckpointError(file, _refusal(start))


def _refusal(start: FileStart) -> str:
    """Returns the reason for refusing a file of no known format."""
    if start.foreign is not None:
        return f"cannot be read: it seems to be {start.foreign}"
    expected = dict.fromkeys(known.name for known in FORMATS if start.suffix in known.suffixes)
    if expected:
        return (
            f"the content is not {' or '.join(expected)}, although its name ends in {start.suffix}; {start.describe()}"
        )
    known_names = ", ".join(dict.fromkeys(known.name for known in FORMATS))
    return f"not a checkpoint in a format that can be read ({known_names}); {start.describe()}"
