"""Limits on the memory and the time that reading a network may take."""

from dataclasses import dataclass

from sne.errors import SneError


@dataclass(frozen=True)
class Limits:
    """Limits within which an encoder reads networks; an encoder may need less than they allow.

    Args:
        memory: Largest resident size of the process, in bytes; None for the encoder's own bound.
        budget: Largest number of weights that are read of a network; None to read all of them. A network with more
            weights is represented by a sample.
        seed: Seed of the sample.

    Raises:
        SneError: memory or budget is below 1.

    Example:
        >>> Limits(memory=2 * 10**9, budget=50_000_000).budget
        50000000
    """

    memory: int | None = None
    budget: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("memory", self.memory), ("budget", self.budget)):
            if value is not None and value < 1:
                raise SneError(f"{name} is {value}, expected at least 1")
