"""Merging zoos into a new one, and appending zoos to an existing one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import Tensor

from sne.errors import Remedy, ZooError
from sne.zoo.store.columns import join_tables
from sne.zoo.store.layout import Layout
from sne.zoo.store.shards import SHARD_BYTES, checksum
from sne.zoo.store.split import PIECES, Split
from sne.zoo.store.splitting import join_splits
from sne.zoo.store.writing import ZooWriter
from sne.zoo.store.zoo import Zoo

Progress = Callable[[int, int], None]
PREFIX = Remedy("prefix", True, "puts the name of the folder before ids and runs")


def merge(
    out: Path | str,
    zoos: Sequence[Path | str],
    *,
    prefix: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Zoo:
    """Writes one zoo from several, which may differ in families, data sets, columns and storage types.

    Weights keep their stored type and are compared with their checksums. A column that a zoo lacks is missing in its
    rows. The splits are joined if every zoo has one; otherwise the new zoo has none. Runs of the same name in two
    zoos count as one run.

    Args:
        out: Folder of the new zoo.
        zoos: Folders of the zoos, in the order of the new rows.
        prefix: Put the name of a zoo's folder and "/" before its ids and runs.
        shard_bytes: Size at which a shard of weights is closed, in bytes.
        progress: Called with the number of networks done and the number of all, at most a thousand times.

    Returns:
        The new zoo.

    Raises:
        ZooError: A zoo is damaged, two zoos share an id, a column is text in one and a number in another, or
            the splits contradict each other. Nothing is written then.
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
    """Adds the networks of other zoos to a zoo, whose shards are not changed.

    If the process is killed, the folder holds the old zoo or the new one. The split of the zoo is joined with those of
    the others if every zoo has one; otherwise it stays. The rest is as for `merge`.

    Args:
        path: Folder of the zoo that grows.
        zoos: Folders of the others, in the order of the new rows.
        prefix: Put the folder name of each of the others and "/" before its ids and runs.
        shard_bytes: Size at which a new shard is closed, in bytes.
        progress: Called with the number of networks done and the number of all, at most a thousand times.

    Returns:
        The grown zoo.

    Raises:
        ZooError: As for `merge`, or another process writes to the zoo. The zoo is not changed then.
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
    """A zoo to be read, with its rows and its split under their new names."""

    where: str
    zoo: Zoo
    table: pa.Table = field(repr=False)
    split: Split | None

    def networks(self, done: Callable[[], None]) -> Iterator[tuple[Layout, Tensor]]:
        """Yields the layout and the stored vector of each row, after comparing it with its checksum."""
        for row, expected in enumerate(self.zoo.table["checksum"].to_pylist()):
            stored = self.zoo.stored(row)
            if checksum(stored) != expected:
                raise ZooError(
                    f"{self.where}: the weights of {self.zoo.ids[row]} do not match their checksum; "
                    f"`sne zoo verify {self.where}` lists all damaged networks"
                )
            yield self.zoo.layout(row), stored
            done()


def _open(zoos: Sequence[Path | str], prefix: bool, taken: Sequence[str]) -> list[_Source]:
    if not zoos:
        raise ZooError("no zoo to add, expected at least one folder")
    opened = [Zoo.open(path) for path in zoos]
    if not prefix:
        return [_Source(str(zoo.path), zoo, zoo.table, zoo.split) for zoo in opened]
    names = [zoo.path.resolve().name for zoo in opened]
    twice = next((name for i, name in enumerate(names) if name in (*taken, *names[:i])), None)
    if twice is not None:
        raise ZooError(f"two zoos are in folders called {twice!r}; the prefix needs different names")
    return [_prefixed(zoo, f"{name}/") for zoo, name in zip(opened, names, strict=True)]


def _prefixed(zoo: Zoo, prefix: str) -> _Source:
    table = zoo.table
    for name in ("id", "run"):
        values = [f"{prefix}{value}" for value in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, [values])
    split = zoo.split
    if split is not None:
        pieces: dict[str, Any] = {name: tuple(prefix + run for run in getattr(split, name)) for name in PIECES}
        split = Split(**pieces)
    return _Source(str(zoo.path), zoo, table, split)


def _check(sources: Sequence[_Source]) -> None:
    """Finds everything that cannot be joined before anything is copied."""
    first: dict[str, str] = {}
    families: dict[str, tuple[str, str]] = {}
    for source in sources:
        for name in source.table["id"].to_pylist():
            if name in first:
                raise ZooError(f"{source.where}: the id {name!r} is in {first[name]} too", PREFIX)
            first[name] = source.where
        pairs = dict(zip(source.table["run"].to_pylist(), source.table["family"].to_pylist(), strict=True))
        for run, family in pairs.items():
            other, where = families.setdefault(run, (family, source.where))
            if other != family:
                raise ZooError(f"{source.where}: the run {run!r} is of family {family}, in {where} of {other}", PREFIX)
    join_tables([(source.where, source.table) for source in sources])


def _join_splits(sources: Sequence[_Source]) -> Split | None:
    splits = [(source.where, source.split) for source in sources if source.split is not None]
    return join_splits(splits) if len(splits) == len(sources) else None


def _copy(writer: ZooWriter, sources: Sequence[_Source], progress: Progress | None) -> None:
    total, done = sum(len(source.zoo) for source in sources), 0
    every = max(total // 1000, 1)  # drawing a progress bar costs more than copying a network

    def count() -> None:
        nonlocal done
        done += 1
        if progress and (done % every == 0 or done == total):
            progress(done, total)

    for source in sources:
        symmetries = {key: source.zoo.symmetries[key] for key in source.zoo.symmetries}
        writer.add_table(source.where, source.table, source.networks(count), symmetries)
