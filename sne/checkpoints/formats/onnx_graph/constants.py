"""Constants: stored tensors, and what nodes that compute with constants alone make of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.formats.onnx_graph.values import Leaf
from sne.errors import RemoteError

_DEEPEST = 64
_MOST_NUMBERS = 4096
_GROWTH = 4
_MOST_WORK = 8
_ALLOWANCE = 65_536

Operation = Callable[[list[Tensor]], Tensor]


@final
@dataclass(frozen=True, eq=False)
class Constant:
    """A value that does not depend on the input of the network.

    Args:
        shape: Shape.
        dtype: Type of the elements.
        leaf: The stored tensor, if the constant is one.
        inputs: Constants that it is computed from, if it is not.
        operation: Function from the values of the inputs to the value.
        companions: Stored tensors that only scale or shift others, as the scales of quantised weights.
        depth: Number of operations one after the other.
        work: Number of scalars that are computed on the way to the value.
        is_plain: Whether it has the entries of one stored tensor, in any order of axes.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    leaf: Leaf | None = None
    inputs: "tuple[Constant, ...]" = ()
    operation: Operation | None = None
    companions: frozenset[Leaf] = frozenset()
    depth: int = 0
    work: int = 0
    is_plain: bool = True

    @property
    def num_entries(self) -> int:
        """Number of scalars."""
        return prod(self.shape)

    @property
    def is_floating(self) -> bool:
        """Whether the elements are real numbers."""
        return self.dtype.is_floating_point

    def leaves(self) -> list[Leaf]:
        """Returns the stored tensors, each once, in the order of inputs."""
        found: dict[Leaf, None] = {}
        seen: set[int] = set()
        pending: list[Constant] = [self]
        while pending:
            constant = pending.pop()
            if id(constant) in seen:
                continue
            seen.add(id(constant))
            if constant.leaf is not None:
                found[constant.leaf] = None
            pending += reversed(constant.inputs)
        return list(found)

    def main_leaves(self) -> list[Leaf]:
        """Returns the stored tensors that are no companions."""
        return [leaf for leaf in self.leaves() if leaf not in self.companions]

    def evaluate(self) -> Tensor:
        """Computes the value; every stored tensor is read once, and freed when it is no longer needed.

        Raises:
            CheckpointError: If values are missing or damaged.
        """
        needed: dict[int, int] = {}
        pending: list[Constant] = [self]
        while pending:
            constant = pending.pop()
            needed[id(constant)] = needed.get(id(constant), 0) + 1
            if needed[id(constant)] == 1:
                pending += constant.inputs
        return self._evaluate({}, needed)

    def _evaluate(self, done: dict[int, Tensor], needed: dict[int, int]) -> Tensor:
        """Computes the value, or takes it from `done`, where it stays while others need it."""
        if id(self) in done:
            value = done[id(self)]
        elif self.leaf is not None:
            value = self.leaf.read()
        else:
            assert self.operation is not None
            value = self.operation([constant._evaluate(done, needed) for constant in self.inputs])
        needed[id(self)] -= 1
        if needed[id(self)]:
            done[id(self)] = value
        else:
            done.pop(id(self), None)
        return value


def stored(leaf: Leaf) -> Constant:
    """Returns a stored tensor as a constant."""
    return Constant(leaf.shape, leaf.loaded, leaf)


def derive(
    operation: Operation,
    inputs: Sequence[Constant],
    shape: Sequence[int] | None,
    dtype: torch.dtype | None = None,
    *,
    companions: Iterable[Constant] = (),
    is_plain: bool = False,
) -> Constant | None:
    """Returns the constant that an operation makes of others, without computing it.

    Args:
        operation: Function from the values of the inputs to the value.
        inputs: The inputs, at least one.
        shape: Shape of the value; None if the shapes of the inputs do not fit each other.
        dtype: Type of the value; None for that of the first input.
        companions: Those of the inputs that only scale or shift the first one.
        is_plain: Whether the operation keeps all entries of its one input.

    Returns:
        The constant; None if the shapes do not fit, or if it would be far larger, or far more work, than what is
        stored.
    """
    depth = 1 + max((constant.depth for constant in inputs), default=_DEEPEST)
    if shape is None or depth > _DEEPEST:
        return None
    leaves = {leaf for constant in inputs for leaf in constant.leaves()}
    entries, size = sum(leaf.num_entries for leaf in leaves), prod(shape)
    work = sum(constant.work for constant in inputs) + (0 if is_plain else size)
    if size > _GROWTH * entries + _ALLOWANCE or work > _MOST_WORK * entries + _ALLOWANCE:
        return None
    marked = frozenset(leaf for c in companions for leaf in c.leaves()).union(*(c.companions for c in inputs))
    return Constant(
        tuple(shape),
        inputs[0].dtype if dtype is None else dtype,
        inputs=tuple(inputs),
        operation=operation,
        companions=marked,
        depth=depth,
        work=work,
        is_plain=is_plain and all(constant.is_plain for constant in inputs),
    )


def numbers(constant: Constant | None) -> list[int] | None:
    """Returns the values of a short constant of integers, None if it is anything else.

    Raises:
        CheckpointError: If its values are damaged.
    """
    if constant is None or constant.is_floating or constant.dtype.is_complex:
        return None
    if any(leaf.num_entries > _MOST_NUMBERS for leaf in constant.leaves()) or constant.num_entries > _MOST_NUMBERS:
        return None
    try:
        return [int(value) for value in constant.evaluate().reshape(-1).tolist()]
    except RemoteError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, OverflowError):
        return None
