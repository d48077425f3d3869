"""Reader of torch files (.pt, .pth, .bin, .ckpt): zip archives of torch 1.6 and later, and older pickles."""

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.inert_pickle import check_storages, inert_numpy
from sne.checkpoints.formats.torchscript import is_torchscript
from sne.checkpoints.raw_data import read_directory
from sne.checkpoints.state_dict import StateDictTensors, unwrap
from sne.errors import CheckpointError

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|[Cc]an only build Tensor|global ([\w.]+)")


def is_torch_archive(start: FileStart) -> bool:
    """Whether a file is a zip archive with a data.pkl, and not one of TorchScript."""
    return any(name.endswith("data.pkl") for name in start.members) and not is_torchscript(start)


def is_torch_pickle(start: FileStart) -> bool:
    """Whether a file starts like a pickle of protocol 2 or later."""
    return start.head.startswith(b"\x80")


def open_torch_archive(file: Path, select: str | None = None) -> StateDictTensors:
    """Opens a zip archive as written by `torch.save` of torch 1.6 and later.

    The archive is mapped into memory: only the pages of tensors that are loaded are read.

    Args:
        file: Path of the archive.
        select: Name of the network to read if there are several, see `sne.checkpoints.state_dict.unwrap`.

    Returns:
        A source of its tensors.

    Raises:
        CheckpointError: If the archive is damaged, or its pickle names anything but tensors and containers.
    """
    check_storages(file, read_directory(file))
    return _open(file, select, mmap=True)


def open_torch_pickle(file: Path, select: str | None = None) -> StateDictTensors:
    """Opens a pickle as written by `torch.save` before torch 1.6. All of its values are read at once.

    Args:
        file: Path of the pickle.
        select: Name of the network to read if there are several, see `sne.checkpoints.state_dict.unwrap`.

    Returns:
        A source of its tensors.

    Raises:
        CheckpointError: If the file is damaged, or the pickle names anything but tensors and containers.
    """
    return _open(file, select, mmap=False)


def _open(file: Path, select: str | None, *, mmap: bool) -> StateDictTensors:
    state, notes = unwrap(_load(file, mmap=mmap), str(file), select)
    return StateDictTensors(state, name=str(file), notes=notes)


def _load(file: Path, *, mmap: bool) -> Any:
    try:
        with inert_numpy(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", mmap=mmap, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(file, _refusal(str(error))) from error
    except Exception as error:  # torch raises many kinds for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(file, f"truncated or damaged torch file: {reason}") from error


def _refusal(message: str) -> str:
    """Returns the reason why torch refused to unpickle a file."""
    if found := _GLOBAL.search(message):
        culprit = found[1] or found[2] or "an object of its own class"
        return (
            f"the file holds more than tensors ({culprit}); nothing in it was executed. "
            "Save the state dict instead: torch.save(model.state_dict(), file)"
        )
    return f"not a torch checkpoint, or a damaged one: {message.splitlines()[0] if message else 'bad pickle'}"
