"""NumPy objects in torch files: passed over, without any of NumPy's code being run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_LOCK = threading.Lock()  # torch keeps what a pickle may name in one place for all threads


class NumPyObject:
    """Stands where a pickle asks for a NumPy object: takes everything, does and keeps nothing."""

    def __new__(cls, *_: Any) -> "NumPyObject":  # noqa: D102
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_NAMES = (
    "numpy.ndarray", "numpy.dtype",
    "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar",
)  # fmt: skip


@contextmanager
def inert_numpy() -> Iterator[None]:
    """While it lasts, torch's reader of plain pickles passes over NumPy arrays in place of refusing the file.

    Trainers put best scores and learning rates into their checkpoints as NumPy numbers; the weights beside them are
    tensors. The arrays come out as empty objects.
    """
    with _LOCK, torch.serialization.safe_globals([(NumPyObject, name) for name in _NAMES]):
        yield
