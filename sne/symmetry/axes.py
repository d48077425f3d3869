"""Axes of traced values: concatenations of products of atoms.

An axis is a tuple of segments, one after the other; a segment is a tuple of factors, outermost first; a factor is a
leaf, or an axis nested in a product, such as two halves in each head. A segment without factors has one entry.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from sne.symmetry.scales import UNSCALED, Scales


class Atom:
    """Entries of an axis that are not told apart, n of them, until something tells them apart.

    Args:
        number: rises with every atom.
        size: number of entries.
        fixed: why its entries may not move; None while they may.
    """

    __slots__ = ("binding", "fixed", "number", "size")

    def __init__(self, number: int, size: int, fixed: str | None) -> None:
        self.number = number
        self.size = size
        self.fixed = fixed
        self.binding: Any = None  # another atom, or the axis this one turned out to be

    def find(self) -> "Atom":
        """The atom that this one was found to be the same as."""
        atom = self
        while isinstance(atom.binding, Atom):
            atom = atom.binding
        return atom


@dataclass(frozen=True, slots=True)
class Leaf:
    """An atom on an axis, and how its entries are scaled there."""

    atom: Atom
    scales: Scales = UNSCALED


@dataclass(frozen=True, slots=True)
class Nest:
    """A concatenation inside a product."""

    axis: tuple[Any, ...]


Factor = Leaf | Nest
Segment = tuple[Any, ...]  # of factors
Axis = tuple[Any, ...]  # of segments

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
    """The axis in what its atoms turned out to be; nests stand only where products need them."""
    return tuple(found for segment in axis for found in _resolve_segment(segment))


def join(outer: Axis, inner: Axis) -> Axis:
    """The axis of all pairs of entries, as flattening makes it. Inverse: `Structure.split`."""
    if axis_size(outer) == 1:
        return inner
    if axis_size(inner) == 1:
        return outer
    inner = resolve(inner)
    tail = inner[0] if len(inner) == 1 else (Nest(inner),)
    return tuple((*segment, *tail) for segment in resolve(outer))


def leaves(axis: Axis) -> Iterator[Leaf]:
    """Every leaf, in order."""
    for segment in axis:
        for factor in segment:
            if isinstance(factor, Leaf):
                yield factor
            else:
                yield from leaves(factor.axis)


def skeleton(axis: Axis) -> Any:
    """The resolved axis without scales: equal for axes of one structure."""
    return tuple(
        tuple(factor.atom.number if isinstance(factor, Leaf) else skeleton(factor.axis) for factor in segment)
        for segment in axis
    )


def with_scales(axis: Axis, change: Callable[[Leaf], Scales]) -> Axis:
    """The resolved axis with other scales."""
    return tuple(
        tuple(
            Leaf(factor.atom, change(factor)) if isinstance(factor, Leaf) else Nest(with_scales(factor.axis, change))
            for factor in segment
        )
        for segment in resolve(axis)
    )


def concatenate(axes: Iterable[Axis]) -> Axis:
    """The axes one after the other."""
    return tuple(segment for axis in axes for segment in axis)


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
