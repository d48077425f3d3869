"""The machines of a Ray cluster, one core a work unit."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import ModuleType
from typing import Any, TextIO, cast

from sne.zoo.errors import ZooError
from sne.zoo.making.executors.executor import LOSSES
from sne.zoo.making.executors.work import Failure, Finished, Job, WorkUnit, do_work
from sne.zoo.making.recipe import Unit

LOCAL = "local"
AUTO = "auto"
_STORE_BYTES = 100 << 20  # for results on their way; the job comes on top
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class RayCluster:
    """An `Executor` on a Ray cluster; scheduling is Ray's.

    Recipe and images travel to the nodes through Ray's object store and what is finished travels back: the nodes
    share no disk, but have the same version of `sne`. A work unit that is lost with its node is done again.

    Args:
        address: "auto" for the cluster that this machine belongs to, HOST:PORT of one that it belongs to, or
            "local" for a fresh one of this machine's cores alone.
        workers: cores of a "local" cluster.
        patience: seconds in which a cluster has to answer.

    Raises:
        ZooError: Ray is not installed, or the address is not one.
    """

    def __init__(self, address: str, *, workers: int = 2, patience: float = 30.0) -> None:
        self._ray = _import_ray()
        self._address = address
        self._workers = workers
        self._patience = patience
        host, _, port = address.rpartition(":")
        if address not in (LOCAL, AUTO) and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ZooError(f"Ray address {address!r} is not known, expected auto, local or HOST:PORT")

    def train(self, job: Job, work: Iterable[WorkUnit]) -> Generator[Finished, None, None]:
        """Trains networks, see `Executor.train`."""
        ray, described = self._ray, job.to_bytes()
        with _quiet():
            self._connect(len(described))
            try:
                yield from _Tasks(ray, described).run(iter(work))
            finally:
                with redirect_stdout(StringIO()):  # what its listening thread had not printed yet
                    ray.shutdown()

    def _connect(self, job_bytes: int) -> None:
        settings: dict[str, Any] = {"address": self._address, "log_to_driver": False, "logging_level": "CRITICAL"}
        if self._address == LOCAL:
            settings |= {
                "num_cpus": self._workers,
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES + 2 * job_bytes,
            }
        else:
            self._probe()
        try:
            self._ray.init(**settings)
        except Exception as error:  # Ray raises many kinds
            raise self._unreachable(str(error)) from None

    def _probe(self) -> None:
        """Tries the address in another process: where nothing answers, Ray waits for minutes and ends its process."""
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

    def _unreachable(self, reason: str) -> ZooError:
        return ZooError(f"Ray cluster {self._address} cannot be reached: {reason}")


class _Tasks:
    """Work units as tasks of a connected cluster, a bounded number at a time."""

    def __init__(self, ray: ModuleType, job: bytes) -> None:
        self._ray = ray
        self._job = ray.put(job)
        # retries are ours: Ray's own count a lost node and a network that kills its worker alike
        self._remote = ray.remote(num_cpus=1, max_retries=0)(_work_remotely)
        self._pending: dict[Any, WorkUnit] = {}
        self._losses: Counter[Unit] = Counter()
        self._limit, self._looked = 0, -1e9

    def run(self, work: Iterator[WorkUnit]) -> Iterator[Finished]:
        """Yields what is finished until all work is done."""
        next_work = next(work, None)
        while next_work or self._pending:
            while next_work and len(self._pending) < self._in_flight():
                self._submit(next_work)
                next_work = next(work, None)
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=1.0)
            for task in done:
                yield from self._collect(task)

    def _submit(self, work: WorkUnit) -> None:
        # in a list, or Ray would copy the job into every task
        self._pending[self._remote.remote([self._job], work)] = work

    def _in_flight(self) -> int:
        """Twice the cores there are: one at work, one on its way."""
        if time.monotonic() - self._looked > 5:
            self._limit = 2 * max(int(self._ray.cluster_resources().get("CPU", 0)), 1)
            self._looked = time.monotonic()
        return self._limit

    def _collect(self, task: Any) -> Iterator[Finished]:
        errors = self._ray.exceptions
        work = self._pending.pop(task)
        try:
            answers: list[Finished | Failure] = self._ray.get(task)
        except (errors.NodeDiedError, errors.ObjectLostError):
            self._submit(work)  # no fault of the network's
            return
        except (errors.WorkerCrashedError, errors.OutOfMemoryError):
            self._losses[work[0]] += 1
            if self._losses[work[0]] >= LOSSES:
                raise ZooError(
                    f"{work[0].run} was lost {LOSSES} times with its Ray worker, perhaps out of memory; "
                    "what is finished is kept, the same call goes on"
                ) from None
            self._submit(work)
            return
        except errors.RayTaskError as error:
            if isinstance(error.cause, ImportError):
                raise ZooError(
                    f"nodes of the Ray cluster lack something that this machine has: {error.cause}"
                ) from None
            raise RuntimeError(f"a Ray worker failed at {work[0].run}: {error}") from None
        except errors.RayError as error:
            raise ZooError(f"the Ray cluster failed: {str(error).splitlines()[0]}; the same call goes on") from None
        for answer in answers:
            if isinstance(answer, Failure):
                raise answer.error()
            yield answer


_jobs: dict[str, Job] = {}  # of a Ray worker process, which does many tasks


def _work_remotely(job: list[Any], work: WorkUnit) -> list[Finished | Failure]:
    ray = _import_ray()
    key = job[0].hex()
    if key not in _jobs:
        _jobs.clear()
        _jobs[key] = Job.from_bytes(ray.get(job[0]))
    return list(do_work(_jobs[key], work))


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise ZooError("--ray needs the package ray; install it with: pip install 'sne[ray]'") from None
    return ray


class _WithoutRay:
    """Standard output without what Ray's listening thread prints there of every worker and node that is lost."""

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
    """Keeps Ray from printing among the results, and from reporting its use."""
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    try:
        with redirect_stdout(cast(TextIO, _WithoutRay(sys.stdout))):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
