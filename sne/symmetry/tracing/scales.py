"""Scales of neurons as unknown exponents, and the linear equations between them.

Every place where neurons occur on a traced tensor has three unknown exponents: of a positive scale, of a sign, and of a
mixing matrix. Operations relate them by linear equations: over the rationals for positive scales (a product adds, a
square doubles), modulo 2 for signs, and for mixings 1 for the matrix and -1 for its inverse transpose. Every solution
leaves the network's function unchanged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm

Expression = Mapping[int, Fraction]
"""A linear expression: from unknowns to their coefficients, none of which is 0."""


class LinearSystem:
    """Homogeneous linear equations `expression = 0` with few terms each, and their solutions.

    Args:
        modulus: 2 for equations between signs; None for equations over the rationals.
    """

    def __init__(self, modulus: int | None = None) -> None:
        self.modulus = modulus
        self._solved: dict[int, Expression] = {}

    def combine(self, *terms: tuple[Expression, Fraction | int]) -> Expression:
        """Returns the sum of expressions, each multiplied by a number."""
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
        """Returns an equal expression that contains free unknowns only."""
        while True:
            bound = [variable for variable in expression if variable in self._solved]
            if not bound:
                return expression
            free = {variable: value for variable, value in expression.items() if variable not in self._solved}
            terms = [(self._solved[variable], expression[variable]) for variable in bound]
            expression = self.combine((free, 1), *terms)

    def solutions(self, variables: Iterable[int]) -> list[dict[int, int]]:
        """Returns a basis of all solutions, in integers without a common divisor.

        Args:
            variables: Unknowns to report.

        Returns:
            One mapping per solution, from unknowns to their values. Values of 0 and solutions of zeros only are left
            out.
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


@dataclass(frozen=True, slots=True)
class Scales:
    """Exponents of one group of neurons at one place, as linear expressions in the unknowns of the parameters.

    Args:
        positive: Exponent of the positive scale.
        sign: Exponent of the sign, modulo 2.
        mixing: Exponent of the matrix that mixes the neurons.
    """

    positive: Expression = field(default_factory=dict)
    sign: Expression = field(default_factory=dict)
    mixing: Expression = field(default_factory=dict)


UNSCALED = Scales()


@dataclass(frozen=True, slots=True)
class Passing:
    """The way in which an elementwise function f passes on the scales of its input.

    Args:
        positive: Exponent p with f(s x) = s^p f(x) for all s > 0; None if there is none.
        sign: Exponent p with f(-x) = (-1)^p f(x); None if there is none.
        mixing: Whether f is linear.
    """

    positive: Fraction | int | None = None
    sign: int | None = None
    mixing: bool = False


LINEAR = Passing(1, 1, True)
RELU_LIKE = Passing(1)
ODD = Passing(None, 1)
EVEN = Passing(None, 0)
NONLINEAR = Passing()
