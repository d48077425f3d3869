"""Tasks on a connected Ray cluster, a bounded number at a time."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, Generic, TypeVar

from sne.errors import ZooError
from sne.making.executors.executor import LOSSES

Work = TypeVar("Work")


class Lost:
    """In place of an answer: the task was lost `LOSSES` times with the process that worked on it."""


class RayTasks(Generic[Work]):
    """Does work on the nodes, one core each. What is lost with its node or its process is done again.

    Args:
        ray: connected.
        function: does a task; of a module, so that nodes can import it.
        arguments: what the function is given for a piece of work; references of the object store in lists, or Ray
            copies what they stand for into every task.
        name: how errors call a piece of work.
    """

    def __init__(
        self,
        ray: ModuleType,
        function: Callable[..., Any],
        *,
        arguments: Callable[[Work], Sequence[Any]],
        name: Callable[[Work], str],
    ) -> None:
        self._ray = ray
        # retries are ours: Ray's own count a lost node and work that kills its process alike
        self._remote = ray.remote(num_cpus=1, max_retries=0)(function)
        self._arguments = arguments
        self._name = name
        self._pending: dict[Any, Work] = {}
        self._losses: Counter[str] = Counter()
        self._limit, self._looked = 0, -1e9

    def run(self, work: Iterable[Work]) -> Iterator[tuple[Work, Any]]:
        """Yields each piece of work with the function's answer, or with `Lost`, until all is done.

        Raises:
            ZooError: nodes lack a package, or the cluster fails.
            RuntimeError: the function raised.
        """
        rest = iter(work)
        following = next(rest, None)
        while following is not None or self._pending:
            while following is not None and len(self._pending) < self._in_flight():
                self._submit(following)
                following = next(rest, None)
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=1.0)
            for task in done:
                yield from self._collect(task)

    def _submit(self, work: Work) -> None:
        self._pending[self._remote.remote(*self._arguments(work))] = work

    def _in_flight(self) -> int:
        """Twice the cores there are: one at work, one on its way."""
        if time.monotonic() - self._looked > 5:
            self._limit = 2 * max(int(self._ray.cluster_resources().get("CPU", 0)), 1)
            self._looked = time.monotonic()
        return self._limit

    def _collect(self, task: Any) -> Iterator[tuple[Work, Any]]:
        errors = self._ray.exceptions
        work = self._pending.pop(task)
        name = self._name(work)
        try:
            answer = self._ray.get(task)
        except (errors.NodeDiedError, errors.ObjectLostError):
            self._submit(work)  # no fault of the work's
        except (errors.WorkerCrashedError, errors.OutOfMemoryError):
            self._losses[name] += 1
            if self._losses[name] >= LOSSES:
                yield work, Lost()
            else:
                self._submit(work)
        except errors.RayTaskError as error:
            if isinstance(error.cause, ImportError):
                raise ZooError(
                    f"nodes of the Ray cluster lack something that this machine has: {error.cause}"
                ) from None
            raise RuntimeError(f"a Ray worker failed at {name}: {error}") from None
        except errors.RayError as error:
            raise ZooError(f"the Ray cluster failed: {str(error).splitlines()[0]}; the same call goes on") from None
        else:
            yield work, answer
