"""The constraints that operations impose: axes that move together, and equations between scales."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import count
from typing import final

from sne.symmetry.tracing.axes import Axis, Leaf, Value, leaves, resolve, skeleton, with_scales
from sne.symmetry.tracing.scales import Expression, LinearSystem, Passing, Scales
from sne.symmetry.tracing.structure import Structure


@final
class Constraints(Structure):
    """The structure of all axes and the equations between their scales; the rules of operations add to it.

    Attributes:
        values: All values that exist while the network runs.
        positive: Equations between exponents of positive scales.
        sign: Equations between exponents of signs, modulo 2.
        mixing: Equations between exponents of mixing matrices.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Value] = []
        self.start_pass()

    def start_pass(self) -> None:
        """Starts a pass over the graph: drops the equations and values of the previous one."""
        self.values.clear()
        self.positive, self.sign, self.mixing = LinearSystem(), LinearSystem(2), LinearSystem()
        self._variables = count()

    def record(self, value: Value) -> None:
        """Records a value that exists while the network runs, including values inside an operation."""
        self.values.append(value)

    def with_unknowns(self, axis: Axis) -> Axis:
        """Returns the axis with new unknown scales on every leaf."""

        def unknown(leaf: Leaf) -> Scales:
            variable: Expression = {next(self._variables): Fraction(1)}
            return Scales(variable, variable, variable)

        return with_scales(axis, unknown)

    def equate(self, one: Axis, other: Axis) -> None:
        """Unifies two axes and makes their scales equal."""
        self.unify(one, other)
        self._relate(one, other, -1)

    def contract(self, one: Axis, other: Axis) -> None:
        """Unifies two axes whose entries are multiplied and summed: their scales are inverse to each other."""
        self.unify(one, other)
        self._relate(one, other, 1)

    def forbid_scaling(self, *axes: Axis) -> None:
        """Forbids scales on axes."""
        for axis in axes:
            for leaf in leaves(resolve(axis)):
                self._require_zero(leaf.scales)

    def fix(self, axis: Axis, reason: str) -> None:
        """Fixes an axis: its entries neither move nor scale."""
        self.forbid_moves(axis, reason)
        self.forbid_scaling(axis)

    def fix_all(self, value: Value, reason: str) -> None:
        """Fixes all axes of a value."""
        for axis in value.axes:
            self.fix(axis, reason)

    def pass_through(self, axis: Axis, passing: Passing) -> Axis:
        """Returns the axis after an elementwise function, and forbids the scales that do not pass it."""

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
        """Returns the axis of elementwise products: exponents of scales add up, mixing is forbidden.

        Args:
            axes: Axes of the factors, which this method unifies.
            powers: 1 per factor or -1 per divisor; None if all are factors.
        """
        powers = powers or [1] * len(axes)
        if powers == [1]:
            return axes[0]
        for other in axes[1:]:
            self.unify(axes[0], other)
        several = [resolve(axis) for axis in axes]
        if len({skeleton(axis) for axis in several}) > 1:
            self.forbid_scaling(*several)
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
        """Adds the equations `one + times * other = 0` for every leaf."""
        one, other = resolve(one), resolve(other)
        if skeleton(one) != skeleton(other):
            self.forbid_scaling(one, other)
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
