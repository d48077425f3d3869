"""Merging zoos into a new one, and appending zoos to one that stands."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import Tensor

from sne.errors import ZooError
from sne.zoo.store.index import join_tables
from sne.zoo.store.layout import Layout
from sne.zoo.store.shards import checksum
from sne.zoo.store.splitting import Split, join_splits
from sne.zoo.store.writing import SHARD_BYTES, ZooWriter
from sne.zoo.store.zoo import Zoo

Progress = Callable[[int, int], None]


def merge(
    out: Path | str,
    zoos: Sequence[Path | str],
    *,
    prefix: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Zoo:
    """Writes one zoo from several, of whatever families, data sets, columns and storage types.

    Weights stay in the type they are stored in, and each is checked against its checksum on the way. A column that
    a zoo lacks is missing in its rows. The splits are joined where every zoo has one; else there is none. Runs of
    one name in two zoos count as one run.

    Args:
        out: the new zoo's folder.
        zoos: the folders, in the order of the new rows.
        prefix: put a zoo's folder name and "/" before its ids and runs.
        shard_bytes: size at which a shard of weights is closed.
        progress: called with networks done and networks in all, a thousand times at most.

    Returns:
        The new zoo, opened.

    Raises:
        ZooError: a zoo is damaged, an id stands in two zoos, a column is text in one and a number in another, or
            the splits contradict each other; no zoo is written then.
    """
    sources = _open(zoos, prefix, taken=())
    _check(sources)
    with ZooWriter(out, shard_bytes=shard_bytes) as writer:
        writer.split = _join_splits(sources)
        _copy(writer, sources, progress)
    return Zoo.open(out)


def append(
    path: Path | str,
    zoos: Sequence[Path | str],
    *,
    prefix: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Zoo:
    """Adds the networks of other zoos to a zoo, whose shards stay as they are.

    Killed at any moment, it leaves the old zoo or the new one. The zoo's split grows by theirs where every zoo has
    one; else it stays as it is. Otherwise as `merge`.

    Args:
        path: the zoo that grows.
        zoos: the folders of the others, in the order of the new rows.
        prefix: put the folder name of each of the others and "/" before its ids and runs.
        shard_bytes: size at which a new shard is closed.
        progress: called with networks done and networks in all, a thousand times at most.

    Returns:
        The zoo as it is now, opened.

    Raises:
        ZooError: as for `merge`; the zoo is the old one then. Or another process writes to it.
    """
    with ZooWriter(path, shard_bytes=shard_bytes, append=True) as writer:
        base = Zoo.open(path)
        sources = _open(zoos, prefix, taken=(base.path.resolve().name,))
        own = _Source(str(path), base, base.table, base.split)
        _check([own, *sources])
        if base.split is not None:
            writer.split = _join_splits([own, *sources])
        _copy(writer, sources, progress)
    return Zoo.open(path)


@dataclass(frozen=True)
class _Source:
    """A zoo to be read: its rows and its split, as they shall be called."""

    where: str
    zoo: Zoo
    table: pa.Table = field(repr=False)
    split: Split | None

    def networks(self, done: Callable[[], None]) -> Iterator[tuple[Layout, Tensor]]:
        """Layout and stored vector of each row, checked."""
        for row, expected in enumerate(self.zoo.table["checksum"].to_pylist()):
            stored = self.zoo.stored(row)
            if checksum(stored) != expected:
                raise ZooError(
                    f"{self.where}: the weights of {self.zoo.ids[row]} do not match their checksum; "
                    f"`sne zoo verify {self.where}` names all that are hurt"
                )
            yield self.zoo.layout(row), stored
            done()


def _open(zoos: Sequence[Path | str], prefix: bool, taken: Sequence[str]) -> list[_Source]:
    if not zoos:
        raise ZooError("no zoo to add came, expected at least one folder")
    opened = [Zoo.open(path) for path in zoos]
    if not prefix:
        return [_Source(str(zoo.path), zoo, zoo.table, zoo.split) for zoo in opened]
    names = [zoo.path.resolve().name for zoo in opened]
    twice = next((name for i, name in enumerate(names) if name in (*taken, *names[:i])), None)
    if twice is not None:
        raise ZooError(f"two zoos stand in folders called {twice!r}; the prefix needs different names")
    return [_prefixed(zoo, f"{name}/") for zoo, name in zip(opened, names, strict=True)]


def _prefixed(zoo: Zoo, prefix: str) -> _Source:
    table = zoo.table
    for name in ("id", "run"):
        values = [f"{prefix}{value}" for value in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, [values])
    split = zoo.split
    if split is not None:
        pieces: dict[str, Any] = {
            name: tuple(prefix + run for run in getattr(split, name)) for name in ("train", "val", "test")
        }
        split = Split(**pieces)
    return _Source(str(zoo.path), zoo, table, split)


def _check(sources: Sequence[_Source]) -> None:
    """Finds what cannot be joined before anything is copied."""
    first: dict[str, str] = {}
    families: dict[str, tuple[str, str]] = {}
    for source in sources:
        for name in source.table["id"].to_pylist():
            if name in first:
                raise ZooError(
                    f"{source.where}: the id {name!r} stands in {first[name]} too; --prefix puts the folder's name "
                    "before ids and runs"
                )
            first[name] = source.where
        pairs = dict(zip(source.table["run"].to_pylist(), source.table["family"].to_pylist(), strict=True))
        for run, family in pairs.items():
            other, where = families.setdefault(run, (family, source.where))
            if other != family:
                raise ZooError(
                    f"{source.where}: the run {run!r} is of family {family}, in {where} of {other}; --prefix puts the "
                    "folder's name before ids and runs"
                )
    join_tables([(source.where, source.table) for source in sources])


def _join_splits(sources: Sequence[_Source]) -> Split | None:
    splits = [(source.where, source.split) for source in sources if source.split is not None]
    return join_splits(splits) if len(splits) == len(sources) else None


def _copy(writer: ZooWriter, sources: Sequence[_Source], progress: Progress | None) -> None:
    total, done = sum(len(source.zoo) for source in sources), 0
    every = max(total // 1000, 1)  # a bar costs more than a network

    def count() -> None:
        nonlocal done
        done += 1
        if progress and (done % every == 0 or done == total):
            progress(done, total)

    for source in sources:
        symmetries = {key: source.zoo.symmetries[key] for key in source.zoo.symmetries}
        writer.add_table(source.where, source.table, source.networks(count), symmetries)
