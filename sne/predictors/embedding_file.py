"""Embeddings of many checkpoints in one file: written as they come, and continued after an interruption."""

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float

from sne.errors import PredictorError, WriteError
from sne.predictors.predictor import Predictor
from sne.predictors.sources import OnError, Source, expand_sources, handle_error, report_doubts
from sne.work import Executor, check_can_write, replacing, write_atomically
from sne.zoo.store.folder import FolderLock

SUFFIXES = (".parquet", ".npy")
JOB = "job.json"
PART_ROWS, PART_SECONDS = 1024, 5.0
"""Number of rows, and time since the last one, after which a part is written."""
GROUP_ROWS = 4096
"""Number of rows of a row group of the finished file."""


@dataclass(frozen=True)
class EmbeddingFile:
    """What `encode_to_file` did.

    Args:
        path: The file.
        num_rows: Number of networks that were encoded.
        dim: Length of an embedding.
        num_kept: Number of networks that had been encoded before an interruption.
        is_written: Whether the file was written. A .npy file is not if a source failed, because its rows would not be
            those of the sources. A file without rows is never written.
    """

    path: Path
    num_rows: int
    dim: int
    num_kept: int
    is_written: bool


def encode_to_file(
    sources: Source | Iterable[Source],
    out: str | Path,
    *,
    predictor: Predictor,
    resume: bool = False,
    batch_size: int = 64,
    errors: OnError = "raise",
    memory: int | None = None,
    budget: int | None = None,
    executor: Executor | None = None,
    select: str | None = None,
    allow_nonfinite: bool = False,
    tell: Callable[[str, list[str]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddingFile:
    """Encodes any number of checkpoints into a file, with bounded memory.

    Finished rows are kept in a hidden folder beside the file (see `parts_folder`) until all are done. If the call is
    interrupted at any moment, it continues with `resume`. Files are then encoded again if they have changed in size or
    time, or the configuration beside them has (see `stamp`).

    Args:
        sources: Paths of checkpoints, globs and folders of checkpoints.
        out: A .parquet file, with the columns path and embedding, or a .npy file with a float32 array. Rows stand in
            the order of the sources, without those that were skipped.
        predictor: Predictor that encodes.
        resume: Whether to continue an interrupted call; otherwise its rows are deleted.
        batch_size: As for `Predictor.predict_blocks`.
        errors: As for `Predictor.predict_blocks`.
        memory: As for `Predictor.predict_blocks`.
        budget: As for `Predictor.predict_blocks`.
        executor: As for `Predictor.predict_blocks`.
        select: As for `Predictor.predict_blocks`.
        allow_nonfinite: As for `Predictor.predict_blocks`.
        tell: As for `Predictor.predict_blocks`; called for networks that had been encoded before, too.
        progress: Called with the number of finished sources and of all.

    Returns:
        What was written.

    Raises:
        sne.CheckpointError: A source cannot be read whole, and errors is "raise".
        PredictorError: The interrupted call had another predictor or other arguments, a source is no path, or `out` is
            one of the sources.
        sne.errors.WriteError: The file cannot be written. Finished rows are kept.
    """
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise PredictorError(f"{out}: expected a name that ends in {' or '.join(SUFFIXES)}")
    check_can_write(out)
    paths = [_as_path(source) for source in expand_sources(sources)]
    _refuse_source(out, paths)
    notes = _Notes(errors, tell)
    job = {
        "predictor": predictor.digest(),
        "select": select,
        "allow_nonfinite": allow_nonfinite,
        "budget": budget,
        "version": _version(),
    }
    stamps = {path: stamp(path) for path in paths}
    with _named(out), _Parts(parts_folder(out), job, predictor.dim, resume=resume) as parts:
        parts.keep_only(stamps)
        kept = len(parts)
        for name, reasons in parts.doubts.items():
            report_doubts(tell, name, reasons)
        done = [path for path in paths if path in parts]
        show = progress or (lambda done, total: None)
        show(len(done), len(paths))
        found = predictor.predict_blocks(
            [path for path in paths if path not in parts],
            batch_size=batch_size, errors=notes.add_error, memory=memory, budget=budget, executor=executor,
            select=select, allow_nonfinite=allow_nonfinite, tell=notes.add_doubts, is_ordered=False,
        )  # fmt: skip
        for block in found:
            doubts = [notes.doubts.pop(name, []) for name in block.names]
            parts.add(block.names, [stamps[name] for name in block.names], block.embedding, doubts)
            show(len(parts) + len(notes.failed), len(paths))
        parts.flush()
        encoded = [path for path in paths if path in parts]
        is_written = bool(encoded) and not (out.suffix == ".npy" and notes.failed)
        if is_written:
            _write(out, parts.rows(encoded), len(encoded), predictor.dim)
        if is_written or not encoded:
            parts.delete()
    return EmbeddingFile(out, len(encoded), predictor.dim, kept, is_written)


@dataclass
class _Notes:
    """What is said about files while they are encoded; told at once in the way that the caller asked for."""

    errors: OnError
    tell: Callable[[str, list[str]], None] | None
    failed: set[str] = field(default_factory=set)
    doubts: dict[str, list[str]] = field(default_factory=dict)

    def add_error(self, name: str, error: Exception) -> None:
        if self.errors == "raise":
            raise error
        self.failed.add(name)
        handle_error(self.errors, name, error)

    def add_doubts(self, name: str, reasons: list[str]) -> None:
        self.doubts[name] = [*self.doubts.get(name, []), *reasons]
        report_doubts(self.tell, name, reasons)


@contextmanager
def _named(out: Path) -> Iterator[None]:
    """Names the file that was asked for in errors about the folder beside it."""
    try:
        yield
    except WriteError as error:
        raise WriteError(out, error.reason) from None


def parts_folder(out: str | Path) -> Path:
    """Returns the folder that keeps the finished rows of an unfinished file.

    Example:
        >>> str(parts_folder("embeddings/e.parquet"))
        'embeddings/.e.parquet.parts'
    """
    out = Path(out)
    return out.with_name(f".{out.name}.parts")


def stamp(path: str | Path) -> str:
    """Returns a text that changes when a checkpoint does: size and time of the last change of its files.

    These are the files in a folder; and a file with the configuration beside it (`config.json` and the like), with its
    shards if it is an index of them, and with external data of ONNX under the usual names (`.onnx.data`, `.onnx_data`).
    External data under other names are not looked at.

    Returns:
        The text; empty if there is no such file.
    """
    if str(path).endswith(".index.json"):
        path = Path(path).parent
    try:
        status = os.stat(path)  # noqa: PTH116 (many paths, quickly)
        if not stat.S_ISDIR(status.st_mode):
            return "; ".join([_stamp_of(status), *_stamps_beside(path)])
        entries = [
            f"{Path(folder, name)} {_stamp_of(Path(folder, name).stat())}"
            for folder, _, names in os.walk(path)
            for name in names
        ]
        return hashlib.sha256("\n".join(sorted(entries)).encode(errors="surrogateescape")).hexdigest()
    except OSError:
        return ""


def _stamps_beside(path: str | Path) -> Iterator[str]:
    """Yields names and stamps of the files beside a checkpoint that are read with it."""
    from sne.checkpoints.configuration import CONFIG_FILES

    folder, name = os.path.split(path)
    external = [name + end for end in (".data", "_data")] if name.endswith(".onnx") else []
    for other in (*CONFIG_FILES, *external):
        try:
            status = os.stat(os.path.join(folder, other))  # noqa: PTH116, PTH118 (many paths, quickly)
        except OSError:
            continue
        yield f"{other} {_stamp_of(status)}"


def _stamp_of(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _as_path(source: Source) -> str:
    if not isinstance(source, str | Path):
        raise PredictorError(f"a {type(source).__name__} cannot be encoded to a file, which names paths")
    return str(source)


def _refuse_source(out: Path, paths: Sequence[str]) -> None:
    """Refuses a file that is to be written and is to be read, too."""
    if not out.exists():
        return
    target = out.stat()
    for path in paths:
        try:
            is_source = os.path.samestat(os.stat(path), target)  # noqa: PTH116 (many paths, quickly)
        except OSError:
            continue
        if is_source:
            raise PredictorError(f"{out}: is one of the checkpoints to encode; choose another name (--out)")


def _version() -> str:
    from sne import __version__

    return __version__


@dataclass(frozen=True)
class _Rows:
    """Rows of some files, with the stamps of the files and the reasons to doubt the rows."""

    names: Sequence[str]
    stamps: Sequence[str]
    rows: Float[np.ndarray, "networks dim"]
    doubts: Sequence[list[str]]


class _Parts:
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
        self._folder, self._job, self._dim, self._resume = folder, dict(job), dim, resume
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

    def __enter__(self) -> "_Parts":
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
                "embedding": _to_column(np.concatenate([some.rows for some in self._waiting])),
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
            found = np.empty((len(some), self._dim), dtype=np.float32)
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
            raise PredictorError(f"{file}: not readable ({error}); start again without resume (--resume)") from None
        for name, now in self._job.items():
            if before.get(name) != now:
                change = (
                    "the predictor has changed"
                    if name == "predictor"
                    else f"{name} was {before.get(name)!r} and is now {now!r}"
                )
                raise PredictorError(f"{self._folder}: cannot resume, {change}; start again without resume (--resume)")

    def _read_names(self, file: Path) -> None:
        """Reads which rows a part holds; a damaged part is left out, so that its rows are computed again."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(file)
            column = table["embedding"].combine_chunks()
            if column.type != pa.list_(pa.float32(), self._dim):
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
            self._open[part] = column.flatten().to_numpy().reshape(-1, self._dim)
        return self._open[part]

    def _file(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.parquet"


def _write(out: Path, groups: Iterable[tuple[list[str], np.ndarray]], num_rows: int, dim: int) -> None:
    """Writes the finished file, one group of rows after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(out) as partial, partial.open("wb") as file:
        if out.suffix == ".npy":
            header = {"descr": "<f4", "fortran_order": False, "shape": (num_rows, dim)}
            np.lib.format.write_array_header_1_0(file, header)
            for _, rows in groups:
                file.write(rows.astype("<f4", copy=False).tobytes())
            return
        schema = pa.schema([("path", pa.string()), ("embedding", pa.list_(pa.float32(), dim))])
        with pq.ParquetWriter(file, schema) as writer:
            for names, rows in groups:
                writer.write_table(pa.table([pa.array(names, pa.string()), _to_column(rows)], schema=schema))


def _to_column(rows: Float[np.ndarray, "networks dim"]) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
