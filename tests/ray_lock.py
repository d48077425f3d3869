"""Tests of Ray, one at a time: a cluster is found by whoever looks for one on this machine."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def ray_to_itself() -> Iterator[None]:
    """Waits until no other test uses Ray."""
    with (Path(tempfile.gettempdir()) / "sne-tests-of-ray.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
