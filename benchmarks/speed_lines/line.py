"""What a line of the table is, and what measuring it gives."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Floor:
    """Least work that a task takes on any implementation, as far as it is counted.

    Args:
        bytes: Bytes that are read or written.
        multiply_adds: Multiply-adds in float32.
        exponentials: Exponentials.
        seconds: Least time of these on the machine; None where it was not computed.
        of: What is counted.
    """

    bytes: float = 0.0
    multiply_adds: float = 0.0
    exponentials: float = 0.0
    seconds: float | None = None
    of: str = ""


@dataclass(frozen=True)
class Reading:
    """One comparison of a line.

    Args:
        what: What was done by us.
        opponent: What it is compared with, in the same run.
        ours: Median wall time of ours in seconds; for quantities other than times, the quantity.
        theirs: The same of the opponent.
        target: Value that the ratio has to reach; None for a comparison without a target.
        at_least: Whether the ratio is theirs / ours and has to be the target or more, rather than ours / theirs and
            the target or less.
        cpu_ratio: The ratio in CPU time, which a busy machine distorts less; None where it was not measured.
        threads: Threads of both.
        repeats: Measurements that the medians are of.
        peak: Largest resident size of our process in bytes; None where it was not measured.
        most_peak: Largest size allowed; None for no limit.
        unit: Unit of `ours` and `theirs`.
        floor: Least work.
        notes: Remarks for the table.
    """

    what: str
    opponent: str
    ours: float
    theirs: float
    target: float | None
    at_least: bool = False
    cpu_ratio: float | None = None
    threads: int = 1
    repeats: int = 1
    peak: float | None = None
    most_peak: float | None = None
    unit: str = "s"
    floor: Floor = field(default_factory=Floor)
    notes: Sequence[str] = ()

    @property
    def ratio(self) -> float:
        """Ratio that the target is about."""
        return self.theirs / self.ours if self.at_least else self.ours / self.theirs

    @property
    def is_met(self) -> bool | None:
        """Whether the ratio and the peak reach their targets; None without a target."""
        if self.target is None:
            return None
        reached = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return reached and not (self.peak and self.most_peak and self.peak > self.most_peak)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, the derived ones included. Inverse: `from_json`."""
        return {**asdict(self), "notes": list(self.notes), "ratio": self.ratio, "is_met": self.is_met}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Reading":
        """Returns the reading of which `to_json` gave the values."""
        own = {name: value for name, value in values.items() if name not in ("ratio", "is_met")}
        return cls(**{**own, "floor": Floor(**own["floor"]), "notes": tuple(own["notes"])})


@dataclass(frozen=True)
class Setting:
    """Where and how lines are measured.

    Args:
        work: Folder for files that several lines need.
        threads: Threads of torch and NumPy.
    """

    work: Path
    threads: int


class Skipped(Exception):
    """The line cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Args:
        name: Name for `--only`.
        measure: Measures the line; raises `Skipped` where it cannot be measured. Readings that it has yielded are kept
            if the rest takes too long.
        seconds: Time after which measuring is given up.
        large_files: Names of files in the work folder that do not outlive the line, even if it is given up.
    """

    name: str
    measure: Callable[[Setting], Iterable[Reading]]
    seconds: float
    large_files: Sequence[str] = ()
