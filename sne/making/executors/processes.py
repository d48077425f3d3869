"""Worker processes of this machine, one thread each."""

from collections import Counter, deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait

from sne.errors import ZooError
from sne.making.executors.children import interrupts_held
from sne.making.executors.executor import LOSSES
from sne.making.executors.work import Failure, Finished, Job, WorkUnit
from sne.making.executors.worker import FREE, serve
from sne.making.recipe import Unit


class ProcessPool:
    """An `Executor` of fresh processes.

    The standard library's pool breaks as a whole when one of its processes is killed; here the others go on, the
    network that was lost is trained again by a new process, and it is known which network it was.

    Args:
        workers: processes; fewer are started where there is less work.

    Raises:
        ZooError: there is no worker.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ZooError(f"workers is {workers}, expected at least 1")
        self._num_workers = workers

    def train(self, job: Job, work: Iterable[WorkUnit]) -> Generator[Finished, None, None]:
        """Trains networks, see `Executor.train`."""
        described, queue, losses = job.to_bytes(), _Queue(work), Counter[Unit | None]()
        workers: dict[Connection, _Worker] = {}
        try:
            while True:
                while len(workers) < self._num_workers and queue.has_more(sum(w.is_idle for w in workers.values())):
                    worker = _Worker(described)
                    workers[worker.connection] = worker
                if not workers:
                    return
                for connection in wait(list(workers)):
                    assert isinstance(connection, Connection)
                    worker = workers[connection]
                    try:
                        answer = worker.receive()
                        if answer == FREE and (next_work := queue.take()):
                            worker.give(next_work)
                        elif answer == FREE:
                            workers.pop(connection).dismiss()
                    except (EOFError, ConnectionError):
                        workers.pop(connection).end(patience=5.0)
                        queue.put_back(worker.work)
                        _count_loss(worker, losses)
                        continue
                    if isinstance(answer, Failure):
                        raise answer.error()
                    if isinstance(answer, Finished):
                        yield answer
        finally:
            for worker in workers.values():
                worker.end()


class _Queue:
    """Work that is not given out yet; what was lost comes first."""

    def __init__(self, work: Iterable[WorkUnit]) -> None:
        self._rest = iter(work)
        self._taken: deque[WorkUnit] = deque()

    def has_more(self, than: int) -> bool:
        """Whether more work units than so many are left."""
        while len(self._taken) <= than and (work := next(self._rest, None)) is not None:
            self._taken.append(work)
        return len(self._taken) > than

    def take(self) -> WorkUnit | None:
        return self._taken.popleft() if self.has_more(0) else None

    def put_back(self, work: WorkUnit) -> None:
        if work:
            self._taken.appendleft(work)


class _Worker:
    """The maker's side of a worker process."""

    def __init__(self, job: bytes) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._job: bytes | None = job
        self.work: WorkUnit = ()  # given and not brought back
        with interrupts_held():
            self._process.start()
        theirs.close()  # or the end of the process would not be seen

    @property
    def is_idle(self) -> bool:
        """Whether it waits for work, or soon will."""
        return not self.work

    @property
    def has_started(self) -> bool:
        """Whether it ever came so far as to ask for the job."""
        return self._job is None

    @property
    def cause(self) -> str:
        """Why an ended process ended, as far as the system tells."""
        code = self._process.exitcode or 0
        if code >= 0:
            return f"exit status {code}"
        return "SIGKILL, perhaps out of memory" if code == -9 else f"signal {-code}"

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended it."""
        return (self._process.exitcode or 0) < 0

    def receive(self) -> Finished | Failure | str:
        """What the process says next.

        Raises:
            EOFError: the process has ended.
            ConnectionError: it has ended in the middle of a word.
        """
        try:
            answer = self.connection.recv()
        except OSError as error:  # half a message is a plain OSError
            raise ConnectionError(str(error)) from None
        if isinstance(answer, Finished):
            self.work = tuple(unit for unit in self.work if unit != answer.unit)
        elif answer == FREE:
            self.work = ()
        return answer

    def give(self, work: WorkUnit) -> None:
        """Gives it work, and the job before the first.

        Raises:
            ConnectionError: the process has ended.
        """
        self.work = work
        if self._job is not None:  # not earlier: a process that is still importing does not read
            self.connection.send_bytes(self._job)
            self._job = None
        self.connection.send(work)

    def dismiss(self) -> None:
        """Lets it end by itself: libraries in it may have to clean up."""
        with suppress(OSError):
            if self._job is None:
                self.connection.send(())
        self.end(patience=5.0 if self._job is None else 0.0)

    def end(self, patience: float = 0.0) -> None:
        """Ends it: it holds nothing that cannot be trained again.

        Args:
            patience: seconds in which it may end by itself, so that `cause` tells why.
        """
        self._process.join(patience)
        self._process.kill()
        self._process.join()
        self.connection.close()


def _count_loss(worker: _Worker, losses: Counter[Unit | None]) -> None:
    """Raises ZooError where trying again is of no use."""
    lost = worker.work[0] if worker.work else None
    if lost is None and worker.has_started:
        return
    losses[lost] += 1
    if lost is None and (losses[lost] >= LOSSES or not worker.was_killed):
        raise ZooError(f"a worker process could not start ({worker.cause})")
    if losses[lost] >= LOSSES and lost is not None:
        raise ZooError(
            f"{lost.run} was lost {LOSSES} times with its worker process ({worker.cause}); "
            "what is finished is kept, the same call goes on"
        )
