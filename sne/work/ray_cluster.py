"""The machines of a Ray cluster, one core per item."""

import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import ModuleType
from typing import Any, TextIO, cast

from sne.errors import WorkError, install_hint
from sne.work.executor import ATTEMPTS, Answer, Failure, Item, Needs, attempt, use_one_thread

LOCAL = "local"
AUTO = "auto"
_STORE_BYTES = 100 << 20  # for items and results in flight; shared values come on top
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class RayCluster:
    """An `Executor` on a Ray cluster. Ray does the scheduling.

    Shared values travel to the nodes through Ray's object store and results travel back. The nodes share no disk, but
    have the same version of sne. An item that is lost with its node is tried again.

    Args:
        address: "auto" for the cluster that this machine belongs to, HOST:PORT of a cluster that it belongs to, or
            "local" for a new cluster of this machine alone.
        workers: Number of cores of a "local" cluster.
        patience: Seconds to wait for an answer of the cluster.
        attempts: Number of attempts at an item whose worker process dies.

    Raises:
        WorkError: Ray is not installed, or the address is not valid.
    """

    shares_disk = False

    def __init__(self, address: str, *, workers: int = 2, patience: float = 30.0, attempts: int = ATTEMPTS) -> None:
        self._ray = import_ray()
        self._address = address
        self._workers = workers
        self._patience = patience
        self._attempts = attempts
        host, _, port = address.rpartition(":")
        if address not in (LOCAL, AUTO) and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise WorkError(f"Ray address {address!r} is not known, expected auto, local or HOST:PORT")

    def run(
        self,
        function: Callable[..., Any],
        items: Iterable[Item],
        *,
        shared: Mapping[str, Any] | None = None,
        needs: Needs | None = None,
    ) -> Generator[Answer[Item], None, None]:
        """Calls the function once per item; see `Executor.run`.

        Raises:
            WorkError: The cluster cannot be reached or fails, or its nodes lack a package.
        """
        values = {name: pickle.dumps(value) for name, value in (shared or {}).items()}
        names = tuple(values)
        with self._connected(sum(map(len, values.values()))) as ray:
            called = ray.put(pickle.dumps(function))
            stored = {name: ray.put(values.pop(name)) for name in names}

            def references(item: Item) -> list[Any]:
                return [called, *(stored[name] for name in (names if needs is None else needs(item)))]

            yield from _Calls(ray, references, self._attempts).run(items)

    @contextmanager
    def _connected(self, put_bytes: int) -> Iterator[ModuleType]:
        """Connects, and leaves the cluster at the end.

        Args:
            put_bytes: Number of bytes that will be put into the object store.

        Yields:
            The package ray, connected.

        Raises:
            WorkError: The cluster cannot be reached.
        """
        with _quiet():
            self._connect(put_bytes)
            try:
                yield self._ray
            finally:
                with redirect_stdout(StringIO()):  # discards late messages of its listening thread
                    self._ray.shutdown()

    def _connect(self, put_bytes: int) -> None:
        settings: dict[str, Any] = {"address": self._address, "log_to_driver": False, "logging_level": "CRITICAL"}
        if self._address == LOCAL:
            settings |= {
                "num_cpus": self._workers,
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES + 2 * put_bytes,
            }
        else:
            self._probe()
        try:
            self._ray.init(**settings)
        except Exception as error:  # Ray raises many kinds
            raise self._unreachable(str(error)) from None

    def _probe(self) -> None:
        """Tries the address in another process, because Ray waits for minutes and then exits if nothing answers."""
        if self._address != AUTO:
            host, _, port = self._address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=self._patience).close()
            except OSError as error:
                raise self._unreachable(str(error)) from None
        code = (
            "import sys, ray\n"
            "try:\n"
            "    ray.init(address=sys.argv[1], log_to_driver=False, logging_level='CRITICAL')\n"
            "except Exception as error:\n"
            "    sys.exit(str(error))\n"
        )
        try:
            tried = subprocess.run(
                [sys.executable, "-c", code, self._address],
                timeout=self._patience, capture_output=True, text=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise self._unreachable(f"no Ray cluster answered in {self._patience:g} s") from None
        if tried.returncode:
            raise self._unreachable((tried.stderr.strip().splitlines() or ["no reason given"])[0])

    def _unreachable(self, reason: str) -> WorkError:
        return WorkError(f"Ray cluster {self._address} cannot be reached: {reason}")


class _Calls:
    """Calls on the nodes of a connected cluster, one core each, a bounded number at a time.

    Args:
        ray: The package ray, connected.
        references: Returns the references to the function and the shared values of an item.
        attempts: How often an item is tried whose worker process dies.
    """

    def __init__(self, ray: ModuleType, references: Callable[[Any], list[Any]], attempts: int) -> None:
        self._ray = ray
        # Ray's own retries count a lost node and an item that kills its process alike
        self._remote = ray.remote(num_cpus=1, max_retries=0)(_call)
        self._references = references
        self._attempts = attempts
        self._pending: dict[Any, tuple[int, Any]] = {}
        self._losses: Counter[int] = Counter()
        self._limit, self._looked = 0, -1e9

    def run(self, items: Iterable[Any]) -> Iterator[Answer]:
        """Yields one answer per item, until all are done."""
        rest = enumerate(items)
        following = next(rest, None)
        while following is not None or self._pending:
            while following is not None and len(self._pending) < self._most_in_flight():
                self._submit(*following)
                following = next(rest, None)
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=1.0)
            for task in done:
                if (answer := self._collect(task)) is not None:
                    yield answer

    def _submit(self, index: int, item: Any) -> None:
        self._pending[self._remote.remote(self._references(item), item)] = index, item

    def _most_in_flight(self) -> int:
        """Returns twice the number of cores: per core, one item is processed and one is in transit."""
        if time.monotonic() - self._looked > 5:
            self._limit = 2 * max(int(self._ray.cluster_resources().get("CPU", 0)), 1)
            self._looked = time.monotonic()
        return self._limit

    def _collect(self, task: Any) -> Answer | None:
        """Returns the answer of a call that has ended; None if its item is tried again."""
        errors = self._ray.exceptions
        index, item = self._pending.pop(task)
        try:
            return Answer(index, item, *self._ray.get(task))
        except (errors.NodeDiedError, errors.ObjectLostError):  # not the fault of the item
            self._submit(index, item)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError):
            self._losses[index] += 1
            if self._losses[index] >= self._attempts:
                lost = Failure.lost(self._attempts, "Ray worker (perhaps out of memory)")
                return Answer(index, item, failure=lost)
            self._submit(index, item)
        except errors.RayTaskError as error:
            if isinstance(error.cause, ImportError):
                lacking = f"nodes of the Ray cluster lack something that this machine has: {error.cause}"
                raise WorkError(lacking) from None
            raise RuntimeError(f"a Ray worker failed: {error}") from None
        except errors.RayError as error:
            reason = str(error).splitlines()[0]
            raise WorkError(f"the Ray cluster failed: {reason}; the same call continues the work") from None
        return None


_values: dict[str, Any] = {}
"""Shared values by reference, kept in a Ray worker process between its calls."""


def _call(references: Sequence[Any], item: Any) -> tuple[Any, Failure | None]:
    """Calls the function on a node. References come in a list, because Ray would copy the values of bare ones."""
    use_one_thread()
    ray, keys = import_ray(), [reference.hex() for reference in references]
    for key in _values.keys() - keys:
        del _values[key]
    for key, reference in zip(keys, references, strict=True):
        if key not in _values:
            _values[key] = pickle.loads(ray.get(reference))
    function, *shared = (_values[key] for key in keys)
    return attempt(function, item, *shared)


def import_ray() -> ModuleType:
    """Returns the package ray.

    Raises:
        WorkError: It is not installed.
    """
    try:
        import ray
    except ImportError:
        raise WorkError(f"a Ray cluster needs the package ray; {install_hint('ray')}") from None
    return ray


class _WithoutRay:
    """Standard output that drops the messages of Ray's listening thread about lost workers and nodes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Prevents Ray from printing to stdout and from reporting its use."""
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    try:
        with redirect_stdout(cast(TextIO, _WithoutRay(sys.stdout))):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
