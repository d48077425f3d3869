"""Reader of torch files: pickles through `weights_only` alone, memory-mapped where they are zip archives."""

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from sne.checkpoints.archive import read_directory
from sne.checkpoints.inert import inert_numpy
from sne.checkpoints.source import StateDictSource
from sne.checkpoints.storages import check_storages
from sne.checkpoints.unwrap import unwrap
from sne.errors import CheckpointError

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|[Cc]an only build Tensor|global ([\w.]+)")


def torch_source(file: Path, *, is_zip: bool) -> StateDictSource:
    """The tensors of a .pt, .pth, .bin or .ckpt file.

    Args:
        file: the file.
        is_zip: whether it is a zip archive; older pickles are read whole, archives are mapped.

    Returns:
        A source; of a mapped file only the pages that `load` touches are read.

    Raises:
        CheckpointError: for damaged files, and pickles that name anything but tensors and containers.
    """
    if is_zip:
        check_storages(file, read_directory(file))
    state, notes = unwrap(_load(file, is_zip), str(file))
    return StateDictSource(state, name=str(file), notes=notes)


def _load(file: Path, is_zip: bool) -> Any:
    try:
        with inert_numpy(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", mmap=is_zip, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(file, _refusal(str(error))) from error
    except Exception as error:  # torch raises many kinds for damaged files
        raise CheckpointError(file, f"truncated or damaged torch file: {_first_line(error)}") from error


def _refusal(message: str) -> str:
    if found := _GLOBAL.search(message):
        culprit = found[1] or found[2] or "an object of its own"
        return f"holds more than tensors ({culprit}); nothing of it was executed. Save its state dict instead"
    return f"not a torch checkpoint, or a damaged one: {message.splitlines()[0] if message else 'bad pickle'}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
