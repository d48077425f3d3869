"""Splitting a zoo into train, validation and test by training run."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sne.errors import ZooError
from sne.zoo.store.columns import HYPERPARAMETER_PREFIX
from sne.zoo.store.split import PIECES, Split


def join_splits(splits: Sequence[tuple[str, Split]]) -> Split:
    """Joins the pieces of several splits. A run that several splits have in the same piece counts once.

    Args:
        splits: Name of each split, for messages, and the split.

    Raises:
        ZooError: Two splits have a run in different pieces.
    """
    places: dict[str, tuple[str, str]] = {}
    for where, split in splits:
        for piece in PIECES:
            for run in getattr(split, piece):
                other, first = places.setdefault(run, (piece, where))
                if other != piece:
                    raise ZooError(f"{where}: the split has run {run!r} in {piece}, that of {first} in {other}")
    pieces: dict[str, list[str]] = {name: [] for name in PIECES}
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
    """Draws a split that keeps all checkpoints of a run together, and all runs of a group.

    Args:
        runs: Run of every row.
        val: Fraction of the runs for validation, in [0, 1).
        test: Fraction of the runs for test, in [0, 1).
        seed: Random seed; the split does not depend on the order of the rows.
        families: Family of every row; if given, each family is split in these fractions.
        groups: Group of every row, `zoo.groups`; the fractions then count groups. Without it, every run is a group.

    Returns:
        The split, with sorted pieces. If there are three groups or more, every piece whose fraction is above zero
        gets at least one.

    Raises:
        ZooError: The fractions leave no run for training, or a run is in two families or groups.

    Example:
        >>> split_by_run(["a", "a", "b", "c"], val=0.0, test=0.4)
        Split(train=('a', 'b'), val=(), test=('c',))
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ZooError(f"split fractions val={val}, test={test}: expected each in [0, 1) and a sum below 1")
    for name, of_rows in (("families", families), ("groups", groups)):
        if of_rows is not None and len(of_rows) != len(runs):
            raise ZooError(f"{len(of_rows)} {name} for {len(runs)} rows, expected one per row")
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
    pieces: dict[str, list[str]] = {name: [] for name in PIECES}
    for family in sorted(by_family):
        order = [str(group) for group in rng.permutation(sorted(by_family[family]))]
        least = 1 if len(order) >= 3 else 0
        num_val = max(round(val * len(order)), least if val > 0 else 0)
        num_test = max(round(test * len(order)), least if test > 0 else 0)
        pieces["val"] += order[:num_val]
        pieces["test"] += order[num_val : num_val + num_test]
        pieces["train"] += order[num_val + num_test :]
    return Split(*(tuple(sorted(run for group in pieces[name] for run in members[group])) for name in PIECES))


def group_runs(table: pa.Table) -> list[str]:
    """Returns the group of each row: the runs that a split must keep together.

    Most runs are a group of their own, which is named after the run. Twins share a group: runs of one family with the
    same hyper-parameters, each on another data set, whose names differ only before the last "/". Zoos that were made
    with one seed from several image sets and then merged with prefixes are full of them. Twins started from the same
    weights, so that a predictor that has learned from one network recognises its twin.

    Args:
        table: Rows of a zoo.

    Returns:
        For each row the name of its group: its run, or the first of its twins in the table.
    """
    runs: list[str] = table["run"].to_pylist()
    if not any("/" in run for run in runs):
        return runs
    alike: dict[Any, list[tuple[str, Any]]] = defaultdict(list)
    for run, (origin, dataset) in _origins(table).items():
        alike[origin].append((run, dataset))
    group_of = {run: run for run in runs}
    for origin, twins in alike.items():
        datasets = {dataset for _, dataset in twins} - {None}
        if origin is not None and len(datasets) == len(twins):
            group_of |= {run: twins[0][0] for run, _ in twins}
    return [group_of[run] for run in runs]


def has_twin(table: pa.Table, learned: pa.Table) -> np.ndarray:
    """Finds the rows whose run has a twin on another data set among rows that a predictor has learned from.

    Args:
        table: Rows of a zoo.
        learned: Rows of the same zoo or another.

    Returns:
        One boolean per row of `table`.
    """
    datasets: dict[Any, set[Any]] = defaultdict(set)
    for origin, dataset in _origins(learned).values():
        datasets[origin].add(dataset)
    twin: dict[str, bool] = {}
    for run, (origin, dataset) in _origins(table).items():
        twin[run] = origin is not None and dataset is not None and bool(datasets[origin] - {None, dataset})
    return np.array([twin[run] for run in table["run"].to_pylist()], dtype=bool)


def _origins(table: pa.Table) -> dict[str, tuple[Any, str | None]]:
    """Returns, per run, the values it shares with its twins (None without hyper-parameters), and its data set."""
    first_rows: dict[str, int] = {}
    for row, run in enumerate(table["run"].to_pylist()):
        first_rows.setdefault(run, row)
    names = [name for name in table.column_names if name.startswith(HYPERPARAMETER_PREFIX)]
    notes = table.select(["run", "family", "dataset", *names]).take(list(first_rows.values()))
    origins: dict[str, tuple[Any, str | None]] = {}
    for note in notes.to_pylist():
        noted = tuple((name, repr(note[name])) for name in sorted(names) if note[name] is not None)
        origin = (note["run"].rsplit("/", 1)[-1], note["family"], noted) if noted else None
        origins[note["run"]] = origin, note["dataset"]
    return origins
