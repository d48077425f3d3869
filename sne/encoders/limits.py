"""Limits on the memory and the time that reading a network may take."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from sne.errors import SneError

DEFAULT_MEMORY = 10**9
"""Resident size of the process, in bytes, up to which memory is used freely if no limit is given."""

LEAST_SPARE = 1 << 26
"""Number of bytes that reading a network takes at least."""


@dataclass(frozen=True)
class Limits:
    """Limits within which an encoder reads networks; an encoder may need less than they allow.

    Args:
        memory: Largest resident size of the process, in bytes; None for the encoder's own bound.
        budget: Number of weights that are read of a network at most, apart from the least that every tensor gives;
            None to read all of them. A larger network is represented by a sample.
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

    def halves(self) -> tuple["Limits", "Limits"]:
        """Returns limits of two independent samples that keep the budget together; their difference shows the error."""
        half = None if self.budget is None else max(1, self.budget // 2)
        return replace(self, budget=half, seed=2 * self.seed), replace(self, budget=half, seed=2 * self.seed + 1)

    def spare_memory(self) -> int:
        """Returns the number of bytes by which the process may still grow.

        Returns:
            At least `LEAST_SPARE` if no limit is given: a process near or above `DEFAULT_MEMORY` may grow by that.

        Raises:
            SneError: The process is so large already that the limit cannot be kept.
        """
        resident = resident_size()
        if self.memory is None:
            return max(DEFAULT_MEMORY - resident, LEAST_SPARE)
        if self.memory - resident < LEAST_SPARE:
            raise SneError(
                f"the memory limit is {_megabytes(self.memory)} and the process takes {_megabytes(resident)} already; "
                f"expected a limit of {_megabytes(resident + LEAST_SPARE)} or more"
            )
        return self.memory - resident


def resident_size() -> int:
    """Returns the resident size of the process in bytes; its largest so far where only that is known."""
    status = Path("/proc/self/statm")
    if status.exists():
        import resource

        return int(status.read_text().split()[1]) * resource.getpagesize()
    if sys.platform == "win32":
        return 0  # unknown without further packages
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def _megabytes(size: int) -> str:
    return f"{-(-size // 10**6)} MB"
