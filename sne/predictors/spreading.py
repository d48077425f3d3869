"""Spreading the work on many checkpoint files over an executor: worker processes or a Ray cluster."""

import logging
import os
import pickle
import platform
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sne.errors import PredictorError, SneError
from sne.predictors.sources import OnError, handle_error, report_doubts
from sne.work import Answer, Executor, Failure, InThisProcess, ProcessPool, RayCluster, in_order

PART_BYTES = 32 << 20
"""Size of files beyond which a part is closed early, so that large networks go one by one."""
SECONDS_PER_FILE = 0.0025
SECONDS_PER_BYTE = 5e-9
"""Time in which a small checkpoint is read and described by one core, and the time per byte of a large one."""
SECONDS_TO_START = 1.5
"""Time in which a worker process imports torch."""
MOST_WORKERS = 16
"""Largest number of processes that `choose_workers` gives; each holds about 300 MB."""

Work = Callable[..., Iterable[Any]]
"""Called as `work(paths, errors=..., tell=...)`, like `Predictor.predict_blocks` with its other arguments given."""


@dataclass(frozen=True)
class Part:
    """Files that one call reads.

    Args:
        folder: Current folder, to which relative paths refer.
        paths: The files, as they are named in results.
        sizes: Size of each file in bytes; -1 for folders and for files that do not exist.
    """

    folder: str
    paths: tuple[str, ...]
    sizes: tuple[int, ...]

    def singles(self) -> list["Part"]:
        """Returns one part per file."""
        return [Part(self.folder, (path,), (size,)) for path, size in zip(self.paths, self.sizes, strict=True)]


@dataclass
class PartResult:
    """What one call gives: the results in order, and what was noted about files."""

    results: list[Any] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)
    doubts: list[tuple[str, list[str]]] = field(default_factory=list)


def spread(
    work: Work,
    paths: Iterable[Any],
    executor: Executor,
    *,
    part_size: int,
    errors: OnError,
    tell: Callable[[str, list[str]], None] | None = None,
    is_ordered: bool = True,
) -> Generator[Any, None, None]:
    """Does work on many files in the workers of an executor.

    A file that cannot be read, or whose reader dies, does not take others along: the files of its part are tried
    again one by one, in a process of their own.

    Args:
        work: Work on some files; it is sent to the workers by pickle.
        paths: Paths of checkpoints, in the order of results. They are taken as they are needed.
        executor: Workers. They see the same files as this process, under the same paths.
        part_size: Largest number of files per call.
        errors: What to do with a file that cannot be read, see `sne.Predictor.predict`.
        tell: As for `sne.predictors.sources.read_sources`.
        is_ordered: Whether results wait, in memory, for those of earlier files.

    Yields:
        The results of the work, in order; those of parts in any order if `is_ordered` is false.

    Raises:
        SneError: The arguments of the work are refused by the workers, such as a limit on memory.
        PredictorError: A source is no path, or the work cannot be sent to other processes.
        sne.CheckpointError: A source cannot be read, and errors is "raise".
        WorkError: No worker can be started or reached.
    """
    do = partial(do_part, must_agree=not executor.shares_disk)
    answers = executor.run(do, parts(paths, part_size), shared={"work": _sendable(work, executor)})
    with closing(in_order(answers) if is_ordered else answers) as found:
        for answer in found:
            if answer.failure is not None and isinstance(answer.failure.error, SneError):
                raise answer.failure.error  # about the call: errors of files are in the results
            for result in [answer.result] if answer.failure is None else _one_by_one(work, answer):
                for name, reasons in result.doubts:
                    report_doubts(tell, name, reasons)
                for name, error in result.failures:
                    if errors == "raise":
                        raise error
                    handle_error(errors, name, error)
                yield from result.results


def parts(paths: Iterable[Any], part_size: int) -> Iterator[Part]:
    """Cuts paths into parts of up to `part_size` files and `PART_BYTES` bytes, in order."""
    folder, some, sizes, total = str(Path.cwd()), [], [], 0
    for path in paths:
        if not isinstance(path, str | Path):
            raise PredictorError(f"a {type(path).__name__} cannot be sent to other processes, which read paths only")
        size = _size_of(str(path))
        if some and (len(some) == part_size or total + size > PART_BYTES):
            yield Part(folder, tuple(some), tuple(sizes))
            some, sizes, total = [], [], 0
        some.append(str(path))
        sizes.append(size)
        total += max(size, 0)
    if some:
        yield Part(folder, tuple(some), tuple(sizes))


