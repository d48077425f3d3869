"""Unification: which axes must move together. Axes are concatenations and products of atoms."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from sne.symmetry.tracing.axes import (
    ONE,
    Atom,
    Axis,
    Factor,
    Leaf,
    Nest,
    Segment,
    axis_size,
    concatenate,
    factor_size,
    join,
    leaves,
    resolve,
    segment_size,
)

MISMATCH = "not understood: axes that were cut in different ways meet in {}"


class Structure(ABC):
    """All atoms of one trace. The atoms of axes that cannot be matched are fixed.

    Atoms are identified by the place in the graph that requests them, so all passes over a graph share them; each pass
    may divide them further.

    Attributes:
        changes: Number of changes so far; a pass that adds none is the last one.
        place: Current place in the graph.
    """

    def __init__(self) -> None:
        self.changes = 0
        self.place = ""
        self._count = 0
        self._known: dict[tuple[str, int, int], Atom] = {}
        self._numbers = 0

    def enter(self, place: str) -> None:
        """Sets the place in the graph that requests the next atoms."""
        self.place, self._count = place, 0

    def new_axis(self, size: int, fixed: str | None = None) -> Axis:
        """Returns an axis of one atom; the same one whenever this place requests it.

        Args:
            size: Number of entries.
            fixed: Why the entries must stay in place; None if they may move.
        """
        key = (self.place, self._count, size)
        self._count += 1
        if size == 1:
            return ONE
        if key not in self._known:
            self._known[key] = self._atom(size, fixed)
        return self._as_fixed(((Leaf(self._known[key]),),), fixed)

    def forbid_moves(self, axis: Axis, reason: str) -> None:
        """Fixes the places of all entries of an axis."""
        for leaf in leaves(resolve(axis)):
            if leaf.atom.fixed is None:
                leaf.atom.fixed = reason
                self.changes += 1

    def unify(self, one: Axis, other: Axis) -> None:
        """Makes two axes of one size the same, so that their entries move together."""
        left, right = resolve(one), resolve(other)
        while left and right:
            first, second = left[0], right[0]
            sizes = segment_size(first), segment_size(second)
            if sizes[0] == sizes[1]:
                self._unify_segments(first, second)
                left, right = resolve(left[1:]), resolve(right[1:])
                continue
            longer, least = (first, sizes[1]) if sizes[0] > sizes[1] else (second, sizes[0])
            if not self._cut_segment(longer, least):
                self.give_up(left, right)
                return
            left, right = resolve(left), resolve(right)
        if left or right:
            self.give_up(left, right)

    def cut(self, axis: Axis, at: int) -> tuple[Axis, Axis]:
        """Returns the axes of the entries before a position and from it on. Inverse: `concatenate`."""
        axis = resolve(axis)
        start = 0
        for i, segment in enumerate(axis):
            if start == at:
                return axis[:i], axis[i:]
            end = start + segment_size(segment)
            if end > at:
                if self._cut_segment(segment, at - start):
                    return self.cut(axis, at)
                self.give_up(axis)
                return self.new_axis(at, self._mismatch()), self.new_axis(axis_size(axis) - at, self._mismatch())
            start = end
        return axis, ()

    def split(self, axis: Axis, inner: int) -> tuple[Axis, Axis]:
        """Returns the outer and the inner axis of a flattened pair. Inverse: `join`.

        Args:
            axis: Axis whose size is a multiple of `inner`.
            inner: Size of the inner axis.
        """
        axis = resolve(axis)
        if inner == 1:
            return axis, ONE
        if inner == axis_size(axis):
            return ONE, axis
        pairs = [self._split_segment(segment, inner) for segment in axis]
        known = [pair for pair in pairs if pair is not None]
        if len(known) < len(pairs):
            self.give_up(axis)
            return self.new_axis(axis_size(axis) // inner, self._mismatch()), self.new_axis(inner, self._mismatch())
        for _, other in known[1:]:
            self.equate(known[0][1], other)
        return concatenate(outer for outer, _ in known), known[0][1]

    @abstractmethod
    def equate(self, one: Axis, other: Axis) -> None:
        """Unifies two axes and makes their scales equal."""

    def give_up(self, *axes: Axis) -> None:
        """Fixes axes that cannot be matched."""
        for axis in axes:
            self.forbid_moves(axis, self._mismatch())

    def _mismatch(self) -> str:
        return MISMATCH.format(self.place)

    def _atom(self, size: int, fixed: str | None) -> Atom:
        self._numbers += 1
        return Atom(self._numbers, size, fixed)

    def _as_fixed(self, axis: Axis, fixed: str | None) -> Axis:
        if fixed is not None:
            self.forbid_moves(axis, fixed)
        return axis

    def _bind(self, atom: Atom, parts: Sequence[Sequence[Atom]]) -> None:
        assert atom.binding is None
        atom.binding = tuple(tuple(part) for part in parts)
        self.changes += 1
        if atom.fixed is not None:
            self.forbid_moves(((Leaf(atom),),), atom.fixed)

    def _union(self, one: Atom, other: Atom) -> None:
        if one is other:
            return
        kept, gone = (one, other) if one.number < other.number else (other, one)
        kept.fixed = kept.fixed if kept.fixed is not None else gone.fixed
        gone.binding = kept
        self.changes += 1

    def _cut_segment(self, segment: Segment, at: int) -> bool:
        """Cuts the outermost factor so that the segment ends at a position; returns whether that is possible."""
        if not segment:
            return False
        inner = segment_size(segment[1:])
        if at % inner or not isinstance(segment[0], Leaf):
            return False
        atom = segment[0].atom
        self._bind(atom, [[self._atom(at // inner, None)], [self._atom(atom.size - at // inner, None)]])
        return True

    def _split_segment(self, segment: Segment, inner: int) -> tuple[Axis, Axis] | None:
        """Splits a segment into outer factors and inner ones of a given size; None if that is impossible."""
        outers, taken = list(segment), ONE
        while outers and axis_size(taken) < inner:
            factor = outers.pop()
            size, wanted = factor_size(factor), inner // axis_size(taken)
            if inner % axis_size(taken) or (size % wanted and wanted % size):
                return None
            outer, part = (ONE, ((factor,),)) if wanted % size == 0 else self._split_factor(factor, wanted)
            taken = join(part, taken)
            outers.extend(outer[0] if len(outer) == 1 else (Nest(outer),))
        return ((tuple(outers),), taken) if axis_size(taken) == inner else None

    def _split_factor(self, factor: Factor, inner: int) -> tuple[Axis, Axis]:
        axis = resolve(((factor,),))
        found = [leaf for segment in axis for leaf in segment]
        if len(found) > 1:
            return self.split(axis, inner)
        (leaf,) = found
        parts = [self._atom(leaf.atom.size // inner, None), self._atom(inner, None)]
        self._bind(leaf.atom, [parts])
        outer, inside = (((Leaf(part, leaf.scales),),) for part in parts)
        return outer, inside

    def _unify_segments(self, one: Segment, other: Segment) -> None:
        left, right = list(one), list(other)
        while left and right:
            sizes = factor_size(left[-1]), factor_size(right[-1])
            if sizes[0] == sizes[1]:
                self._unify_factors(left.pop(), right.pop())
            else:
                longer, least = (left, sizes[1]) if sizes[0] > sizes[1] else (right, sizes[0])
                if max(sizes) % least:
                    self.give_up((tuple(left),), (tuple(right),))
                    return
                outer, inner = self._split_factor(longer.pop(), least)
                for part in (outer, inner):
                    longer.extend(part[0] if len(part) == 1 else (Nest(part),))
            left, right = (list(_product(factors)) for factors in (left, right))
        if left or right:
            self.give_up((tuple(left),), (tuple(right),))

    def _unify_factors(self, one: Factor, other: Factor) -> None:
        if isinstance(one, Leaf) and isinstance(other, Leaf):
            self._union(one.atom, other.atom)
        elif isinstance(one, Leaf) and isinstance(other, Nest):
            self._bind(one.atom, self._atoms(other.axis))
        elif isinstance(one, Nest) and isinstance(other, Leaf):
            self._bind(other.atom, self._atoms(one.axis))
        elif isinstance(one, Nest) and isinstance(other, Nest):
            self.unify(one.axis, other.axis)

    def _atoms(self, axis: Axis) -> list[list[Atom]]:
        return [[self._as_atom(factor) for factor in segment] for segment in axis]

    def _as_atom(self, factor: Factor) -> Atom:
        if isinstance(factor, Leaf):
            return factor.atom
        atom = self._atom(factor_size(factor), None)
        self._bind(atom, self._atoms(factor.axis))
        return atom


def _product(factors: Sequence[Factor]) -> Segment:
    """Resolves the factors of a product; a concatenation at the front is not distributed."""
    found = resolve((tuple(factors),))
    return found[0] if len(found) == 1 else (Nest(found),)
