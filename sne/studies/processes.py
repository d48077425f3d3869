"""Jobs in processes of one thread each; a job that fails, or is lost with its process, does not stop the others."""

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

from sne.studies.jobs import Job

Work = Callable[[Job], None]
MOST_LOSSES = 3


@dataclass(frozen=True)
class Failure:
    """Why a job has no result.

    Args:
        reason: one line.
        trace: where it happened, for people who look into it.
    """

    reason: str
    trace: str = ""


def do_jobs(jobs: Sequence[Job], work: Work, *, workers: int) -> Iterator[tuple[Job, Failure | None]]:
    """Does jobs in whatever order they end.

    Args:
        jobs: what to do.
        work: does one; a function of a module, or a partial of one, so that it can be sent to a process.
        workers: processes; 0 does everything in this process, with its threads as they are.

    Yields:
        Each job, with why it failed or None.
    """
    if workers == 0:
        for job in jobs:
            yield job, _guarded(work, job)
        return
    waiting = list(jobs)
    for _ in range(MOST_LOSSES):
        done: set[int] = set()
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin) as pool:
            futures: dict[Future[Failure | None], int] = {
                pool.submit(_guarded, work, job): number for number, job in enumerate(waiting)
            }
            try:
                for future in as_completed(futures):
                    if isinstance(future.exception(), BrokenProcessPool):
                        continue
                    number, error = futures[future], future.exception()
                    done.add(number)
                    yield waiting[number], Failure(str(error)) if error else future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        waiting = [job for number, job in enumerate(waiting) if number not in done]
        if not waiting:
            return
    for job in waiting:
        yield job, Failure(f"its process was lost, {MOST_LOSSES} times; perhaps out of memory")


def _guarded(work: Work, job: Job) -> Failure | None:
    try:
        work(job)
    except Exception as error:
        reason = " ".join(str(error).split())
        return Failure(f"{type(error).__name__}: {reason}", traceback.format_exc())
    return None


def _begin() -> None:
    """A process starts: as many processes as there are cores, so threads of one would get in the way of another."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """The pool's processes would wait for work for ever after a kill of the one that gives it."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
