"""The index: fingerprints, embeddings and predicted properties of many networks, in a folder."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, UInt32

from sne.errors import ProvenanceError
from sne.predictors import Predictor
from sne.predictors.spreading import spread
from sne.provenance.entries import entries, gone, stamp_of
from sne.provenance.fingerprint import Fingerprint
from sne.provenance.rows import EMBEDDING, PART, STAMP, VECTORS, read_rows, schema_of
from sne.provenance.table import Table, quoted
from sne.provenance.vectors import EUCLIDEAN, MOST_BYTES, Marks, Vectors
from sne.work import Executor, InThisProcess, check_can_write_folder, write_atomically
from sne.zoo.store.folder import FolderLock

VERSION = 4
"""Version of the columns and of the fingerprints."""

SETTINGS = "sne-index.json"
"""File that makes a folder an index: version, predictor, properties."""

MOST_WAITING = 8192
"""Number of rows that are written at once: every write is a new version, whose cost does not depend on the rows."""

MOST_SECONDS = 30.0
"""Seconds after which fewer rows are written, so that little is lost if the process is killed."""


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
        table: Table with the rows.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], table: Table) -> None:
        self.folder = folder
        self._settings = settings
        self._table = table
        self._asked: set[str] = set()
        self._in_memory: dict[str, Vectors] = {}
        self._marks: Marks | None = None

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
        return cls(folder, settings, Table(folder))

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
            Table(folder)  # LanceDB may not be installed
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
        return self._table.ask(lambda table: table.count_rows(), 0)

    def add(
        self,
        sources: Iterable[str],
        predictor: Predictor,
        *,
        errors: Callable[[str, Exception], None],
        on_progress: Callable[[int, int], None] | None = None,
        choose_executor: Callable[[Sequence[str]], Executor | None] = lambda paths: None,
    ) -> Added:
        """Adds checkpoints and the networks of zoos. What is there unchanged is skipped.

        Rows are written many at a time; if this is interrupted, the same call continues.

        Args:
            sources: Paths of checkpoints and folders of zoos.
            predictor: The predictor of the index.
            errors: Called with path and error of every network that cannot be read.
            on_progress: Called with the number of networks looked at and their number.
            choose_executor: Called with the paths that have to be read; returns what reads them, such as
                `sne.predictors.choose_executor` does, or None to read in this process.

        Raises:
            ZooError: Another process writes to the index.
            WriteError: The index cannot be written. Finished rows are kept.
            ProvenanceError: The table is damaged.
            WorkError: No worker can be started or reached.
        """
        wanted = entries(sources)
        failed: set[str] = set()

        def fail(path: str, error: Exception) -> None:
            failed.add(path)
            errors(path, error)

        with FolderLock(self.folder) as lock:
            known = self._stamps()
            todo = [path for path, mark in wanted.items() if known.get(path) != mark or not mark]
            columns, unchanged, added = schema_of(predictor), len(wanted) - len(todo), 0
            found = spread(
                partial(read_rows, predictor=predictor), todo, choose_executor(todo) or InThisProcess(),
                part_size=PART, errors=fail, tell=lambda path, reasons: None, is_ordered=False,
            )  # fmt: skip
            with self._writing(known.keys()) as write, closing(found):
                for rows in found:
                    marks = pa.array([wanted[path] for path in rows["path"].to_pylist()], pa.string())
                    write(rows.append_column(STAMP, marks).select(columns.names).cast(columns))
                    added += len(rows)
                    if on_progress is not None:
                        on_progress(unchanged + added + len(failed), len(wanted))
            unseen = [path for path in known if not wanted.get(path)]
            removed = sorted({*gone(unseen), *(failed & known.keys())})
            self._table.remove(removed)
            if not self._table.is_tidy:
                self._table.tidy(is_alone=lock.is_exclusive)
        return Added(added, unchanged, len(removed), len(self))

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """Returns some columns of all rows, in any order."""
        empty = pa.table({name: [] for name in columns})
        return self._table.ask(lambda table: table.search().select(list(columns)).limit(None).to_arrow(), empty)

    def fingerprints(self, errors: Callable[[str, Exception], None]) -> dict[str, Fingerprint]:
        """Returns the fingerprints of all networks by path, in the order of paths.

        Args:
            errors: Called with path and error of every network that has moved or changed since it was indexed; it is
                left out.
        """
        found = self.rows(["path", STAMP, "content", "layout", *VECTORS, "marks"]).sort_by("path")
        marks = np.array(found["marks"].to_pylist(), np.uint32).reshape(len(found), -1)
        vectors = [np.array(found[name].to_pylist(), np.float32).reshape(len(found), -1) for name in VECTORS]
        texts = [found[name].to_pylist() for name in ("path", STAMP, "content", "layout")]
        prints = {}
        for path, mark, content, layout, sketch, chain, own in zip(*texts, *vectors, marks, strict=True):
            now = stamp_of(path)
            if now == mark:
                prints[path] = Fingerprint(content, layout, sketch, chain, own)
            else:
                fault = "changed since it was indexed" if now else "in the index, but not there any more"
                errors(path, ProvenanceError(f"{fault}; run sne index again"))
        return prints

    def _stamps(self) -> dict[str, str]:
        """Returns the stamp of each path."""
        found = self.rows(["path", STAMP])
        return dict(zip(found["path"].to_pylist(), found[STAMP].to_pylist(), strict=True))

    @contextmanager
    def _writing(self, known: Set[str]) -> Iterator[Callable[[pa.Table], None]]:
        """Gives a function that takes rows and writes many at a time; the last ones at the end, even after an error.

        Args:
            known: Paths that have rows, which are replaced.
        """
        waiting: list[pa.Table] = []
        written = time.monotonic()

        def flush() -> None:
            nonlocal written
            rows = pa.concat_tables(waiting)
            waiting.clear()  # before they are written: rows that cannot be written are not tried again
            if known.isdisjoint(rows["path"].to_pylist()):
                self._table.append(rows)
            else:
                self._table.replace(rows)
            written = time.monotonic()

        def write(rows: pa.Table) -> None:
            waiting.append(rows)
            if sum(map(len, waiting)) >= MOST_WAITING or time.monotonic() - written > MOST_SECONDS:
                flush()

        try:
            yield write
        finally:
            if waiting:
                flush()

    def check_condition(self, where: str) -> None:
        """Raises ProvenanceError if a condition cannot be understood."""
        reason = self._table.fault_of(where)
        if reason:
            raise ProvenanceError(f"condition {where!r}: {reason} Columns: {', '.join(self.columns)}")

    def nearest(
        self, vector: Float[np.ndarray, " numbers"], column: str, count: int, where: str | None = None
    ) -> list[dict[str, Any]]:
        """Returns the rows whose vectors are nearest, with their distance as `_distance`.

        All rows are searched. From the second question without a condition on, the vectors are kept in memory if there
        are not too many, because reading them takes longer than the search.

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
        elif kept := self._vectors(column):
            return kept.nearest(vector, count)

        def ask(table: Any) -> list[dict[str, Any]]:
            found = table.search(vector.astype(np.float32), vector_column_name=column)
            found = found.distance_type("l2" if column in EUCLIDEAN else "cosine")
            found = found.where(where, prefilter=True) if where else found
            return found.select(["path", "stamp", "_distance"]).limit(min(count, table.count_rows())).to_list()

        return self._table.ask(ask, [])

    def _vectors(self, column: str) -> Vectors | None:
        """Returns the vectors of a column; None if they are asked for the first time, or too many for the memory."""
        kept, versions = self._in_memory.get(column), self._table.versions
        if kept is not None and kept.versions == versions:
            return kept
        is_first = column not in self._asked
        self._asked.add(column)
        if is_first or not versions or len(self) * 4 * self._length_of(column) > MOST_BYTES:
            return None
        self._in_memory[column] = Vectors.of_rows(self.rows(["path", STAMP, column]), column, versions)
        return self._in_memory[column]

    def _length_of(self, column: str) -> int:
        """Returns the number of numbers of a vector."""
        return VECTORS.get(column) or self._settings["dim"]

    def same_content(self, content: str, where: str | None = None) -> list[dict[str, Any]]:
        """Returns the rows with the same values."""
        if where:
            self.check_condition(where)
        condition = f"content = {quoted(content)}" + (f" AND ({where}\n)" if where else "")
        return self._table.ask(lambda table: table.search().where(condition).select(["path", "stamp"]).to_list(), [])

    def sharing(
        self, marks: UInt32[np.ndarray, " marks"], count: int, where: str | None = None
    ) -> list[dict[str, Any]]:
        """Returns the rows that have most marks in common with a network, at least `LEAST_MARKS`.

        Args:
            marks: Marks of the network, see `sne.provenance.fingerprint.Fingerprint`.
            count: Largest number of rows.
            where: Condition on the columns, in SQL.

        Raises:
            ProvenanceError: The condition cannot be understood, or the table is damaged.
        """
        if where:
            self.check_condition(where)
            columns = ["path", STAMP, "marks"]
            found = self._table.ask(
                lambda table: table.search().where(where).select(columns).limit(None).to_arrow(), None
            )
            return [] if found is None else Marks.of_rows(found, ()).sharing(marks, count)
        versions = self._table.versions
        if self._marks is None or self._marks.versions != versions:
            self._marks = Marks.of_rows(self.rows(["path", STAMP, "marks"]), versions)
        return self._marks.sharing(marks, count)

    @property
    def properties(self) -> list[str]:
        """Names of the predicted properties; their columns are `sne.provenance.rows.column_of` of them."""
        return [str(name) for name in self._settings["properties"]]

    @property
    def columns(self) -> list[str]:
        """Names of the columns that a condition may use."""
        names = self._table.ask(lambda table: table.schema.names, [])
        return [name for name in names if name not in (*VECTORS, EMBEDDING, STAMP, "marks")]
