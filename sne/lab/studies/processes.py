"""Jobs in processes of one thread each; a job that fails, or is lost with its process, does not stop the others."""

import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait

from sne.errors import StudyError
from sne.lab.studies.jobs import Job
from sne.making.executors.children import begin_child, interrupts_held
from sne.making.executors.executor import LOSSES

Work = Callable[[Job], None]


@dataclass(frozen=True)
class Failure:
    """Why a job has no result.

    Args:
        reason: one line.
        trace: where it happened, for people who look into it.
    """

    reason: str
    trace: str = ""


Done = Iterator[tuple[Job, Failure | None]]


def do_jobs(jobs: Sequence[Job], work: Work, *, workers: int) -> Done:
    """Does jobs in whatever order they end. Closing the iterator, or an error, ends everything in flight.

    Args:
        jobs: what to do.
        work: does one; a function of a module, or a partial of one, so that it can be sent to a process.
        workers: processes; 0 does everything in this process, with its threads as they are.

    Yields:
        Each job, with why it failed or None.

    Raises:
        StudyError: no process can be started.
    """
    if workers == 0:
        for job in jobs:
            yield job, guarded(work, job)
        return
    waiting, losses = deque(jobs), Counter[str]()
    working: dict[Connection, _Worker] = {}
    try:
        while waiting or working:
            while waiting and len(working) < workers:
                worker = _Worker(work, waiting.popleft())
                working[worker.connection] = worker
            for connection in wait(list(working)):
                assert isinstance(connection, Connection)
                worker = working[connection]
                job = worker.job
                try:
                    failure = worker.answer()
                except (EOFError, OSError):
                    working.pop(connection).end()
                    losses[job.name] += 1
                    if losses[job.name] < LOSSES:
                        waiting.append(job)  # last, so that the others come before it is tried again
                    else:
                        yield job, Failure(f"its process was lost, {LOSSES} times; perhaps out of memory")
                    continue
                if waiting:
                    worker.give(waiting.popleft())
                else:
                    working.pop(connection).end()
                yield job, failure
    finally:
        for worker in working.values():
            worker.end()


def guarded(work: Work, job: Job) -> Failure | None:
    """Does a job; says why it could not."""
    try:
        work(job)
    except Exception as error:
        reason = " ".join(str(error).split())
        return Failure(f"{type(error).__name__}: {reason}", traceback.format_exc())
    return None


class _Worker:
    """This side of a process that does one job after another.

    Args:
        work: does a job.
        job: the first.

    Raises:
        StudyError: the process cannot be started.
    """

    def __init__(self, work: Work, job: Job) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        try:
            with interrupts_held():
                self._process.start()
        except OSError as error:
            raise StudyError(f"a process cannot be started: {error}") from None
        theirs.close()  # or the end of the process would not be seen
        self.give(job)

    def give(self, job: Job) -> None:
        """Gives it a job; where the process has ended, `answer` will tell."""
        self.job = job
        with suppress(OSError):
            self.connection.send(job)

    def answer(self) -> Failure | None:
        """Why its job failed, or None.

        Raises:
            EOFError: the process has ended.
            OSError: it has ended in the middle of a word.
        """
        return self.connection.recv()

    def end(self) -> None:
        """Ends it: results are written whole or not at all, so nothing is lost but time."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, work: Work) -> None:
    """Does the jobs that come; ends with the process that sends them, and leaves Ctrl-C to it."""
    begin_child()
    use_one_thread()
    while True:
        connection.send(guarded(work, connection.recv()))


def use_one_thread() -> None:
    """There are as many processes as cores, so threads of one would get in the way of another."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
