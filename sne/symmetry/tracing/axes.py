"""Traced tensors and their axes. An axis is a concatenation of products of atoms.

An axis is a tuple of segments, one after the other. A segment is a tuple of factors, outermost first. A factor is a
leaf, or an axis nested in a product, such as two halves in each head. A segment without factors has one entry.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from sne.symmetry.tracing.scales import UNSCALED, Scales


class Atom:
    """Entries of an axis that no operation has distinguished so far. Later operations may divide the atom further.

    Args:
        number: Unique number; later atoms have larger ones.
        size: Number of entries.
        fixed: Why the entries must stay in place; None as long as they may move.
    """

    __slots__ = ("binding", "fixed", "number", "size")

    def __init__(self, number: int, size: int, fixed: str | None) -> None:
        self.number = number
        self.size = size
        self.fixed = fixed
        self.binding: Any = None  # the atom or the axis that this one was unified with

    def find(self) -> "Atom":
        """Returns the atom that represents this one after unification."""
        atom = self
        while isinstance(atom.binding, Atom):
            atom = atom.binding
        return atom


@dataclass(frozen=True, slots=True)
class Leaf:
    """An atom on an axis, and the scales of its entries there."""

    atom: Atom
    scales: Scales = UNSCALED


@dataclass(frozen=True, slots=True)
class Nest:
    """A concatenation inside a product."""

    axis: tuple[Any, ...]


Factor = Leaf | Nest
Segment = tuple[Any, ...]  # factors
Axis = tuple[Any, ...]  # segments

ONE: Axis = ((),)


def factor_size(factor: Factor) -> int:
    """Number of entries of a factor."""
    return factor.atom.size if isinstance(factor, Leaf) else axis_size(factor.axis)


def segment_size(segment: Segment) -> int:
    """Number of entries of a segment."""
    return prod(factor_size(factor) for factor in segment)


def axis_size(axis: Axis) -> int:
    """Number of entries of an axis."""
    return sum(segment_size(segment) for segment in axis)


def resolve(axis: Axis) -> Axis:
    """Replaces all unified atoms by their representatives. Nests remain only where products need them."""
    return tuple(found for segment in axis for found in _resolve_segment(segment))


def join(outer: Axis, inner: Axis) -> Axis:
    """Returns the axis of all pairs of entries, as flattening does. Inverse: `Structure.split`."""
    if axis_size(outer) == 1:
        return inner
    if axis_size(inner) == 1:
        return outer
    inner = resolve(inner)
    tail = inner[0] if len(inner) == 1 else (Nest(inner),)
    return tuple((*segment, *tail) for segment in resolve(outer))


def leaves(axis: Axis) -> Iterator[Leaf]:
    """Yields every leaf, in order."""
    for segment in axis:
        for factor in segment:
            if isinstance(factor, Leaf):
                yield factor
            else:
                yield from leaves(factor.axis)


def skeleton(axis: Axis) -> Any:
    """Returns the atoms of a resolved axis without scales: equal for axes of equal structure."""
    return tuple(
        tuple(factor.atom.number if isinstance(factor, Leaf) else skeleton(factor.axis) for factor in segment)
        for segment in axis
    )


def with_scales(axis: Axis, change: Callable[[Leaf], Scales]) -> Axis:
    """Returns the resolved axis with new scales, computed from each leaf."""
    return tuple(
        tuple(
            Leaf(factor.atom, change(factor)) if isinstance(factor, Leaf) else Nest(with_scales(factor.axis, change))
            for factor in segment
        )
        for segment in resolve(axis)
    )


def concatenate(axes: Iterable[Axis]) -> Axis:
    """Returns one axis for several, one after the other."""
    return tuple(segment for axis in axes for segment in axis)


@dataclass(frozen=True)
class Value:
    """A traced tensor, represented by its axes instead of numbers.

    Args:
        axes: One axis per dimension.
        from_parameters: Whether the tensor depends on parameters.
        uniform: Dimensions along which all entries are known to be equal. They do not tie axes to each other: each
            operation that reads them receives new axes.
        is_zero: Whether all entries are known to be zero.
    """

    axes: tuple[Axis, ...]
    from_parameters: bool = False
    uniform: frozenset[int] = frozenset()
    is_zero: bool = False

    def rearranged(self, order: Sequence[int | None]) -> "Value":
        """Returns the value with other dimensions.

        Args:
            order: Dimensions of this value in their new order; None for a new dimension of size 1.
        """
        axes = tuple(ONE if dim is None else self.axes[dim] for dim in order)
        uniform = frozenset(place for place, dim in enumerate(order) if dim in self.uniform)
        return Value(axes, self.from_parameters, uniform, self.is_zero)

    def with_axis(self, dim: int, axis: Axis) -> "Value":
        """Returns the value with one axis replaced; it is no longer uniform there."""
        axes = (*self.axes[:dim], axis, *self.axes[dim + 1 :])
        return Value(axes, self.from_parameters, self.uniform - {dim}, self.is_zero)


def sizes(value: Value) -> list[int]:
    """Returns the shape of a value."""
    return [axis_size(axis) for axis in value.axes]


@dataclass(frozen=True)
class Stack:
    """A tensor whose slices the network reads one by one, such as queries, keys and values; each has its own axes.

    Args:
        dim: Dimension along which the slices are stacked.
        parts: Slices, without that dimension.
    """

    dim: int
    parts: tuple[Value, ...]


Result = Value | Stack | tuple[Value | Stack | None, ...] | None
"""Result of a rule; None if the rule does not support the form of the operation."""


def _resolve_segment(segment: Segment) -> list[Segment]:
    factors: list[Factor] = []
    for factor in segment:
        if isinstance(factor, Leaf):
            atom = factor.atom.find()
            if atom.size == 1:
                continue
            if atom.binding is None:
                factors.append(factor if atom is factor.atom else Leaf(atom, factor.scales))
                continue
            inner = resolve(tuple(tuple(Leaf(one, factor.scales) for one in part) for part in atom.binding))
        else:
            inner = resolve(factor.axis)
        factors.extend(inner[0] if len(inner) == 1 else (Nest(inner),))
    return _distribute(tuple(factors))


def _distribute(factors: Segment) -> list[Segment]:
    if not factors or isinstance(factors[0], Leaf):
        return [factors]
    return [found for part in factors[0].axis for found in _distribute((*part, *factors[1:]))]
