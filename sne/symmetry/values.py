"""What stands for a tensor while a network is traced."""

from collections.abc import Sequence
from dataclasses import dataclass

from sne.symmetry.axes import ONE, Axis


@dataclass(frozen=True)
class Value:
    """A tensor: its axes.

    Args:
        axes: one for each dimension.
        from_parameters: whether parameters went into it.
        uniform: dimensions along which all entries are surely the same. They tie no axes to each other: each operation
            that reads them sees axes of its own.
        is_zero: whether all entries are surely zero.
    """

    axes: tuple[Axis, ...]
    from_parameters: bool = False
    uniform: frozenset[int] = frozenset()
    is_zero: bool = False

    def rearranged(self, order: Sequence[int | None]) -> "Value":
        """The value with its dimensions in another order; None for a new one of size 1, others are left out."""
        axes = tuple(ONE if dim is None else self.axes[dim] for dim in order)
        uniform = frozenset(place for place, dim in enumerate(order) if dim in self.uniform)
        return Value(axes, self.from_parameters, uniform, self.is_zero)

    def with_axis(self, dim: int, axis: Axis) -> "Value":
        """The value with another axis in place of one; no longer uniform there."""
        axes = (*self.axes[:dim], axis, *self.axes[dim + 1 :])
        return Value(axes, self.from_parameters, self.uniform - {dim}, self.is_zero)


@dataclass(frozen=True)
class Stack:
    """A tensor in slices that the network takes apart again: queries, keys and values, each with axes of its own.

    Args:
        dim: dimension that the slices stand along.
        parts: the slices, without that dimension.
    """

    dim: int
    parts: tuple[Value, ...]


Result = Value | Stack | tuple[Value | Stack | None, ...] | None
