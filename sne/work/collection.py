"""Pauses of Python's garbage collection where many objects are made and all of them are kept."""

import gc
import sys
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


@contextmanager
def kept_imports() -> Iterator[None]:
    """Pauses Python's search for cycles while modules are imported, and leaves what they define out of later searches.

    Importing torch, and ending a process that has imported it, takes a fifth less time. For processes of sne's own:
    cycles of objects that exist when the block ends are never freed.

    Example:
        >>> with kept_imports():
        ...     import json
    """
    known = len(sys.modules)
    with paused_collection():
        yield
        if len(sys.modules) > known:
            gc.freeze()
