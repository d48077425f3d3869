"""Homogeneous linear equations with few terms each, over the rationals or modulo 2."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import gcd, lcm

Expression = Mapping[int, Fraction]  # from variables to coefficients, none of them 0

NOTHING: Expression = {}


class LinearSystem:
    """Equations `expression = 0`, and their solutions.

    Args:
        modulus: 2 for equations of signs; None for rational numbers.
    """

    def __init__(self, modulus: int | None = None) -> None:
        self.modulus = modulus
        self._solved: dict[int, Expression] = {}

    def combine(self, *terms: tuple[Expression, Fraction | int]) -> Expression:
        """The sum of expressions, each times a number."""
        total: dict[int, Fraction] = {}
        for expression, times in terms:
            for variable, coefficient in expression.items():
                value = total.get(variable, 0) + coefficient * times
                total[variable] = Fraction(value % self.modulus if self.modulus else value)
        return {variable: value for variable, value in total.items() if value}

    def require_zero(self, expression: Expression) -> None:
        """Adds the equation `expression = 0`."""
        rest = self.reduce(expression)
        if rest:
            pivot = max(rest)
            others = {variable: value for variable, value in rest.items() if variable != pivot}
            self._solved[pivot] = self.combine((others, -1 / rest[pivot]))

    def reduce(self, expression: Expression) -> Expression:
        """The expression in variables that are free."""
        while True:
            bound = [variable for variable in expression if variable in self._solved]
            if not bound:
                return expression
            free = {variable: value for variable, value in expression.items() if variable not in self._solved}
            terms = [(self._solved[variable], expression[variable]) for variable in bound]
            expression = self.combine((free, 1), *terms)

    def solutions(self, variables: Iterable[int]) -> list[dict[int, int]]:
        """A basis of all solutions, in whole numbers without a common divisor.

        Args:
            variables: whose values are wanted.

        Returns:
            From variables to their values, without those that are 0, and without solutions of zeros alone.
        """
        by_free: dict[int, dict[int, Fraction]] = {}
        for variable in variables:
            for free, value in self.reduce({variable: Fraction(1)}).items():
                by_free.setdefault(free, {})[variable] = value
        found = []
        for _, values in sorted(by_free.items()):
            scale = lcm(*(value.denominator for value in values.values()))
            whole = {variable: int(value * scale) for variable, value in values.items() if value}
            divisor = gcd(*whole.values())
            first = whole[min(whole)]
            divisor = -divisor if first < 0 else divisor
            found.append({variable: value // divisor for variable, value in whole.items()})
        return found
