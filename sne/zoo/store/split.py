"""A split of a zoo into train, validation and test, and its file."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sne.errors import ZooError
from sne.work import write_atomically

SPLIT = "split.json"
PIECES = ("train", "val", "test")
_MOST_REASON = 200  # characters


@dataclass(frozen=True)
class Split:
    """The runs for training, validation and test. A run is in at most one of the three.

    Args:
        train: Runs whose networks are learned from.
        val: Runs that choose settings, and when training stops.
        test: Runs that are only measured on.

    Raises:
        ZooError: A run is named twice.

    Example:
        >>> split = Split(train=("a", "b"), val=(), test=("c",))
        >>> split.rows(["a", "a", "c"], "train")
        array([0, 1])
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = Counter(self.train + self.val + self.test)
        if len(counts) < counts.total():
            raise ZooError(f"split: run {counts.most_common(1)[0][0]!r} is named more than once")

    def rows(self, runs: Sequence[str], piece: str) -> np.ndarray:
        """Returns the rows of one piece.

        Args:
            runs: Run of every row, `zoo.runs`.
            piece: "train", "val" or "test"; or "all" for every row, including those whose run the split does not name.

        Returns:
            Row numbers in ascending order.
        """
        if piece == "all":
            return np.arange(len(runs))
        if piece not in PIECES:
            raise ZooError(f"split {piece!r} is not known, expected train, val, test or all")
        chosen = set(getattr(self, piece))
        return np.array([i for i, run in enumerate(runs) if run in chosen], dtype=np.int64)

    @classmethod
    def load(cls, path: Path | str) -> "Split":
        """Reads {"train": [...], "val": [...], "test": [...]}. Inverse of `save`.

        Raises:
            ZooError: The file is not of that form.
        """
        try:
            values = json.loads(Path(path).read_text())
            pieces = [tuple(_run(run) for run in values[name]) for name in PIECES]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = repr(error)[:_MOST_REASON]
            raise ZooError(f"{path}: expected lists of runs under train, val and test ({reason})") from None
        return cls(*pieces)

    def save(self, path: Path | str) -> None:
        """Writes the split as JSON. Inverse of `load`."""
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")


def _run(name: Any) -> str:
    if not isinstance(name, str | int):
        raise TypeError(f"a run is a {type(name).__name__}")
    return str(name)
