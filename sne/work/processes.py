"""Worker processes of this machine, with one thread each."""

import os
import pickle
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, Generic

from sne.errors import WorkError
from sne.work.collection import kept_imports
from sne.work.executor import ATTEMPTS, Answer, Failure, Item, Needs, attempt, use_one_thread

_READY = "ready"
_SECONDS_TO_END = 5.0


class ProcessPool:
    """An `Executor` of new processes, which end with this process.

    The pool of the standard library breaks as a whole when one of its processes is killed. Here the others continue,
    and the lost item is identified and tried again by a new process.

    Args:
        workers: Number of processes, at least 1. Fewer are started if there are fewer items.
        attempts: Number of attempts at an item whose process dies.

    Raises:
        WorkError: There is no worker.

    Example:
        >>> sorted(answer.result for answer in ProcessPool(1).run(len, ["one", "three"]))
        [3, 5]
    """

    shares_disk = True

    def __init__(self, workers: int, *, attempts: int = ATTEMPTS) -> None:
        if workers < 1:
            raise WorkError(f"workers is {workers}, expected at least 1")
        self._num_workers = workers
        self._attempts = attempts

    def run(
        self,
        function: Callable[..., Any],
        items: Iterable[Item],
        *,
        shared: Mapping[str, Any] | None = None,
        needs: Needs | None = None,
    ) -> Generator[Answer[Item], None, None]:
        """Calls the function once per item; see `Executor.run`."""
        values = dict(shared or {})
        work = pickle.dumps((function, values))
        queue, losses = _Queue(items), Counter[int]()
        names_of: Needs = needs or (lambda item: tuple(values))
        workers: dict[Connection, _Worker] = {}
        try:
            while True:
                while len(workers) < self._num_workers and queue.has_more(sum(w.is_free for w in workers.values())):
                    worker = _Worker(work)
                    workers[worker.connection] = worker
                if not workers:
                    return
                for connection in wait(list(workers)):
                    assert isinstance(connection, Connection)
                    worker = workers[connection]
                    try:
                        answer = worker.receive()
                    except (EOFError, OSError):
                        del workers[connection]
                        answer = self._lose(worker, queue, losses)
                    else:  # the worker continues while the caller reads the answer
                        if (following := queue.take()) is not None:
                            worker.give(following, names_of(following[1]))
                    if answer is not None:
                        yield answer
                    if worker.is_free and connection in workers:
                        workers.pop(connection).dismiss()
        finally:
            for worker in workers.values():
                worker.end()

    def _lose(self, worker: "_Worker", queue: "_Queue", losses: Counter[int]) -> Answer | None:
        """Ends a worker whose process died. Its item is queued for another attempt, or is given up.

        Raises:
            WorkError: Processes cannot be started.
        """
        worker.end(patience=_SECONDS_TO_END)
        if worker.given is None:
            losses[-1] += not worker.has_started
            if not worker.has_started and (losses[-1] >= self._attempts or not worker.was_killed):
                raise WorkError(f"a worker process could not start ({worker.cause})")
            return None
        index, item = worker.given
        losses[index] += 1
        if losses[index] < self._attempts:
            queue.put_back(worker.given)
            return None
        return Answer(index, item, failure=Failure.lost(self._attempts, f"worker process ({worker.cause})"))


class _Queue(Generic[Item]):
    """Items that no worker has, with their positions. Items of lost workers come last."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._rest = enumerate(items)
        self._taken: deque[tuple[int, Item]] = deque()
        self._lost: deque[tuple[int, Item]] = deque()

    def has_more(self, than: int) -> bool:
        """Whether more than a number of items are left."""
        while len(self._taken) + len(self._lost) <= than and (item := next(self._rest, None)) is not None:
            self._taken.append(item)
        return len(self._taken) + len(self._lost) > than

    def take(self) -> tuple[int, Item] | None:
        if not self._taken and (item := next(self._rest, None)) is not None:
            return item
        waiting = self._taken or self._lost
        return waiting.popleft() if waiting else None

    def put_back(self, item: tuple[int, Item]) -> None:
        self._lost.append(item)


class _Worker:
    """A worker process, seen from the parent process.

    Args:
        work: Function and shared values, pickled.

    Raises:
        WorkError: The process cannot be started.
    """

    def __init__(self, work: bytes) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._work: bytes | None = work
        self.given: tuple[int, Any] | None = None
        try:
            with _interrupts_held():
                self._process.start()
        except OSError as error:
            raise WorkError(f"a worker process could not start: {error.strerror or error}") from None
        theirs.close()  # otherwise the end of the process would go unnoticed

    @property
    def is_free(self) -> bool:
        """Whether the process has no item."""
        return self.given is None

    @property
    def has_started(self) -> bool:
        """Whether the process has reported that it is ready."""
        return self._work is None

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended the process."""
        return (self._process.exitcode or 0) < 0

    @property
    def cause(self) -> str:
        """Cause of the end of the process, as far as the system reports it."""
        code = self._process.exitcode or 0
        if code >= 0:
            return f"exit status {code}"
        return "SIGKILL, perhaps out of memory" if code == -9 else f"signal {-code}"

    def receive(self) -> Answer | None:
        """Receives the answer to its item; None if the message says that the process has started.

        Raises:
            EOFError: The process has ended.
            OSError: The process has ended in the middle of a message.
        """
        answer = self.connection.recv()
        if answer == _READY or self.given is None:
            return None
        (index, item), self.given = self.given, None
        return Answer(index, item, *answer)

    def give(self, item: tuple[int, Any], names: Sequence[str]) -> None:
        """Sends an item to the process. If the process has ended, `receive` reports it.

        Args:
            item: Position and item.
            names: Names of the shared values that the call needs.
        """
        self.given = item
        data = pickle.dumps((item[1], tuple(names)))
        with suppress(OSError):
            if self._work is not None:  # not earlier, because a process that is still importing does not read
                work, self._work = self._work, None
                self.connection.send_bytes(work)
            self.connection.send_bytes(data)

    def dismiss(self) -> None:
        """Lets the process end by itself, because libraries in it may have to clean up."""
        with suppress(OSError):
            if self._work is None:
                self.connection.send_bytes(b"")
        self.end(patience=_SECONDS_TO_END if self._work is None else 0.0)

    def end(self, patience: float = 0.0) -> None:
        """Ends the process, by force if it does not end by itself. Lost work is repeated.

        Args:
            patience: Seconds in which the process may end by itself, so that `cause` is known.
        """
        self._process.join(patience)
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection) -> None:
    """Runs in the worker process: receives the work, then answers one item after another until an empty message."""
    _begin_child()
    connection.send(_READY)
    with kept_imports():
        loaded, failure = attempt(pickle.loads, connection.recv_bytes())
    function, shared = loaded if failure is None else (attempt, {})
    use_one_thread()
    while data := connection.recv_bytes():
        answer = None, failure
        if failure is None:
            item, names = pickle.loads(data)
            answer = attempt(function, item, *(shared[name] for name in names))
        _, not_sent = attempt(connection.send, answer)
        if not_sent is not None:  # the result cannot be pickled
            connection.send((None, not_sent))


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Blocks Ctrl-C in processes that are started in the block, until `_begin_child` makes them ignore it."""
    if os.name != "posix":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_child() -> None:
    """Leaves Ctrl-C to the parent, and ends this process when the parent ends, even if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
