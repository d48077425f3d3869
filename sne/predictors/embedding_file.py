"""Embeddings of many checkpoints in one file: written as they come, and continued after an interruption."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sne.errors import PredictorError, WriteError
from sne.predictors.frames import embedding_schema, embedding_table
from sne.predictors.kept_rows import KeptRows
from sne.predictors.predictor import Predictor
from sne.predictors.sources import OnError, Source, expand_sources, handle_error, report_doubts
from sne.predictors.stamps import stamp
from sne.work import Executor, check_can_write, replacing

SUFFIXES = (".parquet", ".npy")


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
    interrupted at any moment, it continues with `resume`. Files are then encoded again if they, or the configuration
    beside them, have changed in size or in one of their times (see `stamp`).

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
    _check_name(out)
    paths = [_as_path(source) for source in expand_sources(sources)]
    _refuse_source(out, paths)
    notes = _Notes(errors, tell)
    job = {
        "predictor": predictor.digest(), "select": select, "allow_nonfinite": allow_nonfinite, "budget": budget,
        "version": _version(),
    }  # fmt: skip
    stamps = {path: stamp(path) for path in paths}
    with _named(out), KeptRows(parts_folder(out), job, predictor.dim, resume=resume) as parts:
        parts.keep_only(stamps)
        kept = len(parts)
        for name, reasons in parts.doubts.items():
            report_doubts(tell, name, reasons)
        left = [path for path in paths if path not in parts]
        show = progress or (lambda done, total: None)
        show(len(paths) - len(left), len(paths))
        found = predictor.predict_blocks(
            left,
            batch_size=batch_size, errors=notes.add_error, memory=memory, budget=budget, executor=executor,
            select=select, allow_nonfinite=allow_nonfinite, tell=notes.add_doubts, is_ordered=False,
        )  # fmt: skip
        for block in found:
            doubts = [notes.doubts.pop(name, []) for name in block.names]
            parts.add(block.names, [stamps[name] for name in block.names], block.embedding, doubts)
            show(len(parts) + len(notes.failed), len(paths))
        parts.flush()
        return _finish(out, parts, [path for path in paths if path in parts], kept, misses_some=bool(notes.failed))


def _finish(out: Path, parts: KeptRows, encoded: list[str], kept: int, *, misses_some: bool) -> EmbeddingFile:
    """Writes the file, unless it would hold no row or, without names, not the rows asked for; then rows are kept."""
    is_written = bool(encoded) and not (out.suffix == ".npy" and misses_some)
    if is_written:
        _write(out, parts.rows(encoded), len(encoded), parts.dim)
    if is_written or not encoded:
        parts.delete()
    return EmbeddingFile(out, len(encoded), parts.dim, kept, is_written)


def _check_name(out: Path) -> None:
    """Checks that a file of embeddings can have this name, and can be written."""
    if out.suffix not in SUFFIXES:
        raise PredictorError(f"{out}: expected a name that ends in {' or '.join(SUFFIXES)}")
    check_can_write(out)


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
            raise PredictorError(f"{out}: is one of the checkpoints to encode; choose another name")


def _version() -> str:
    from sne import __version__

    return __version__


def _write(out: Path, groups: Iterable[tuple[list[str], np.ndarray]], num_rows: int, dim: int) -> None:
    """Writes the finished file, one group of rows after the other."""
    import pyarrow.parquet as pq

    with replacing(out) as partial, partial.open("wb") as file:
        if out.suffix == ".npy":
            header = {"descr": "<f4", "fortran_order": False, "shape": (num_rows, dim)}
            np.lib.format.write_array_header_1_0(file, header)
            for _, rows in groups:
                file.write(rows.astype("<f4", copy=False).tobytes())
            return
        with pq.ParquetWriter(file, embedding_schema(dim)) as writer:
            for names, rows in groups:
                writer.write_table(embedding_table(names, rows))
