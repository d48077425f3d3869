"""Building modules in float32, whatever torch's default dtype is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def in_float32() -> Iterator[None]:
    """Makes float32 the default dtype of torch, for a block of code or for each call of a function that it decorates.

    Parameters are drawn in the default dtype, so that with another one even a module that is converted afterwards would
    have other values. The default dtype is one for all threads, so that only short work belongs into the block.

    Example:
        >>> with in_float32():
        ...     torch.nn.Linear(2, 3).weight.dtype
        torch.float32
    """
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)
        yield
    finally:
        torch.set_default_dtype(before)
