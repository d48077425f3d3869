"""Reaching a Ray cluster, and leaving it."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import ModuleType
from typing import Any, TextIO, cast

from sne.errors import ZooError, install_hint

LOCAL = "local"
AUTO = "auto"
_STORE_BYTES = 100 << 20  # for results on their way; what is put there comes on top
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class RayConnection:
    """The way to a Ray cluster.

    Args:
        address: "auto" for the cluster that this machine belongs to, HOST:PORT of one that it belongs to, or
            "local" for a fresh one of this machine's cores alone.
        workers: cores of a "local" cluster.
        patience: seconds in which a cluster has to answer.

    Raises:
        ZooError: Ray is not installed, or the address is not one.
    """

    def __init__(self, address: str, *, workers: int = 2, patience: float = 30.0) -> None:
        self._ray = import_ray()
        self._address = address
        self._workers = workers
        self._patience = patience
        host, _, port = address.rpartition(":")
        if address not in (LOCAL, AUTO) and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ZooError(f"Ray address {address!r} is not known, expected auto, local or HOST:PORT")

    @contextmanager
    def open(self, put_bytes: int) -> Iterator[ModuleType]:
        """Connects, and leaves the cluster at the end.

        Args:
            put_bytes: how much will be put into the object store.

        Yields:
            Ray itself, connected.

        Raises:
            ZooError: the cluster cannot be reached.
        """
        with _quiet():
            self._connect(put_bytes)
            try:
                yield self._ray
            finally:
                with redirect_stdout(StringIO()):  # what its listening thread had not printed yet
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


def import_ray() -> ModuleType:
    """The package.

    Raises:
        ZooError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ZooError(f"--ray needs the package ray; {install_hint('ray')}") from None
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