def do_part(part: Part, work: Work, *, must_agree: bool = False) -> PartResult:
    """Does the work on one part, in a worker.

    Args:
        part: The files.
        work: The work.
        must_agree: Whether to refuse files that have another size here, on another machine, than where the part was
            made.
    """
    found = PartResult()
    paths: Sequence[str] = part.paths
    if must_agree:
        paths = [path for path, size in zip(paths, part.sizes, strict=True) if _agrees(part.folder, path, size, found)]
    before = Path.cwd()
    moves = before != Path(part.folder) and not all(Path(path).is_absolute() for path in paths)
    if moves:
        os.chdir(part.folder)
    try:
        found.results.extend(
            work(
                paths,
                errors=lambda name, error: found.failures.append((name, error)),
                tell=lambda name, reasons: found.doubts.append((name, reasons)),
            )
        )
    finally:
        if moves:
            os.chdir(before)
    order = {path: place for place, path in enumerate(part.paths)}
    found.failures.sort(key=lambda pair: order.get(pair[0], 0))
    return found


def choose_executor(paths: Sequence[str], *, workers: int | None = None, ray: str | None = None) -> Executor | None:
    """Chooses what reads files.

    Args:
        paths: The files.
        workers: Number of worker processes, 0 for none; None to choose by number and size of the files. With `ray`,
            the number of cores of a "local" cluster.
        ray: Address of a Ray cluster, see `RayCluster`.

    Returns:
        The executor; None to read in this process.

    Raises:
        PredictorError: `ray` is given without workers.
        WorkError: Ray is not installed, or the address is not valid.
    """
    if ray is not None:
        if workers == 0:
            raise PredictorError("a Ray cluster needs workers, got 0")
        return RayCluster(ray, workers=2 if workers is None else workers, attempts=2)
    workers = choose_workers(paths) if workers is None else workers
    return ProcessPool(workers, attempts=1) if workers else None


def choose_workers(paths: Sequence[str]) -> int:
    """Chooses the number of worker processes that read some files soonest.

    Args:
        paths: The files.

    Returns:
        0 where starting processes would take longer than reading; otherwise up to one per core.
    """
    cores = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST_WORKERS)
    workers = min(cores, len(paths))
    seconds, longest = len(paths) * SECONDS_PER_FILE, SECONDS_PER_FILE
    if seconds < 10 * SECONDS_TO_START:
        each = [max(_size_of(path), 0) * SECONDS_PER_BYTE for path in paths]
        seconds, longest = seconds + sum(each), longest + max(each, default=0.0)
    gain = seconds - max(seconds / max(workers, 1), longest) - SECONDS_TO_START
    return workers if gain > SECONDS_TO_START else 0


def _sendable(work: Work, executor: Executor) -> Work:
    if not isinstance(executor, InThisProcess):
        try:
            pickle.dumps(work)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise PredictorError(
                f"the predictor cannot be sent to other processes ({reason}); save it, and load it again"
            ) from None
    return work


def _one_by_one(work: Work, answer: Answer[Part]) -> Generator[PartResult, None, None]:
    """Does the work on the files of a part again, each by itself, after the call for the whole part failed."""
    failure = answer.failure
    assert failure is not None
    logging.getLogger(__name__).debug("%s", failure.trace or failure.reason)
    pool = ProcessPool(1, attempts=2)
    with closing(in_order(pool.run(do_part, answer.item.singles(), shared={"work": work}))) as singles:
        for single in singles:
            yield single.result if single.failure is None else _failed(single.item, single.failure)


def _failed(part: Part, failure: Failure) -> PartResult:
    (path,) = part.paths
    if failure.trace:
        logging.getLogger(__name__).debug("%s", failure.trace)
    error = failure.error or PredictorError(f"{path}: cannot be read: {failure.reason}")
    return PartResult(failures=[(path, error)])


def _size_of(path: str) -> int:
    """Returns the size of a file; -1 for folders and for what does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116 (many paths, quickly)
    except OSError:
        return -1
    return -1 if stat.S_ISDIR(status.st_mode) else status.st_size


def _agrees(folder: str, path: str, size: int, found: PartResult) -> bool:
    """Whether a file has the same size here as where the part was made; otherwise notes a failure."""
    here = _size_of(str(Path(folder) / path))
    if here == size:
        return True
    seen = "a folder or no file" if here < 0 else f"a file of {here} bytes"
    reason = f"{path}: on {platform.node()} it is {seen}; all nodes of the cluster have to see the same files"
    found.failures.append((path, PredictorError(reason)))
    return False
