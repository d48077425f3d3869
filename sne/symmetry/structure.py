"""Which axes are the same: unification of concatenations and products of atoms."""

from collections.abc import Sequence

from sne.symmetry.axes import (
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

CLASH = "not understood: axes that were cut in different ways meet in {}"


class Structure:
    """All atoms of one trace. Where axes cannot be matched their atoms are fixed: nothing is guessed.

    Atoms are asked for by place, so that the passes over one graph, each finer than the one before, share them.
    """

    def __init__(self) -> None:
        self.changes = 0
        self.place = ""
        self._count = 0
        self._known: dict[tuple[str, int, int], Atom] = {}
        self._numbers = 0

    def enter(self, place: str) -> None:
        """Says where in the graph the next atoms are asked for."""
        self.place, self._count = place, 0

    def fresh(self, size: int, fixed: str | None = None) -> Axis:
        """An axis about which nothing is known yet, or a fixed one."""
        key = (self.place, self._count, size)
        self._count += 1
        if size == 1:
            return ONE
        if key not in self._known:
            self._known[key] = self._atom(size, fixed)
        return self._as_fixed(((Leaf(self._known[key]),),), fixed)

    def freeze(self, axis: Axis, reason: str) -> None:
        """Lets nothing move on an axis."""
        for leaf in leaves(resolve(axis)):
            if leaf.atom.fixed is None:
                leaf.atom.fixed = reason
                self.changes += 1

    def unify(self, one: Axis, other: Axis) -> None:
        """Makes two axes of one size the same: what moves on the one moves likewise on the other."""
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
                self.clash(left, right)
                return
            left, right = resolve(left), resolve(right)
        if left or right:
            self.clash(left, right)

    def cut(self, axis: Axis, at: int) -> tuple[Axis, Axis]:
        """The entries before a place, and those from it on. Inverse: `concatenate`."""
        axis = resolve(axis)
        start = 0
        for i, segment in enumerate(axis):
            if start == at:
                return axis[:i], axis[i:]
            end = start + segment_size(segment)
            if end > at:
                if self._cut_segment(segment, at - start):
                    return self.cut(axis, at)
                self.clash(axis)
                return self.fresh(at, self._clash()), self.fresh(axis_size(axis) - at, self._clash())
            start = end
        return axis, ()

    def split(self, axis: Axis, inner: int) -> tuple[Axis, Axis]:
        """The outer and the inner axis of a flattened pair. Inverse: `join`.

        Args:
            axis: of a size that is a multiple of `inner`.
            inner: size of the inner axis.
        """
        axis = resolve(axis)
        if inner == 1:
            return axis, ONE
        if inner == axis_size(axis):
            return ONE, axis
        pairs = [self._split_segment(segment, inner) for segment in axis]
        known = [pair for pair in pairs if pair is not None]
        if len(known) < len(pairs):
            self.clash(axis)
            return self.fresh(axis_size(axis) // inner, self._clash()), self.fresh(inner, self._clash())
        for _, other in known[1:]:
            self.same(known[0][1], other)
        return concatenate(outer for outer, _ in known), known[0][1]

    def same(self, one: Axis, other: Axis) -> None:
        """Unifies; who follows scales also makes them equal."""
        self.unify(one, other)

    def clash(self, *axes: Axis) -> None:
        """Gives up on axes that cannot be matched."""
        for axis in axes:
            self.freeze(axis, self._clash())

    def _clash(self) -> str:
        return CLASH.format(self.place)

    def _atom(self, size: int, fixed: str | None) -> Atom:
        self._numbers += 1
        return Atom(self._numbers, size, fixed)

    def _as_fixed(self, axis: Axis, fixed: str | None) -> Axis:
        if fixed is not None:
            self.freeze(axis, fixed)
        return axis

    def _bind(self, atom: Atom, parts: Sequence[Sequence[Atom]]) -> None:
        assert atom.binding is None
        atom.binding = tuple(tuple(part) for part in parts)
        self.changes += 1
        if atom.fixed is not None:
            self.freeze(((Leaf(atom),),), atom.fixed)

    def _union(self, one: Atom, other: Atom) -> None:
        if one is other:
            return
        kept, gone = (one, other) if one.number < other.number else (other, one)
        kept.fixed = kept.fixed if kept.fixed is not None else gone.fixed
        gone.binding = kept
        self.changes += 1

    def _cut_segment(self, segment: Segment, at: int) -> bool:
        """Cuts the outermost factor so that the segment ends at a place; False where no factor can be cut so."""
        if not segment:
            return False
        inner = segment_size(segment[1:])
        if at % inner or not isinstance(segment[0], Leaf):
            return False
        atom = segment[0].atom
        self._bind(atom, [[self._atom(at // inner, None)], [self._atom(atom.size - at // inner, None)]])
        return True

    def _split_segment(self, segment: Segment, inner: int) -> tuple[Axis, Axis] | None:
        """The outer factors, and the inner ones of a size; None where no factor can be split so."""
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
                    self.clash((tuple(left),), (tuple(right),))
                    return
                outer, inner = self._split_factor(longer.pop(), least)
                for part in (outer, inner):
                    longer.extend(part[0] if len(part) == 1 else (Nest(part),))
            left, right = (list(_product(factors)) for factors in (left, right))
        if left or right:
            self.clash((tuple(left),), (tuple(right),))

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
    """The factors of a product, resolved; a concatenation at the front is not distributed."""
    found = resolve((tuple(factors),))
    return found[0] if len(found) == 1 else (Nest(found),)
