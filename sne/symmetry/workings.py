"""What the rules of operations work with: axes that unify, and scales that obey equations."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import count

from sne.symmetry.axes import Axis, Leaf, axis_size, leaves, resolve, skeleton, with_scales
from sne.symmetry.linear import Expression, LinearSystem
from sne.symmetry.scales import Passing, Scales
from sne.symmetry.structure import Structure
from sne.symmetry.values import Value


class Workings(Structure):
    """The structure of all axes, and the equations of their scales."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Value] = []
        self.forget_scales()

    def forget_scales(self) -> None:
        """Begins a pass: equations and values of the pass before are dropped."""
        self.values.clear()
        self.positive, self.sign, self.mixing = LinearSystem(), LinearSystem(2), LinearSystem()
        self._variables = count()

    def see(self, value: Value) -> None:
        """Keeps a value that exists while the network runs: neurons move in it too."""
        self.values.append(value)

    def with_unknowns(self, axis: Axis) -> Axis:
        """The axis with scales of its own on every leaf."""

        def unknown(leaf: Leaf) -> Scales:
            variable: Expression = {next(self._variables): Fraction(1)}
            return Scales(variable, variable, variable)

        return with_scales(axis, unknown)

    def same(self, one: Axis, other: Axis) -> None:
        """Makes two axes the same, and equally scaled."""
        self.unify(one, other)
        self._relate(one, other, -1)

    def opposite(self, one: Axis, other: Axis) -> None:
        """Makes two axes the same, where products of their entries are summed: what scales one divides the other."""
        self.unify(one, other)
        self._relate(one, other, 1)

    def unscaled(self, *axes: Axis) -> None:
        """Lets nothing be scaled on axes."""
        for axis in axes:
            for leaf in leaves(resolve(axis)):
                self._require_zero(leaf.scales)

    def hold(self, axis: Axis, reason: str) -> None:
        """Lets nothing move and nothing be scaled on an axis."""
        self.freeze(axis, reason)
        self.unscaled(axis)

    def give_up(self, value: Value, reason: str) -> None:
        """Holds all axes of a value."""
        for axis in value.axes:
            self.hold(axis, reason)

    def passed(self, axis: Axis, passing: Passing) -> Axis:
        """The axis after a function of single entries, which may leave no scale but some."""

        def after(leaf: Leaf) -> Scales:
            scales = leaf.scales
            if passing.positive is None:
                self.positive.require_zero(scales.positive)
            if passing.sign is None:
                self.sign.require_zero(scales.sign)
            if not passing.mixing:
                self.mixing.require_zero(scales.mixing)
            return Scales(
                self.positive.combine((scales.positive, passing.positive)) if passing.positive else {},
                scales.sign if passing.sign else {},
                scales.mixing if passing.mixing else {},
            )

        return with_scales(axis, after)

    def product(self, axes: Sequence[Axis], powers: Sequence[int] | None = None) -> Axis:
        """One axis for entries that are products of entries of several: exponents add; nothing is mixed.

        Args:
            axes: unified here.
            powers: -1 for divisors; None for all 1.
        """
        powers = powers or [1] * len(axes)
        if powers == [1]:
            return axes[0]
        for other in axes[1:]:
            self.unify(axes[0], other)
        several = [resolve(axis) for axis in axes]
        if len({skeleton(axis) for axis in several}) > 1:
            self.unscaled(*several)
            return with_scales(several[0], lambda leaf: Scales())
        columns = iter(list(zip(*(leaves(axis) for axis in several), strict=True)))

        def total(leaf: Leaf) -> Scales:
            column = next(columns)
            for one in column:
                self.mixing.require_zero(one.scales.mixing)
            return Scales(
                self.positive.combine(*((one.scales.positive, p) for one, p in zip(column, powers, strict=True))),
                self.sign.combine(*((one.scales.sign, 1) for one in column)),
            )

        return with_scales(several[0], total)

    def _relate(self, one: Axis, other: Axis, times: int) -> None:
        """Equations `one + times * other = 0` on every leaf."""
        one, other = resolve(one), resolve(other)
        if skeleton(one) != skeleton(other):
            self.unscaled(one, other)
            return
        for left, right in zip(leaves(one), leaves(other), strict=True):
            if left.scales == right.scales and times == -1:
                continue
            for system, first, second in (
                (self.positive, left.scales.positive, right.scales.positive),
                (self.sign, left.scales.sign, right.scales.sign),
                (self.mixing, left.scales.mixing, right.scales.mixing),
            ):
                system.require_zero(system.combine((first, 1), (second, times)))

    def _require_zero(self, scales: Scales) -> None:
        self.positive.require_zero(scales.positive)
        self.sign.require_zero(scales.sign)
        self.mixing.require_zero(scales.mixing)


def sizes(value: Value) -> list[int]:
    """Shape of a value."""
    return [axis_size(axis) for axis in value.axes]
