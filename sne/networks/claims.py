"""What names and shapes of tensors may claim, so that a small file cannot make their recognition take long."""

from collections.abc import Iterable
from math import prod

MAX_TENSORS = 500_000
"""Largest number of tensors of a network. The largest known checkpoints have about 200,000."""

MAX_AXES = 64
"""Largest number of axes of a tensor, as in NumPy."""

MAX_ENTRIES = 2**60
"""Number of scalars that no tensor has."""

MAX_NAME = 1000
"""Largest number of characters of a tensor's name."""

MAX_DEPTH = 64
"""Largest number of components of a tensor's name."""

MAX_COMPONENTS = 4_000_000
"""Largest number of components of all names together."""

MAX_MEAN_DEPTH = 24
"""Largest mean number of components per name, in networks of many tensors: each component may be a module."""

_FEW_COMPONENTS = 10_000
_SHOWN = 40


def find_excess(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> str | None:
    """Finds a claim about tensors that no network makes.

    Args:
        tensors: Name and shape of each tensor as a file gives them. Sizes may be negative or huge.

    Returns:
        What is claimed and what the limit is, on one line; None if all claims are within the limits.

    Example:
        >>> find_excess([("fc.weight", (2, 3))]) is None
        True
        >>> find_excess([("fc.weight", (1,) * 1000)])
        "tensor 'fc.weight' has 1000 axes, at most 64 are read"
    """
    count = components = 0
    for name, shape in tensors:
        if len(name) > MAX_NAME:
            return f"tensor {name[:_SHOWN] + '...'!r} has a name of {len(name)} characters, at most {MAX_NAME} are read"
        depth = name.count(".") + 1
        if depth > MAX_DEPTH:
            return f"tensor {name[:_SHOWN] + '...'!r} lies in {depth} modules, at most {MAX_DEPTH} are read"
        if len(shape) > MAX_AXES:
            return f"tensor {name!r} has {len(shape)} axes, at most {MAX_AXES} are read"
        entries = prod(shape) or prod(max(size, 1) for size in shape)
        if entries >= MAX_ENTRIES or min(shape, default=0) < 0:
            return f"tensor {name!r} has a shape that no tensor has"
        count, components = count + 1, components + depth
        if count > MAX_TENSORS or components > MAX_COMPONENTS:
            return f"more than {count - 1} tensors, at most {MAX_TENSORS} are read"
    if components > MAX_MEAN_DEPTH * count + _FEW_COMPONENTS:
        mean = components // count
        return f"{count} tensors lie in {mean} modules each, at most {MAX_MEAN_DEPTH} on average are read"
    return None
