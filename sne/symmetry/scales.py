"""How an entry is scaled, as unknowns: the exponents of a neuron's scale, sign and mixing matrix.

Every place where neurons sit on a value has three unknown exponents. Operations relate them by linear equations:
over the rationals for positive scales (a product adds, a square doubles), modulo 2 for signs, and for mixings
1 for the matrix and -1 for its inverse transpose. What solves all equations leaves the function alone.
"""

from dataclasses import dataclass, field
from fractions import Fraction

from sne.symmetry.linear import Expression


@dataclass(frozen=True, slots=True)
class Scales:
    """Exponents, as linear expressions in the unknowns of the parameters.

    Args:
        positive: of the neuron's positive scale.
        sign: of its sign, modulo 2.
        mixing: of the matrix that mixes the neurons.
    """

    positive: Expression = field(default_factory=dict)
    sign: Expression = field(default_factory=dict)
    mixing: Expression = field(default_factory=dict)


UNSCALED = Scales()


@dataclass(frozen=True, slots=True)
class Passing:
    """What a function of single entries does with scaled entries.

    Args:
        positive: f(s x) = s^positive f(x) for s > 0; None where there is no such power.
        sign: f(-x) = (-1)^sign f(x); None where neither holds.
        mixing: whether f is linear.
    """

    positive: Fraction | int | None = None
    sign: int | None = None
    mixing: bool = False


LINEAR = Passing(1, 1, True)
RELU_LIKE = Passing(1)
ODD = Passing(None, 1)
EVEN = Passing(None, 0)
NONLINEAR = Passing()
