"""A pause of Python's garbage collection where many objects are made and all of them are kept."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pauses Python's search for cycles, which takes a third of the time where many objects are made and kept.

    Example:
        >>> with paused_collection():
        ...     gc.isenabled()
        False
    """
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()
