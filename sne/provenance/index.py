"""The index: fingerprints, embeddings and predicted properties of many networks in a LanceDB table."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from sne.errors import ProvenanceError, WriteError, install_hint
from sne.networks import Network
from sne.predictors import Predictor
from sne.provenance.chain import CHAIN
from sne.provenance.entries import entries, family_of, gone, read_entry
from sne.provenance.fingerprint import SKETCH, Fingerprint, fingerprint
from sne.work import check_can_write_folder, write_atomically
from sne.zoo.store.folder import FolderLock

VERSION = 2
"""Version of the columns and of the fingerprints."""

SETTINGS = "sne-index.json"
"""File that makes a folder an index: version, predictor, properties."""

TABLE = "networks"
VECTORS = {"sketch": SKETCH, "chain": CHAIN}
BATCH = 64

KEPT_VERSIONS = timedelta(hours=1)
"""For how long LanceDB keeps what was replaced, for readers that are still working with it."""


@dataclass(frozen=True)
class Added:
    """What `Index.add` has done.

    Args:
        added: Number of networks that are new or have changed.
        unchanged: Number of networks that were in the index already.
        removed: Number of networks that left the index, because they are not there or cannot be read any more.
        total: Number of networks in the index.
    """

    added: int
    unchanged: int
    removed: int
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
            if folder.is_dir() and any(not path.name.startswith(SETTINGS) for path in folder.iterdir()):
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
        return self._ask(lambda table: table.count_rows(), 0)

    def _ask(self, question: Callable[[Any], Any], otherwise: Any) -> Any:
        """Asks the table something; returns `otherwise` if there is no table yet.

        Raises:
            ProvenanceError: The table is damaged.
        """
        try:
            if not self._has_table:
                return otherwise
            return question(self._database.open_table(TABLE))
        except Exception as error:  # LanceDB raises RuntimeError, ValueError and OSError for damaged files
            reason = _first_line(error)
            raise ProvenanceError(f"{self.folder}: the table cannot be read: {reason}; make the index again") from None

    @property
    def _has_table(self) -> bool:
        """Whether a table has been written whole; a first write that was killed leaves no version."""
        versions = self.folder / f"{TABLE}.lance" / "_versions"
        return versions.is_dir() and any(versions.iterdir())

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
            ZooError: Another process writes to the index.
            WriteError: The index cannot be written.
            ProvenanceError: The table is damaged.
        """
        wanted = entries(sources)
        known = self._stamps()
        todo = [path for path, mark in wanted.items() if known.get(path) != mark or not mark]
        done, added = len(wanted) - len(todo), 0
        failed: set[str] = set()

        def fail(path: str, error: Exception) -> None:
            failed.add(path)
            errors(path, error)

        with FolderLock(self.folder):
            for start in range(0, len(todo), BATCH):
                some = todo[start : start + BATCH]
                rows = list(self._rows(some, wanted, predictor, fail))
                if rows:
                    self._write(rows, predictor)
                added += len(rows)
                done += len(some)
                if on_progress is not None:
                    on_progress(done, len(wanted))
            removed = sorted({*gone(known), *(failed & known.keys())})
            for start in range(0, len(removed), BATCH):
                names = ", ".join(_quoted(path) for path in removed[start : start + BATCH])
                self._ask(lambda table, names=names: table.delete(f"path IN ({names})"), None)
            if added or removed:
                self._ask(lambda table: table.optimize(cleanup_older_than=KEPT_VERSIONS), None)
        return Added(added, len(wanted) - len(todo), len(removed), len(self))

    def _stamps(self) -> dict[str, str]:
        found = self._ask(lambda table: table.search().select(["path", "stamp"]).limit(None).to_list(), [])
        return {row["path"]: row["stamp"] for row in found}

    def _rows(
        self,
        paths: Sequence[str],
        stamps: Mapping[str, str],
        predictor: Predictor,
        errors: Callable[[str, Exception], None],
    ) -> Iterator[dict[str, Any]]:
        """Reads, fingerprints and predicts networks."""
        found: dict[str, tuple[Network, Fingerprint, str | None]] = {}
        for path in paths:
            try:
                network = replace(read_entry(path), name=path)
                found[path] = network, fingerprint(network), family_of(path)
            except (ValueError, OSError) as error:
                errors(path, error)
        networks = [network for network, _, _ in found.values()]
        for block in predictor.predict_blocks(networks, errors=errors, tell=lambda name, reasons: None):
            predictions = iter(predictor.predictions(block))
            for path, embedding in zip(block.names, block.embedding, strict=True):
                network, prints, family = found[path]
                yield {
                    "path": path,
                    "stamp": stamps[path],
                    "content": prints.content,
                    "layout": prints.layout,
                    "num_weights": network.num_weights,
                    "family": family,
                    "sketch": prints.sketch.astype(np.float16),
                    "chain": prints.chain.astype(np.float16),
                    "embedding": embedding.astype(np.float16),
                    **{column_of(prop.name): next(predictions).value for prop in predictor.properties},
                }

    def _write(self, rows: Sequence[Mapping[str, Any]], predictor: Predictor) -> None:
        table = pa.Table.from_pylist([_plain(row) for row in rows], schema=_schema(predictor))
        try:
            if not self._has_table:
                self._database.create_table(TABLE, table, mode="overwrite")
                return
            opened = self._database.open_table(TABLE)
            opened.merge_insert("path").when_matched_update_all().when_not_matched_insert_all().execute(table)
        except Exception as error:  # LanceDB raises RuntimeError, ValueError and OSError, also for a full disk
            raise WriteError(self.folder, _first_line(error)) from None

    def check_condition(self, where: str) -> None:
        """Raises ProvenanceError if a condition cannot be understood."""
        if not self._has_table:
            return
        try:
            self._database.open_table(TABLE).search().where(where).select(["path"]).limit(1).to_list()
        except Exception as error:  # LanceDB raises ValueError and RuntimeError
            reason = _first_line(error).partition(" Valid fields")[0]
            raise ProvenanceError(f"condition {where!r}: {reason} Columns: {', '.join(self.columns)}") from None

    def nearest(
        self, vector: Float[np.ndarray, " numbers"], column: str, count: int, where: str | None = None
    ) -> list[dict[str, Any]]:
        """Returns the rows whose vectors are nearest, with their distance as `_distance`.

        Args:
            vector: The vector.
            column: "sketch", "chain" or "embedding".
            count: Largest number of rows.
            where: Condition on the columns, in SQL.

        Raises:
            ProvenanceError: The condition cannot be understood, or the table is damaged.
        """
        if where:
            self.check_condition(where)

        def ask(table: Any) -> list[dict[str, Any]]:
            found = table.search(vector.astype(np.float32), vector_column_name=column)
            found = found.distance_type("l2" if column == "chain" else "cosine")
            found = found.where(where, prefilter=True) if where else found
            return found.select(["path", "stamp", "_distance"]).limit(min(count, table.count_rows())).to_list()

        return self._ask(ask, [])

    def same_content(self, content: str, where: str | None = None) -> list[dict[str, Any]]:
        """Returns the rows with the same values."""
        if where:
            self.check_condition(where)
        condition = f"content = {_quoted(content)}" + (f" AND ({where}\n)" if where else "")
        return self._ask(lambda table: table.search().where(condition).select(["path", "stamp"]).to_list(), [])

    @property
    def columns(self) -> list[str]:
        """Names of the columns that a condition may use."""
        names = self._ask(lambda table: table.schema.names, [])
        return [name for name in names if name not in (*VECTORS, "embedding", "stamp")]

    def duplicates(self) -> list[list[str]]:
        """Returns the groups of networks with the same values, whatever their names and formats."""
        found = self._ask(lambda table: table.search().select(["path", "content"]).limit(None).to_list(), [])
        groups: dict[str, list[str]] = {}
        for row in found:
            groups.setdefault(row["content"], []).append(row["path"])
        return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _schema(predictor: Predictor) -> pa.Schema:
    """Returns the columns: numbers of fixed length for vectors, doubles for numbers, text for the rest."""
    vectors = {**VECTORS, "embedding": predictor.dim}
    fields = [
        *(pa.field(name, pa.string()) for name in ("path", "stamp", "content", "layout")),
        pa.field("num_weights", pa.int64()),
        pa.field("family", pa.string()),
        *(pa.field(name, pa.list_(pa.float16(), length)) for name, length in vectors.items()),
    ]
    for prop in predictor.properties:
        fields.append(pa.field(column_of(prop.name), pa.string() if prop.kind == "class" else pa.float64()))
    return pa.schema(fields)


def _quoted(text: str) -> str:
    """Returns a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def column_of(name: str) -> str:
    """Returns the column of a property; LanceDB takes no dots.

    Example:
        >>> column_of("config.optimizer")
        'optimizer'
    """
    return name.removeprefix("config.").replace(".", "_")


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
