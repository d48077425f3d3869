"""Plain numbers that stand beside the tensors in a torch file, such as the label of a network."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sne.checkpoints.formats.inert_pickle import inert_numpy
from sne.errors import ZooError

_MOST = 64


def read_numbers(path: Path, key: str) -> tuple[float, ...] | None:
    """The numbers under one key of a torch file; executes nothing.

    Args:
        path: a torch file that `read_network` has read: its sizes are checked there.
        key: the name beside those of the tensors.

    Returns:
        The numbers, in order; None where there is no such key.

    Raises:
        ZooError: the file cannot be read, or something else stands under the key.
    """
    try:
        with inert_numpy(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ZooError(f"{path}: {key!r} cannot be read: {reason[:200]}") from None
    if not isinstance(content, Mapping) or key not in content:
        return None
    value = content[key]
    if isinstance(value, Tensor) and value.numel() <= _MOST:
        value = value.flatten().tolist()
    values = [value] if isinstance(value, int | float) else value
    if not isinstance(values, list | tuple) or not all(isinstance(v, int | float) for v in values):
        raise ZooError(f"{path}: {key!r} is of type {type(value).__name__}, expected numbers")
    return tuple(float(v) for v in values)
