"""What the X of an estimator holds: networks, one per row, or numbers."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, cast

import numpy as np
from torch import nn

from sne.errors import PredictorError
from sne.networks import Network
from sne.predictors import Source, expand_sources

KINDS = (str, PathLike, Network, nn.Module, Mapping)
"""Types of one network: what `sne.read_network` reads, or a network that was read before."""


def find_sources(X: Any) -> list[Source] | None:
    """Returns the networks that X holds, one per row.

    Args:
        X: A list, an array, a series or a table with one column of paths; a list of networks, modules or state dicts;
            or anything else.

    Returns:
        The networks in order, equal ones as often as they occur; None if X holds something else, such as numbers.

    Raises:
        PredictorError: X is one network and no list, or only some of its entries are networks.

    Example:
        >>> find_sources(["a.pt", "b.pt", "a.pt"])
        ['a.pt', 'b.pt', 'a.pt']
        >>> find_sources([[0.5, 1.0]]) is None
        True
    """
    if hasattr(X, "tocsr"):  # a sparse table, some of which are mappings
        return None
    if isinstance(X, KINDS):
        raise PredictorError(f"X is one {type(X).__name__}, expected a list with one network per row: [X]")
    entries = _entries(X)
    if not entries:
        return None
    is_network = [isinstance(entry, KINDS) for entry in entries]
    if not any(is_network):
        return None
    if not all(is_network):
        row = is_network.index(False)
        kind = type(entries[row]).__name__
        raise PredictorError(f"X has networks, and in row {row} a {kind}; expected a path, a module or a network")
    return cast("list[Source]", entries)


def single_path(path: str, row: int) -> str:
    """Returns the path of the one network that a path stands for.

    Args:
        path: A file, or a folder that holds one network.
        row: Its row in X, for the message.

    Raises:
        PredictorError: The path stands for several networks, which would give several rows.
    """
    found = expand_sources(path)
    if len(found) == 1:
        return str(found[0])
    raise PredictorError(
        f"row {row} of X: {path} stands for {len(found)} checkpoints, expected one per row; "
        "sne.predictors.expand_sources lists them"
    )


def _entries(X: Any) -> Sequence[Any]:
    """Returns the entries of X where it has one per row; empty for tables of several columns, and for other things."""
    if hasattr(X, "iloc") and getattr(X, "ndim", 0) == 2:  # a table of pandas
        return list(X.iloc[:, 0]) if X.shape[1] == 1 else []
    if isinstance(X, np.ndarray):
        if X.dtype.kind not in "OUS" or X.ndim not in (1, 2) or (X.ndim == 2 and X.shape[1] != 1):
            return []
        return [entry.decode() if isinstance(entry, bytes) else entry for entry in X.ravel().tolist()]
    if hasattr(X, "iloc"):  # a series
        return list(X)
    if not isinstance(X, Sequence):
        return []
    is_column = bool(X) and all(isinstance(row, list | tuple) and len(row) == 1 for row in X)
    return [row[0] for row in X] if is_column else X
