"""The table of an index: rows in a LanceDB database, which one process writes and others read meanwhile."""

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from sne.errors import ProvenanceError, WriteError, install_hint

NAME = "networks"

KEY = "path"
"""Column that names a row; no two rows have the same."""

INDEXED = "content"
"""Column that rows are sought by, for which the database keeps a sorted index."""

NAMES_PER_CALL = 1000
"""Largest number of rows that are named in one condition."""

SPARE_BYTES = 1 << 20
"""Space on the disk that a change needs beyond its rows, for the description of the new version."""

KEEP = timedelta(days=36_500)
"""Age of versions that are never reached; LanceDB knows no other way to keep them."""

MOST_ROUNDS = 5
"""Largest number of rounds in which files are joined: LanceDB joins only files that its index has alike."""

MANIFEST = ".manifest"
"""End of the names of the files that describe versions."""

UNFINISHED = ".tmp*"
"""Names of files that are being written."""

END = b"LANC"
"""Last bytes of the files of LanceDB that have been written whole."""

Found = TypeVar("Found")


class Table:
    """Rows of an index by path.

    Each change is a new version of the table, which appears as a whole or not at all, even if the process is killed.
    LanceDB does not notice all files that a full disk has cut off. Space is therefore reserved before a change, and the
    ends of new files are read after it; a version with a file that is not whole is deleted.

    Args:
        folder: Folder of the database. It must exist.

    Raises:
        ProvenanceError: LanceDB is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import lancedb
        except ImportError:
            raise ProvenanceError(f"an index needs LanceDB; {install_hint('search')}") from None
        self._folder = folder
        self._files = folder / f"{NAME}.lance"
        self._database = lancedb.connect(str(folder))
        self._opened: tuple[list[str], Any] = [], None

    @property
    def exists(self) -> bool:
        """Whether rows have been written; a first write that was killed leaves no version."""
        return bool(self._versions)

    @property
    def versions(self) -> tuple[str, ...]:
        """Names of the versions; other ones after every change, and none before rows are written."""
        return tuple(self._versions)

    def ask(self, question: Callable[[Any], Found], otherwise: Found) -> Found:
        """Asks the newest version something; returns `otherwise` if there are no rows yet.

        Args:
            question: A function of the table of LanceDB. It is called again if it fails, because `tidy` may have
                removed the version that it was reading.
            otherwise: The answer of an empty table.

        Raises:
            ProvenanceError: The table is damaged.
        """
        reason = ""
        for _ in range(2):
            try:
                return question(self._newest()) if self.exists else otherwise
            except Exception as error:  # LanceDB raises RuntimeError, ValueError and OSError for damaged files
                reason = _first_line(error)
                self._opened = [], None
        raise ProvenanceError(f"{self._folder}: the table cannot be read: {reason}; make the index again")

    def fault_of(self, where: str) -> str:
        """Returns what is wrong with a condition on the columns, in one line; empty if it can be understood."""
        if not self.exists:
            return ""
        try:
            self._database.open_table(NAME).search().where(where).select([KEY]).limit(1).to_list()
        except Exception as error:  # LanceDB raises ValueError and RuntimeError
            return _first_line(error).partition(" Valid fields")[0]
        return ""

    def append(self, rows: pa.Table) -> None:
        """Adds rows whose paths are not there yet.

        Raises:
            WriteError: They cannot be written, for example because the disk is full. The table is as before.
        """
        self._change(lambda: self._open_or_create(rows.schema).add(rows), rows.nbytes)

    def replace(self, rows: pa.Table) -> None:
        """Writes rows in place of those with the same paths; rows with other paths are added.

        Raises:
            WriteError: They cannot be written. The table is as before.
        """
        self._change(
            lambda: (
                self._open_or_create(rows.schema)
                .merge_insert(KEY)
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute(rows)
            ),
            rows.nbytes,
        )

    def remove(self, paths: Sequence[str]) -> None:
        """Removes the rows of some paths.

        Raises:
            WriteError: The change cannot be written.
        """
        for start in range(0, len(paths), NAMES_PER_CALL):
            names = ", ".join(quoted(path) for path in paths[start : start + NAMES_PER_CALL])
            self._change(lambda names=names: self._database.open_table(NAME).delete(f"{KEY} IN ({names})"))

    @property
    def is_tidy(self) -> bool:
        """Whether there is nothing for `tidy` to do."""
        return len(self._versions) <= 1

    def tidy(self, *, is_alone: bool) -> None:
        """Joins small files, brings the index of contents up to date, and deletes what earlier versions have left.

        Args:
            is_alone: Whether no other process can be writing. What killed writers have left is deleted then.

        Raises:
            WriteError: The disk is full. No row is lost.
        """
        if not self.exists:
            return

        from lancedb.index import BTree

        if is_alone:
            for path in self._files.rglob(UNFINISHED):
                path.unlink()

        def join() -> None:
            table = self._database.open_table(NAME)
            if not table.list_indices():
                table.create_index(INDEXED, config=BTree(), replace=False)
            table.optimize(cleanup_older_than=KEEP)

        def delete() -> None:
            with warnings.catch_warnings():  # about readers of earlier versions, who ask again
                warnings.simplefilter("ignore", UserWarning)
                self._database.open_table(NAME).optimize(cleanup_older_than=timedelta(0), delete_unverified=is_alone)

        for _ in range(MOST_ROUNDS):
            versions = self._versions
            self._change(join, sum(path.stat().st_size for path in self._stored()))
            if self._versions == versions:
                self._change(delete)  # only now: it would join files first, and delete what they are made from
                return

    @property
    def _versions(self) -> list[str]:
        """Names of the files that describe versions."""
        try:
            names = os.listdir(self._files / "_versions")  # noqa: PTH208 (names are enough)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.endswith(MANIFEST))

    def _newest(self) -> Any:
        """Returns the newest version; it stays open until there is a newer one, because opening reads its indexes."""
        versions = self._versions
        if self._opened[0] != versions:
            self._opened = versions, self._database.open_table(NAME)
        return self._opened[1]

    def _open_or_create(self, schema: pa.Schema) -> Any:
        if self.exists:
            return self._database.open_table(NAME)
        return self._database.create_table(NAME, schema=schema, mode="create")

    def _change(self, change: Callable[[], Any], num_bytes: int = 0) -> None:
        """Makes a change as a whole, or not at all.

        Args:
            change: The change.
            num_bytes: Number of bytes that it writes.

        Raises:
            WriteError: It cannot be made.
        """
        try:
            _reserve(self._folder, num_bytes + SPARE_BYTES)
        except OSError as error:
            raise WriteError.from_os_error(self._folder, error) from None
        before = self._stored()
        reason = ""
        try:
            change()
        except Exception as error:  # LanceDB raises RuntimeError, ValueError and OSError, also for a full disk
            reason = _reason(error)
        new = self._stored() - before
        if not all(map(_is_whole, new)):
            for path in new:
                if path.suffix == MANIFEST:
                    path.unlink()
            reason = reason or "no space left on device"
        if reason:
            raise WriteError(self._folder, reason)

    def _stored(self) -> set[Path]:
        """Returns the files of the table that end with `END`."""
        return {path for path in self._files.rglob("*") if path.suffix in (MANIFEST, ".lance") and path.is_file()}


def _reserve(folder: Path, num_bytes: int) -> None:
    """Raises OSError if a disk has no space for some bytes."""
    if hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)


def _is_whole(path: Path) -> bool:
    """Whether a file has its last bytes; true for one that has been deleted."""
    try:
        with path.open("rb") as file:
            file.seek(-min(len(END), path.stat().st_size), os.SEEK_END)
            return file.read() == END
    except FileNotFoundError:
        return True


def quoted(text: str) -> str:
    """Returns a text as a literal of SQL.

    Example:
        >>> quoted("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def _reason(error: Exception) -> str:
    """Returns why something cannot be written: the reason of the system, if the message of LanceDB has one."""
    found = re.search(r"os error (\d+)", str(error))
    return os.strerror(int(found[1])).lower() if found else _first_line(error)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
