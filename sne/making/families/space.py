"""Hyper-parameter spaces: what one network's settings are drawn from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Dimension(Protocol):
    """What one hyper-parameter is drawn from."""

    def sample(self, rng: np.random.Generator) -> Any:
        """One value."""
        ...


@dataclass(frozen=True)
class Choice:
    """One of several values, each as likely as the others; one that stands twice is twice as likely.

    Args:
        values: to choose from, at least one.
        allowed: what a recipe may put in their place; None leaves that to the hyper-parameter's name, or, where
            the name says nothing, to the values' kind.
    """

    values: tuple[Any, ...]
    allowed: tuple[Any, ...] | None = None

    def sample(self, rng: np.random.Generator) -> Any:
        """One of the values."""
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class Uniform:
    """A number between two bounds; one of the whole numbers from low to high if these are asked for."""

    low: float
    high: float
    whole: bool = False

    def sample(self, rng: np.random.Generator) -> float | int:
        """One number."""
        if self.whole:
            return int(rng.integers(round(self.low), round(self.high) + 1))
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is uniform; rounded if whole numbers are asked for."""

    low: float
    high: float
    whole: bool = False

    def sample(self, rng: np.random.Generator) -> float | int:
        """One number."""
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return round(value) if self.whole else value


Space = Mapping[str, Dimension]


def sample(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """Draws one value of every dimension, in the order of the space."""
    return {name: dimension.sample(rng) for name, dimension in space.items()}
