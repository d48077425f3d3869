"""The content of a checkpoint as a tree: mappings, lists and inert objects, with tensors among the leaves."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sne.checkpoints.described import DescribedTensor, InertObject
from sne.errors import CheckpointError

AnyTensor: TypeAlias = Tensor | DescribedTensor

# Most of what a checkpoint holds beside tensors; the general questions take five times as long.
_NO_TENSORS = frozenset({dict, OrderedDict, list, tuple, str, int, float, bool, type(None)})

MAX_DEPTH = 100
MAX_ENTRIES = 1_000_000
MAX_SHARING = 10
"""Number of paths per entry, on average, from which on the content is taken for hostile."""


def as_tensor(value: Any) -> AnyTensor | None:
    """Returns a value that holds numbers of one type as a tensor; None if it is no such value.

    Args:
        value: A tensor, a NumPy array, or anything else.

    Example:
        >>> as_tensor(np.ones(2, dtype=np.float32)), as_tensor("text")
        (tensor([1., 1.]), None)
    """
    if type(value) in _NO_TENSORS:
        return None
    if isinstance(value, Tensor | DescribedTensor):
        return value
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.name == "bfloat16" and value.dtype.kind != "f":  # the type of ml_dtypes, which JAX uses
        return torch.from_numpy(np.ascontiguousarray(value).view(np.int16).copy()).view(torch.bfloat16)
    if value.dtype.kind not in "fiubc":
        return None
    native = value.astype(value.dtype.newbyteorder("="), copy=False)
    try:
        return torch.from_numpy(
            native if native.flags.writeable and all(s >= 0 for s in native.strides) else native.copy()
        )
    except TypeError:  # a type that torch does not have, such as longdouble
        return torch.from_numpy(native.astype(np.float64)) if value.dtype.kind == "f" else None


def children(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Returns the entries of a container with their keys; None if a value is no container.

    Args:
        value: Any node of the tree. Entries of lists have their positions as keys.
    """
    if type(value) is dict or isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple):
        return enumerate(value)
    if isinstance(value, InertObject):
        if value.mapping:
            return value.mapping.items()
        return value.fields.items() if value.fields else enumerate(value.sequence or value.args)
    return None


def type_name(value: Any) -> str:
    """Returns the name of a value's type for notes; that of the class in the file for an inert object."""
    return value.class_name[:200] if isinstance(value, InertObject) else type(value).__name__


@dataclass(frozen=True)
class Facts:
    """What the tensors below a node are.

    Args:
        tensors: Number of tensors, counted once for each path that leads to them, up to `MAX_ENTRIES`.
        vectors: Whether one of them has floating values and an axis.
        matrices: Whether one of them has floating or narrow values and two axes or more.
        dotted: Whether a mapping below, or the node, has a tensor under a key with a dot, as state dicts have.
    """

    tensors: int = 0
    vectors: bool = False
    matrices: bool = False
    dotted: bool = False


class Nodes:
    """Facts about the nodes of one tree, each computed once.

    Args:
        name: Name of the file in messages.
    """

    def __init__(self, name: str):
        self._name = name
        self._facts: dict[int, Facts] = {}
        self._kept: list[Any] = []  # keeps the objects alive, whose identities are the keys

    def facts(self, value: Any) -> Facts:
        """Returns the facts about a node.

        Raises:
            CheckpointError: If the containers are nested without end.
        """
        tensor = as_tensor(value)
        if tensor is not None:
            return _of_tensor(tensor)
        if children(value) is None:
            return Facts()
        self._complete(value)
        return self._facts[id(value)]

    def _complete(self, root: Any) -> None:
        """Computes the facts about a container and those below it, deepest first, without recursion."""
        pending: list[tuple[Any, bool, int]] = [(root, False, 0)]
        open_: set[int] = set()
        while pending:
            value, is_entered, depth = pending.pop()
            if is_entered:
                open_.discard(id(value))
                self._facts[id(value)] = self._join(value)
                continue
            if id(value) in self._facts:
                continue
            if id(value) in open_ or depth > MAX_DEPTH or len(pending) > MAX_ENTRIES:
                raise CheckpointError(self._name, "the mappings are nested without end")
            open_.add(id(value))
            self._kept.append(value)
            pending.append((value, True, depth))
            pending += [
                (inner, False, depth + 1)
                for _, inner in children(value) or ()
                if not isinstance(inner, Tensor | DescribedTensor | np.ndarray) and children(inner) is not None
            ]

    def _join(self, value: Any) -> Facts:
        tensors, vectors, matrices, dotted = 0, False, False, False
        for key, inner in children(value) or ():
            tensor = as_tensor(inner)
            found = _of_tensor(tensor) if tensor is not None else self._facts.get(id(inner), Facts())
            tensors = min(tensors + found.tensors, MAX_ENTRIES)
            vectors, matrices = vectors or found.vectors, matrices or found.matrices
            dotted = dotted or found.dotted or (tensor is not None and isinstance(key, str) and "." in key)
        return Facts(tensors, vectors, matrices, dotted)


def _of_tensor(tensor: AnyTensor) -> Facts:
    dtype = str(tensor.dtype).removeprefix("torch.")
    ndim = tensor.ndim if has_shape(tensor) else 0
    floating = "float" in dtype
    return Facts(
        1, floating and ndim > 0, ndim > 1 and (floating or "int8" in dtype or "int4" in dtype or "complex" in dtype)
    )


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, AnyTensor]]:
    """Yields the tensors below a node with the keys that lead to them, joined by dots, at most `MAX_ENTRIES`."""
    pending: list[tuple[str, Any, int]] = [(path, value, 0)]
    count = 0
    while pending and count < MAX_ENTRIES:
        path, value, depth = pending.pop()
        count += 1
        tensor = as_tensor(value)
        if tensor is not None:
            yield path, tensor
        elif depth < MAX_DEPTH:
            # Entries are taken from the end of the list, so they are put there in reverse order.
            inner = [(join(path, key), entry, depth + 1) for key, entry in children(value) or ()]
            pending += reversed(inner)


def has_shape(tensor: AnyTensor) -> bool:
    """Whether a tensor has a shape; nested tensors of torch have none."""
    return not getattr(tensor, "is_nested", False)


def join(path: str, key: Any) -> str:
    """Joins a path and a key by a dot."""
    return f"{path}.{key}" if path else str(key)
