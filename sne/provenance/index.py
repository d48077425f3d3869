"""The index: fingerprints, embeddings and predicted properties of many networks in a LanceDB table."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sne.errors import ProvenanceError, WriteError, install_hint
from sne.networks import Network
from sne.predictors import Predictor
from sne.predictors.sources import read_sources
from sne.predictors.stamps import stamp
from sne.provenance.fingerprint import CHAIN, SKETCH, Fingerprint, fingerprint
from sne.work import check_can_write_folder, write_atomically
from sne.zoo import Zoo
from sne.zoo.store.folder import FolderLock

VERSION = 1
"""Version of the columns and of the fingerprints."""

SETTINGS = "sne-index.json"
"""File that makes a folder an index: version, predictor, properties."""

TABLE = "networks"
BATCH = 64

KEPT_VERSIONS = timedelta(hours=1)
"""For how long LanceDB keeps what was replaced, for readers that are still working with it."""

ROW = "::"
"""Between the folder of a zoo and the id of a row, in the path of a network of a zoo."""


@dataclass(frozen=True)
class Added:
    """What `Index.add` has done.

    Args:
        added: Number of networks that are new or have changed.
        unchanged: Number of networks that were in the index already.
        total: Number of networks in the index.
    """

    added: int
    unchanged: int
    total: int


class Index:
    """Networks with their fingerprints, in a folder.

    Args:
        folder: Folder of the index.
        settings: Contents of its settings.
        database: Connection to its database.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], database: Any) -> None:
        self.folder = folder
        self._settings = settings
        self._database = database

    @classmethod
    def open(cls, folder: str | Path) -> "Index":
        """Opens an index.

        Raises:
            ProvenanceError: The folder is no index, or of another version, or LanceDB is not installed.
        """
        folder = Path(folder)
        try:
            settings = json.loads((folder / SETTINGS).read_text())
            version = settings["version"]
            properties = settings["properties"]
        except FileNotFoundError:
            raise ProvenanceError(f"{folder} is not an index: it has no {SETTINGS}; sne index makes one") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProvenanceError(f"{folder / SETTINGS} cannot be read: {error!r}") from None
        if version != VERSION or not isinstance(properties, list):
            raise ProvenanceError(
                f"{folder} is an index of version {version}, expected {VERSION}; make it again with sne index"
            )
        return cls(folder, settings, _connect(folder))

    @classmethod
    def open_or_create(cls, folder: str | Path, predictor: Predictor) -> "Index":
        """Opens an index, or makes an empty one whose rows have the predictor's properties.

        Raises:
            ProvenanceError: The folder is something else, or its rows were predicted by another predictor.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).exists():
            if folder.is_dir() and any(folder.iterdir()):
                raise ProvenanceError(f"{folder} is not empty and no index; name another folder")
            check_can_write_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            _connect(folder)
            settings = {
                "version": VERSION,
                "predictor": predictor.digest(),
                "dim": predictor.dim,
                "properties": [prop.name for prop in predictor.properties],
            }
            write_atomically(folder / SETTINGS, json.dumps(settings, indent=1).encode())
        index = cls.open(folder)
        if index._settings.get("predictor") != predictor.digest():
            raise ProvenanceError(f"{folder} was made with another predictor; make a new index in another folder")
        return index

    def __len__(self) -> int:
        return self._table.count_rows() if self._exists else 0

    @property
    def _exists(self) -> bool:
        return TABLE in self._database.list_tables().tables

    @property
    def _table(self) -> Any:
        return self._database.open_table(TABLE)

    def add(
        self,
        sources: Iterable[str],
        predictor: Predictor,
        *,
        errors: Callable[[str, Exception], None],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Added:
        """Adds checkpoints and the networks of zoos. What is there unchanged is skipped.

        Rows are written in batches; if this is interrupted, the same call continues.

        Args:
            sources: Paths of checkpoints and folders of zoos.
            predictor: The predictor of the index.
            errors: Called with path and error of every network that cannot be read.
            on_progress: Called with the number of networks looked at and their number.

        Raises:
            ProvenanceError: Another process writes to the index.
        """
        places = list(_places(sources))
        known = self._stamps()
        todo = [(path, mark) for path, mark in places if known.get(path) != mark or not mark]
        done = len(places) - len(todo)
        added = 0
        with FolderLock(self.folder):
            for start in range(0, len(todo), BATCH):
                some = todo[start : start + BATCH]
                rows = list(self._rows(some, predictor, errors))
                if rows:
                    self._write(rows)
                added += len(rows)
                done += len(some)
                if on_progress is not None:
                    on_progress(done, len(places))
            if added:
                self._table.optimize(cleanup_older_than=KEPT_VERSIONS)
        return Added(added, len(places) - len(todo), len(self))

    def _stamps(self) -> dict[str, str]:
        if not self._exists:
            return {}
        found = self._table.search().select(["path", "stamp"]).limit(None).to_arrow()
        return dict(zip(found["path"].to_pylist(), found["stamp"].to_pylist(), strict=True))

    def _rows(
        self, places: list[tuple[str, str]], predictor: Predictor, errors: Callable[[str, Exception], None]
    ) -> Iterator[dict[str, Any]]:
        """Reads, fingerprints and predicts networks."""
        networks: list[Network] = []
        prints: list[Fingerprint] = []
        marks: list[str] = []
        for path, mark in places:
            try:
                network = read_indexed(path)
                found = fingerprint(network)
            except (ValueError, OSError) as error:
                errors(path, error)
                continue
            networks.append(network)
            prints.append(found)
            marks.append(mark)
        bad: set[str] = set()

        def skip(name: str, error: Exception) -> None:
            bad.add(name)
            errors(name, error)

        predicted: dict[str, tuple[np.ndarray, dict[str, Any]]] = {}
        for block in predictor.predict_blocks(networks, errors=skip, tell=lambda name, reasons: None):
            values = predictor.predictions(block)
            count = len(predictor.properties)
            for number, (name, embedding) in enumerate(zip(block.names, block.embedding, strict=True)):
                mine = values[number * count : (number + 1) * count]
                predicted[name] = embedding, {column_of(one.property): one.value for one in mine}
        for network, found, mark in zip(networks, prints, marks, strict=True):
            if network.name in bad or network.name not in predicted:
                continue
            embedding, properties = predicted[network.name]
            yield {
                "path": network.name,
                "stamp": mark,
                "content": found.content,
                "layout": found.layout,
                "num_weights": network.num_weights,
                "family": _family(network.name),
                "sketch": found.sketch.astype(np.float16),
                "chain": found.chain.astype(np.float16),
                "embedding": embedding.astype(np.float16),
                **properties,
            }

    def _write(self, rows: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist([_plain(row) for row in rows], schema=self._schema(rows[0]))
        try:
            if not self._exists:
                self._database.create_table(TABLE, table)
                return
            changes = self._table.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
            changes.execute(table)
        except (OSError, RuntimeError) as error:  # LanceDB raises both for a full disk
            raise WriteError(self.folder, _first_line(error)) from None

    def _schema(self, row: Mapping[str, Any]) -> pa.Schema:
        """Returns the columns: numbers of fixed length for vectors, doubles for numbers, text for the rest."""
        lengths = {"sketch": SKETCH, "chain": CHAIN, "embedding": int(self._settings["dim"])}
        fields = []
        for name, value in row.items():
            if name in lengths:
                fields.append(pa.field(name, pa.list_(pa.float16(), lengths[name])))
            elif name == "num_weights":
                fields.append(pa.field(name, pa.int64()))
            else:
                fields.append(pa.field(name, pa.string() if isinstance(value, str) or value is None else pa.float64()))
        return pa.schema(fields)

    def nearest(self, vector: np.ndarray, column: str, count: int, where: str | None = None) -> list[dict[str, Any]]:
        """Returns the rows whose vectors are nearest, with their distance as `_distance`.

        Args:
            vector: The vector.
            column: "sketch", "chain" or "embedding".
            count: Number of rows.
            where: Condition on the columns, in SQL.

        Raises:
            ProvenanceError: The condition cannot be understood.
        """
        if not self._exists:
            return []
        found = self._table.search(vector.astype(np.float32), vector_column_name=column)
        found = found.distance_type("l2" if column == "chain" else "cosine")
        if where:
            found = found.where(where, prefilter=True)
        try:
            return found.select(["path", "stamp", "content", "_distance"]).limit(count).to_list()
        except Exception as error:  # LanceDB raises its own classes and plain ValueError for a bad condition
            reason = _first_line(error).partition(" Valid fields")[0]
            raise ProvenanceError(f"--where {where!r}: {reason} Columns: {', '.join(self.columns)}") from None

    def same_content(self, content: str, where: str | None = None) -> list[dict[str, Any]]:
        """Returns the rows with the same values."""
        if not self._exists:
            return []
        condition = f"content = '{content}'" + (f" AND ({where})" if where else "")
        return self._table.search().where(condition).select(["path", "stamp", "content"]).limit(1000).to_list()

    @property
    def columns(self) -> list[str]:
        """Names of the columns that a condition may use."""
        return [name for name in self._table.schema.names if name not in ("sketch", "chain", "embedding", "stamp")]

    def duplicates(self) -> list[list[str]]:
        """Returns the groups of networks with the same values, whatever their names and formats."""
        if not self._exists:
            return []
        found = self._table.search().select(["path", "content"]).limit(None).to_arrow()
        groups: dict[str, list[str]] = {}
        for path, content in zip(found["path"].to_pylist(), found["content"].to_pylist(), strict=True):
            groups.setdefault(content, []).append(path)
        return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def column_of(name: str) -> str:
    """Returns the column of a property; LanceDB takes no dots.

    Example:
        >>> column_of("config.optimizer")
        'optimizer'
    """
    return name.removeprefix("config.").replace(".", "_")


def read_indexed(path: str) -> Network:
    """Reads the network that a row of an index stands for: a checkpoint, or a row of a zoo.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ZooError: The zoo cannot be read.
        ProvenanceError: The zoo has no such row.
    """
    folder, separator, name = path.rpartition(ROW)
    if not separator or not Path(folder).is_dir():
        return next(read_sources([path], tell=lambda name, reasons: None))
    zoo = _zoo(folder)
    row = zoo.rows_by_id.get(name)
    if row is None:
        raise ProvenanceError(f"{folder} has no network {name}")
    return _renamed(zoo.zoo.network(row), path)


@dataclass(frozen=True)
class _OpenZoo:
    """A zoo with the numbers of its rows by id."""

    zoo: Zoo
    rows_by_id: Mapping[str, int]


_ZOOS: dict[str, tuple[str, _OpenZoo]] = {}


def _zoo(folder: str) -> _OpenZoo:
    """Opens a zoo; the last one stays open as long as it does not change."""
    mark = stamp(str(Path(folder) / "networks.parquet"))
    if folder not in _ZOOS or _ZOOS[folder][0] != mark:
        _ZOOS.clear()
        zoo = Zoo.open(folder)
        _ZOOS[folder] = mark, _OpenZoo(zoo, {name: row for row, name in enumerate(zoo.ids)})
    return _ZOOS[folder][1]


def _renamed(network: Network, name: str) -> Network:
    return Network(name, network.layers, network.source, network.notes)


def _places(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields path and stamp of each network; zoos give one per row."""
    for source in sources:
        folder, separator, _ = source.rpartition(ROW)
        if separator and (Path(folder) / "networks.parquet").is_file():
            yield source, stamp(str(Path(folder) / "networks.parquet"))
        elif (Path(source) / "networks.parquet").is_file():
            mark = stamp(str(Path(source) / "networks.parquet"))
            for name in Zoo.open(source).ids:
                yield f"{source}{ROW}{name}", mark
        else:
            yield source, stamp(source)


def _family(path: str) -> str | None:
    """Returns the family of a network of a zoo."""
    folder, separator, name = path.rpartition(ROW)
    if not separator:
        return None
    found = _zoo(folder)
    return found.zoo.families[found.rows_by_id[name]]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, np.ndarray) else value for name, value in row.items()}


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _connect(folder: Path) -> Any:
    try:
        import lancedb
    except ImportError:
        raise ProvenanceError(f"an index needs LanceDB; {install_hint('search')}") from None
    return lancedb.connect(str(folder))
