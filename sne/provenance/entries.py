"""Entries of an index: checkpoints, and the networks of zoos, by path."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sne.errors import ProvenanceError
from sne.networks import Network
from sne.predictors.sources import read_sources
from sne.predictors.stamps import stamp
from sne.zoo import Zoo

ROW = "::"
"""Between the folder of a zoo and the id of a network, in the path of an entry."""

_INDEX_OF_ZOO = "networks.parquet"


def is_zoo(path: str) -> bool:
    """Whether a path is the folder of a zoo."""
    return (Path(path) / _INDEX_OF_ZOO).is_file()


def entries(sources: Iterable[str]) -> dict[str, str]:
    """Lists the networks of checkpoints and zoos.

    Args:
        sources: Paths of checkpoints, folders of zoos, and paths of networks of zoos.

    Returns:
        Stamp by absolute path, in the order given. A stamp changes when the checkpoint does; networks of a zoo have the
        stamp of the zoo.
    """
    found: dict[str, str] = {}
    for source in sources:
        path = os.path.abspath(source)  # noqa: PTH100 (keeps links as they are)
        if is_zoo(path):
            mark = stamp(str(Path(path) / _INDEX_OF_ZOO))
            found.update((f"{path}{ROW}{name}", mark) for name in Zoo.open(path).ids)
        else:
            found[path] = stamp_of(path)
    return found


def stamp_of(path: str) -> str:
    """Returns the stamp of an entry now; empty if it is not there any more."""
    folder = _zoo_folder(path)
    if folder is None:
        return stamp(path)
    mark = stamp(str(Path(folder) / _INDEX_OF_ZOO))
    return mark if mark and path.rpartition(ROW)[2] in _opened(folder).rows else ""


def read_entry(path: str) -> Network:
    """Reads the network of an entry.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ZooError: The zoo cannot be read.
        ProvenanceError: The zoo has no such network.
    """
    folder = _zoo_folder(path)
    if folder is None:
        return next(read_sources([path], tell=lambda name, reasons: None))
    return replace(_opened(folder).zoo.network(_row(folder, path)), name=path)


def family_of(path: str) -> str | None:
    """Returns the family of a network of a zoo; None for checkpoints."""
    folder = _zoo_folder(path)
    return None if folder is None else _opened(folder).zoo.families[_row(folder, path)]


def gone(paths: Iterable[str]) -> Iterator[str]:
    """Yields the entries that are not there any more."""
    for path in paths:
        try:
            if not stamp_of(path):
                yield path
        except ValueError:  # a zoo that cannot be read now may be readable later
            continue


def _zoo_folder(path: str) -> str | None:
    """Returns the folder of the zoo that an entry belongs to; None for a checkpoint, whatever its name."""
    folder, separator, _ = path.rpartition(ROW)
    return folder if separator and not Path(path).exists() and is_zoo(folder) else None


def _row(folder: str, path: str) -> int:
    name = path.rpartition(ROW)[2]
    row = _opened(folder).rows.get(name)
    if row is None:
        raise ProvenanceError(f"{folder} has no network {name}")
    return row


@dataclass(frozen=True)
class _OpenZoo:
    """A zoo with the numbers of its rows by id."""

    zoo: Zoo
    rows: Mapping[str, int]


_LAST: dict[tuple[str, str], _OpenZoo] = {}


def _opened(folder: str) -> _OpenZoo:
    """Opens a zoo; the last one stays open as long as it does not change."""
    key = folder, stamp(str(Path(folder) / _INDEX_OF_ZOO))
    if key not in _LAST:
        _LAST.clear()
        zoo = Zoo.open(folder)
        _LAST[key] = _OpenZoo(zoo, {name: row for row, name in enumerate(zoo.ids)})
    return _LAST[key]
