"""The table of checkpoint formats. A new format is one file in this folder and one row here."""

from pathlib import Path

from sne.checkpoints.choice import choose_network
from sne.checkpoints.formats.contents import FileStart, Format
from sne.checkpoints.formats.exported_program import ExportedTensors, is_exported_program
from sne.checkpoints.formats.flax_file import is_flax, open_flax
from sne.checkpoints.formats.gguf_file import GgufTensors, is_gguf
from sne.checkpoints.formats.keras_file import is_hdf5, is_keras, open_hdf5, open_keras
from sne.checkpoints.formats.numpy_file import is_npy, is_npz, open_npy, open_npz
from sne.checkpoints.formats.old_torch_tar import is_old_torch_tar, open_old_torch_tar
from sne.checkpoints.formats.onnx_file import OnnxTensors, is_onnx
from sne.checkpoints.formats.packed_file import is_packed, open_packed
from sne.checkpoints.formats.safetensors_file import SafetensorsTensors, is_named_safetensors, is_safetensors
from sne.checkpoints.formats.torch_file import is_torch_archive, is_torch_pickle, open_torch_file
from sne.checkpoints.formats.torchscript import is_torchscript, open_torchscript
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError

FORMATS: tuple[Format, ...] = (
    Format("safetensors", (".safetensors",), is_safetensors, SafetensorsTensors),
    Format("torch", (".bin", ".pt", ".pth", ".ckpt"), is_torch_archive, open_torch_file, holds_tree=True),
    Format("torch pickle", (".bin", ".pt", ".pth", ".ckpt"), is_torch_pickle, open_torch_file, holds_tree=True),
    Format("exported program", (".pt2",), is_exported_program, ExportedTensors),
    Format("TorchScript", (".pt",), is_torchscript, open_torchscript),
    Format("ONNX", (".onnx",), is_onnx, OnnxTensors),
    Format("Flax", (".msgpack",), is_flax, open_flax),
    Format("GGUF", (".gguf",), is_gguf, GgufTensors),
    Format("Keras", (".keras",), is_keras, open_keras),
    Format("HDF5", (".h5", ".hdf5"), is_hdf5, open_hdf5),
    Format("NumPy", (".npz",), is_npz, open_npz),
    Format("NumPy", (".npy",), is_npy, open_npy),
    Format("torch before 0.1.10", (), is_old_torch_tar, open_old_torch_tar, holds_tree=True),
    Format(
        "packed checkpoint", (), is_packed, lambda file, select: open_packed(file, select, open_file), holds_tree=True
    ),
    # A damaged file that only its name identifies: the reader reports the fault in the header.
    Format("safetensors", (".safetensors",), is_named_safetensors, SafetensorsTensors),
)
"""Formats that are read. The first row that recognises a file reads it."""

SUFFIXES = tuple(dict.fromkeys(suffix for known in FORMATS for suffix in known.suffixes))
"""Suffixes of checkpoint files, in order of preference within a folder."""


def open_file(file: Path, select: str | None = None) -> StoredTensors:
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


def open_part(file: Path) -> StoredTensors:
    """Opens one of the files that together hold a checkpoint: all of its tensors, whatever network they belong to.

    Args:
        file: Path of an existing file.

    Raises:
        CheckpointError: If the file is not a checkpoint or cannot be read whole.
    """
    return _open(file, None)[1]


def _open(file: Path, select: str | None) -> tuple[Format, StoredTensors]:
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
