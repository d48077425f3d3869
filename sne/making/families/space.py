"""Hyper-parameter spaces, and how they are written in TOML and JSON.

A single value is fixed, a list is a choice, and a range is a table: {uniform = [0.0, 0.3]} or
{log_uniform = [5e-4, 5e-2]}, with whole = true for whole numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sne.errors import ZooError


@runtime_checkable
class Dimension(Protocol):
    """The values that one hyper-parameter is drawn from."""

    def sample(self, rng: np.random.Generator) -> Any:
        """Draws one value."""
        ...


@dataclass(frozen=True)
class Choice:
    """One of several values with equal probabilities. A value that occurs twice is twice as likely.

    Args:
        values: Values to choose from, at least one.
        allowed: Values that a recipe may give instead. By default they follow from the name of the hyper-parameter,
            or else from the type of the values.
    """

    values: tuple[Any, ...]
    allowed: tuple[Any, ...] | None = None

    def sample(self, rng: np.random.Generator) -> Any:
        """Draws one of the values."""
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class Uniform:
    """A number between two bounds, or a whole number from low to high."""

    low: float
    high: float
    whole: bool = False

    def sample(self, rng: np.random.Generator) -> float | int:
        """Draws one number."""
        if self.whole:
            return int(rng.integers(round(self.low), round(self.high) + 1))
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is uniform. It is rounded if `whole` is true."""

    low: float
    high: float
    whole: bool = False

    def sample(self, rng: np.random.Generator) -> float | int:
        """Draws one number."""
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return round(value) if self.whole else value


Space = Mapping[str, Dimension]


def sample(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """Draws one value of every dimension, in the order of the space."""
    return {name: dimension.sample(rng) for name, dimension in space.items()}


_RANGES: dict[str, type[Uniform] | type[LogUniform]] = {"uniform": Uniform, "log_uniform": LogUniform}
_FORMS = "a value, a list of values, {uniform = [low, high]} or {log_uniform = [low, high]}"


def space_to_plain(space: Space) -> dict[str, Any]:
    """Returns every dimension as a plain value. Inverse: `dimension_from_plain` of each."""
    return {name: dimension_to_plain(dimension) for name, dimension in space.items()}


def dimension_to_plain(dimension: Dimension) -> Any:
    """Returns a dimension as a plain value. Inverse: `dimension_from_plain`."""
    if isinstance(dimension, Choice):
        return dimension.values[0] if len(dimension.values) == 1 else list(dimension.values)
    for name, kind in _RANGES.items():
        if isinstance(dimension, kind):
            if dimension.whole:
                return {name: [round(dimension.low), round(dimension.high)], "whole": True}
            return {name: [dimension.low, dimension.high]}
    raise ZooError(f"{dimension!r} cannot be written down, expected Choice, Uniform or LogUniform")


def dimension_from_plain(value: Any, where: str) -> Dimension:
    """Returns a dimension from its plain value. Inverse of `dimension_to_plain`.

    Args:
        value: Value as read from TOML or JSON.
        where: Name of the hyper-parameter in error messages.

    Raises:
        ZooError: The value has none of the forms, or a range has its larger bound first or no logarithm.
    """
    if isinstance(value, dict):
        return _range(value, where)
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not values:
        raise ZooError(f"{where}: the list is empty, expected at least one value")
    for one in values:
        if not isinstance(one, str | bool | int | float):
            raise ZooError(f"{where}: got {one!r}, expected {_FORMS}")
        _check_finite(one, where)
    return Choice(values)


def _range(table: dict[str, Any], where: str) -> Dimension:
    names = [name for name in table if name != "whole"]
    if len(names) != 1 or names[0] not in _RANGES:
        raise ZooError(f"{where}: got {table}, expected {_FORMS}")
    name = names[0]
    bounds, whole = table[name], table.get("whole", False)
    if not isinstance(whole, bool):
        raise ZooError(f"{where}: whole is {whole!r}, expected true or false")
    if not isinstance(bounds, list) or len(bounds) != 2 or not all(_is_number(bound) for bound in bounds):
        raise ZooError(f"{where}: {name} is {bounds!r}, expected [low, high]")
    low, high = bounds
    _check_finite(low, where)
    _check_finite(high, where)
    if low > high:
        raise ZooError(f"{where}: {name} runs from {low} to {high}, expected the low end first")
    if name == "log_uniform" and low <= 0:
        raise ZooError(f"{where}: log_uniform begins at {low}, expected a number above 0")
    if whole and not all(float(bound).is_integer() for bound in bounds):
        raise ZooError(f"{where}: {name} is {bounds}, expected whole ends with whole = true")
    return _RANGES[name](float(low), float(high), whole)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_finite(value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ZooError(f"{where}: got {value}, expected a finite number")
