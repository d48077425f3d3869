"""Cutting a zoo into train, validation and test by training run."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sne.errors import ZooError
from sne.work import write_atomically

SPLIT = "split.json"


@dataclass(frozen=True)
class Split:
    """Which runs train, select and test. A run is in at most one of them.

    Raises:
        ZooError: a run stands in two pieces.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = Counter(self.train + self.val + self.test)
        if len(counts) < counts.total():
            raise ZooError(f"split: run {counts.most_common(1)[0][0]!r} stands in more than one place")

    def rows(self, runs: Sequence[str], piece: str) -> np.ndarray:
        """The rows of one piece.

        Args:
            runs: the run of every row, `zoo.runs`.
            piece: "train", "val", "test", or "all" for every row, also of runs that the split does not name.

        Returns:
            Row numbers, ascending.
        """
        if piece == "all":
            return np.arange(len(runs))
        if piece not in ("train", "val", "test"):
            raise ZooError(f"split {piece!r} is not known, expected train, val, test or all")
        chosen = set(getattr(self, piece))
        return np.array([i for i, run in enumerate(runs) if run in chosen], dtype=np.int64)

    @classmethod
    def load(cls, path: Path | str) -> "Split":
        """Reads {"train": [...], "val": [...], "test": [...]}. Inverse of `save`.

        Raises:
            ZooError: the file is not of that form.
        """
        try:
            values = json.loads(Path(path).read_text())
            pieces = [tuple(str(run) for run in values[name]) for name in ("train", "val", "test")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ZooError(f"{path}: expected lists of runs under train, val and test ({error!r})") from None
        return cls(*pieces)

    def save(self, path: Path | str) -> None:
        """Writes the split as JSON. Inverse of `load`."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        write_atomically(path, text)


def join_splits(splits: Sequence[tuple[str, Split]]) -> Split:
    """Puts the pieces of several splits together; a run that several name in the same piece counts once.

    Args:
        splits: what messages call each, and the split.

    Raises:
        ZooError: a run stands in different pieces of two splits.
    """
    places: dict[str, tuple[str, str]] = {}
    for where, split in splits:
        for piece in ("train", "val", "test"):
            for run in getattr(split, piece):
                other, first = places.setdefault(run, (piece, where))
                if other != piece:
                    raise ZooError(f"{where}: the split has run {run!r} in {piece}, that of {first} in {other}")
    pieces = {"train": [], "val": [], "test": []}
    for run, (piece, _) in places.items():
        pieces[piece].append(run)
    return Split(**{name: tuple(runs) for name, runs in pieces.items()})


def split_by_run(
    runs: Sequence[str],
    *,
    val: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    families: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> Split:
    """Draws a split in which all checkpoints of one run stay together, and all runs of one group.

    Args:
        runs: the run of every row.
        val: fraction of the runs for validation.
        test: fraction of the runs for the test.
        seed: of the draw; does not depend on the order of the rows.
        families: the family of every row; if given, each family is cut in these fractions by itself.
        groups: the group of every row, `zoo.groups`; the fractions are then of groups. None: each run is its own.

    Returns:
        The split; each piece sorted. Of three groups or more, each piece whose fraction is above zero gets one.

    Raises:
        ZooError: the fractions leave no run to train on.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ZooError(f"split fractions val={val}, test={test}: expected each in [0, 1) and a sum below 1")
    for name, of_rows in (("families", families), ("groups", groups)):
        if of_rows is not None and len(of_rows) != len(runs):
            raise ZooError(f"{len(of_rows)} {name} came for {len(runs)} rows")
    members: dict[str, set[str]] = {}
    for run, group in zip(runs, groups or runs, strict=True):
        members.setdefault(group, set()).add(run)
    if sum(map(len, members.values())) > len(set(runs)):
        raise ZooError("a run has checkpoints of two groups")
    by_family: dict[str, set[str]] = {}
    for i, group in enumerate(groups or runs):
        by_family.setdefault(families[i] if families is not None else "", set()).add(group)
    if sum(map(len, by_family.values())) > len(members):
        raise ZooError(f"a {'run' if groups is None else 'group'} has checkpoints of two families")
    rng = np.random.default_rng(seed)
    pieces: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for family in sorted(by_family):
        order = [str(group) for group in rng.permutation(sorted(by_family[family]))]
        least = 1 if len(order) >= 3 else 0
        num_val = max(round(val * len(order)), least if val > 0 else 0)
        num_test = max(round(test * len(order)), least if test > 0 else 0)
        pieces["val"] += order[:num_val]
        pieces["test"] += order[num_val : num_val + num_test]
        pieces["train"] += order[num_val + num_test :]
    return Split(
        *(tuple(sorted(run for group in pieces[name] for run in members[group])) for name in ("train", "val", "test"))
    )
