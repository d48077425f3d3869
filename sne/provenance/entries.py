"""Entries of an index: checkpoints, and the networks of zoos, by path."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sne.checkpoints.remote import conceal, is_remote
from sne.errors import ProvenanceError
from sne.networks import Network
from sne.predictors.sources import OnError, handle_error, read_sources
from sne.predictors.stamps import stamp
from sne.zoo import Zoo

ROW = "::"
"""Between the folder of a zoo and the id of a network, in the path of an entry."""

_INDEX_OF_ZOO = "networks.parquet"


def is_zoo(path: str) -> bool:
    """Whether a path is the folder of a zoo."""
    return os.path.isfile(os.path.join(path, _INDEX_OF_ZOO))  # noqa: PTH113, PTH118 (many paths, quickly)


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
        path = full_path(source)
        if is_zoo(path):
            mark = stamp(str(Path(path) / _INDEX_OF_ZOO))
            found.update((f"{path}{ROW}{name}", mark) for name in Zoo.open(path).ids)
        else:
            found[path] = stamp_of(path)
    return found


def stamp_of(path: str) -> str:
    """Returns the stamp of an entry now; empty if it is not there any more."""
    place = place_in_zoo(path)
    if place is None:
        return stamp(path)
    folder, name = place
    mark = stamp(str(Path(folder) / _INDEX_OF_ZOO))
    return mark if mark and name in _opened(folder).rows else ""


def read_entry(path: str) -> Network:
    """Reads the network of an entry.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ZooError: The zoo cannot be read.
        ProvenanceError: The zoo has no such network.
    """
    return next(read_entries([path]))[0]


def read_entries(
    paths: Iterable[str],
    *,
    errors: OnError = "raise",
    tell: Callable[[str, list[str]], None] = lambda name, reasons: None,
) -> Iterator[tuple[Network, str | None]]:
    """Reads the networks of entries, with their families.

    Args:
        paths: Paths of the entries.
        errors: What to do with an entry that cannot be read, see `sne.predictors.sources.read_sources`.
        tell: As for `read_sources`.

    Yields:
        The network, named by its path, and its family; None for checkpoints.

    Raises:
        CheckpointError: A checkpoint cannot be read.
        ZooError: A zoo cannot be read.
        ProvenanceError: A zoo has no such network.
    """
    zoos: dict[str, _OpenZoo] = {}
    for path in paths:
        place = place_in_zoo(path)
        if place is None:
            yield from ((network, None) for network in read_sources([path], errors=errors, tell=tell))
            continue
        folder, name = place
        try:
            opened = zoos[folder] = zoos.get(folder) or _opened(folder)
            row = opened.rows.get(name)
            if row is None:
                raise ProvenanceError(f"{folder} has no network {name}")
            network = replace(opened.zoo.network(row), name=path)
        except (ValueError, OSError) as error:
            if errors == "raise":
                raise
            handle_error(errors, path, error)
            continue
        yield network, opened.zoo.families[row]


def gone(paths: Iterable[str]) -> Iterator[str]:
    """Yields the entries that are not there any more. Remote ones are not looked up."""
    ids: dict[str, Collection[str] | None] = {"": ()}
    for path in paths:
        if is_remote(path) or os.path.exists(path):  # noqa: PTH110 (many paths, quickly)
            continue
        folder, _, name = path.rpartition(ROW)
        if folder not in ids:
            try:
                ids[folder] = _opened(folder).rows if is_zoo(folder) else ()
            except ValueError:  # a zoo that cannot be read now may be readable later
                ids[folder] = None
        known = ids[folder]
        if known is not None and name not in known:
            yield path


def full_path(source: str) -> str:
    """Returns an absolute path, or an address without what is secret in it.

    Args:
        source: Path or address.
    """
    if is_remote(source):
        return conceal(source)
    return os.path.abspath(source)  # noqa: PTH100 (keeps links as they are)


def place_in_zoo(path: str) -> tuple[str, str] | None:
    """Returns the zoo of an entry and its id there; None for a checkpoint, whatever its name.

    Args:
        path: Path of the entry.
    """
    folder, separator, name = path.rpartition(ROW)
    if not separator or is_remote(path) or os.path.exists(path):  # noqa: PTH110 (many paths, quickly)
        return None
    return (folder, name) if is_zoo(folder) else None


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
