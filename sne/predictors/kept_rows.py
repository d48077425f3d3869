"""Finished rows of an unfinished file of embeddings: a folder beside it, from which the next command continues."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float

from sne.errors import PredictorError, WriteError
from sne.work import replacing, write_atomically
from sne.zoo.store.folder import FolderLock

JOB = "job.json"
PART_ROWS, PART_SECONDS = 1024, 5.0
"""Number of rows, and time since the last one, after which a part is written."""
GROUP_ROWS = 4096
"""Number of rows that are given back at once, and of a row group of the finished file."""


@dataclass(frozen=True)
class _Rows:
    """Rows of some files, with the stamps of the files and the reasons to doubt the rows."""

    names: Sequence[str]
    stamps: Sequence[str]
    rows: Float[np.ndarray, "networks dim"]
    doubts: Sequence[list[str]]


class KeptRows:
    """The folder with finished rows: parts in Parquet files, each written whole or not at all.

    Args:
        folder: The folder.
        job: What the rows depend on, apart from the files, as plain JSON values.
        dim: Length of a row.
        resume: Whether to keep rows that are there.

    Raises:
        PredictorError: The rows that are there depend on something else.
        ZooError: Another process writes into the folder.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], dim: int, *, resume: bool) -> None:
        self._folder, self._job, self.dim, self._resume = folder, dict(job), dim, resume
        self._lock = FolderLock(folder)
        self._places: dict[str, tuple[int, int]] = {}
        self._stamps: dict[str, str] = {}
        self.doubts: dict[str, list[str]] = {}
        """Reasons to doubt rows that were there, by the name of the file."""
        self._waiting: list[_Rows] = []
        self._written_at = time.monotonic()
        self._is_deleted = False
        self._number = 0
        self._open: dict[int, np.ndarray] = {}

    def __enter__(self) -> "KeptRows":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._begin()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None and not issubclass(kind, WriteError):
                self.flush()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Deletes the folder if it holds no rows, and releases it."""
        if not self._is_deleted and self._folder.is_dir() and not any(self._folder.glob("part-*.parquet")):
            self.delete()
        self._lock.release()

    def __len__(self) -> int:
        return len(self._stamps)

    def __contains__(self, name: str) -> bool:
        return name in self._stamps

    def keep_only(self, stamps: Mapping[str, str]) -> None:
        """Forgets rows of files that have changed, or that are not asked for any more."""
        self._stamps = {name: was for name, was in self._stamps.items() if was and stamps.get(name) == was}
        self.doubts = {name: reasons for name, reasons in self.doubts.items() if reasons and name in self._stamps}

    def add(
        self,
        names: Sequence[str],
        stamps: Sequence[str],
        rows: Float[np.ndarray, "networks dim"],
        doubts: Sequence[list[str]],
    ) -> None:
        """Adds rows, which are written some at a time."""
        self._waiting.append(_Rows(names, stamps, rows, doubts))
        self._stamps.update(zip(names, stamps, strict=True))
        num_rows = sum(len(some.names) for some in self._waiting)
        if num_rows >= PART_ROWS or time.monotonic() - self._written_at > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that wait as a part."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._written_at = time.monotonic()
        if not self._waiting:
            return
        names = [name for some in self._waiting for name in some.names]
        table = pa.table(
            {
                "path": pa.array(names, pa.string()),
                "stamp": pa.array([stamp for some in self._waiting for stamp in some.stamps], pa.string()),
                "embedding": to_column(np.concatenate([some.rows for some in self._waiting])),
                "doubts": pa.array([one for some in self._waiting for one in some.doubts], pa.list_(pa.string())),
            }
        )
        with replacing(self._file(self._number)) as partial:
            pq.write_table(table, partial)
        self._places.update((name, (self._number, row)) for row, name in enumerate(names))
        self._waiting = []  # an interruption until here leaves the rows to the next call, which writes the same part
        self._number += 1

    def rows(self, names: Sequence[str]) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yields names and rows in the order of the names, some at a time."""
        for start in range(0, len(names), GROUP_ROWS):
            some = list(names[start : start + GROUP_ROWS])
            found = np.empty((len(some), self.dim), dtype=np.float32)
            for row in sorted(range(len(some)), key=lambda row: self._places[some[row]]):  # each part once
                part, place = self._places[some[row]]
                found[row] = self._embeddings(part)[place]
            yield some, found

    def delete(self) -> None:
        """Deletes the folder, which may then belong to another process."""
        self._is_deleted = True
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> None:
        """Reads which rows are there, or deletes them."""
        known = sorted(self._folder.glob("part-*.parquet"))
        if not self._resume:
            for file in known:
                file.unlink()
            known = []
        if known:
            self._check_job()
        write_atomically(self._folder / JOB, json.dumps(self._job))
        for file in known:
            self._number = int(file.stem.removeprefix("part-"))
            self._read_names(file)
            self._number += 1

    def _check_job(self) -> None:
        file = self._folder / JOB
        try:
            before = dict(json.loads(file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise PredictorError(f"{file}: not readable ({error}); start again without resume") from None
        for name, now in self._job.items():
            if before.get(name) != now:
                change = (
                    "the predictor has changed"
                    if name == "predictor"
                    else f"{name} was {before.get(name)!r} and is now {now!r}"
                )
                raise PredictorError(f"{self._folder}: cannot resume, {change}; start again without resume")

    def _read_names(self, file: Path) -> None:
        """Reads which rows a part holds; a damaged part is left out, so that its rows are computed again."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(file)
            column = table["embedding"].combine_chunks()
            if column.type != pa.list_(pa.float32(), self.dim):
                return
            names, stamps, doubts = (table[name].to_pylist() for name in ("path", "stamp", "doubts"))
        except (OSError, KeyError, pa.ArrowException):
            return
        self._places.update((name, (self._number, row)) for row, name in enumerate(names))
        self._stamps.update(zip(names, stamps, strict=True))
        self.doubts.update(zip(names, doubts, strict=True))

    def _embeddings(self, part: int) -> np.ndarray:
        import pyarrow.parquet as pq

        if part not in self._open:
            while len(self._open) >= 4:
                del self._open[next(iter(self._open))]
            column = pq.read_table(self._file(part), columns=["embedding"])["embedding"].combine_chunks()
            self._open[part] = column.flatten().to_numpy().reshape(-1, self.dim)
        return self._open[part]

    def _file(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.parquet"


def to_column(rows: Float[np.ndarray, "networks dim"]) -> Any:
    """Returns embeddings as a column of Parquet files."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
