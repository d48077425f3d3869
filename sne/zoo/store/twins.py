"""Runs that began alike on different images, and that no split may therefore part."""

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa

from sne.zoo.store.index import HYPERPARAMETER_PREFIX


def group_runs(table: pa.Table) -> list[str]:
    """The group of each row: runs of one group belong into one piece of a split.

    Most runs are a group of their own, and give it their name. Twins share one: runs of one family with the same
    hyper-parameters, each on a data set of its own, whose names differ only before the last "/". Zoos that were made
    with one seed from several image sets and then merged with prefixes are full of them. They had the same first
    weights, so a network that is learned from gives its twin away.

    Args:
        table: the rows of a zoo.

    Returns:
        For each row the name of its group: that of its run, or of the first of the twins in the table.
    """
    runs: list[str] = table["run"].to_pylist()
    if not any("/" in run for run in runs):
        return runs
    alike: dict[Any, list[tuple[str, Any]]] = defaultdict(list)
    for run, (key, dataset) in _origins(table).items():
        alike[key].append((run, dataset))
    group_of = {run: run for run in runs}
    for key, twins in alike.items():
        datasets = {dataset for _, dataset in twins} - {None}
        if key is not None and len(datasets) == len(twins):
            group_of |= {run: twins[0][0] for run, _ in twins}
    return [group_of[run] for run in runs]


def has_twin(table: pa.Table, learned: pa.Table) -> np.ndarray:
    """Tells the rows whose run has a twin on another data set among rows that were learned from.

    Args:
        table: rows of a zoo.
        learned: rows of a zoo, the same or another.

    Returns:
        Booleans, one a row of `table`.
    """
    datasets: dict[Any, set[Any]] = defaultdict(set)
    for key, dataset in _origins(learned).values():
        datasets[key].add(dataset)
    twin: dict[str, bool] = {}
    for run, (key, dataset) in _origins(table).items():
        twin[run] = key is not None and dataset is not None and bool(datasets[key] - {None, dataset})
    return np.array([twin[run] for run in table["run"].to_pylist()], dtype=bool)


def _origins(table: pa.Table) -> dict[str, tuple[Any, str | None]]:
    """Of each run what it has in common with its twins, None where no hyper-parameters are noted, and its data set."""
    first_rows: dict[str, int] = {}
    for row, run in enumerate(table["run"].to_pylist()):
        first_rows.setdefault(run, row)
    names = [name for name in table.column_names if name.startswith(HYPERPARAMETER_PREFIX)]
    notes = table.select(["run", "family", "dataset", *names]).take(list(first_rows.values()))
    origins: dict[str, tuple[Any, str | None]] = {}
    for note in notes.to_pylist():
        noted = tuple((name, repr(note[name])) for name in sorted(names) if note[name] is not None)
        key = (note["run"].rsplit("/", 1)[-1], note["family"], noted) if noted else None
        origins[note["run"]] = key, note["dataset"]
    return origins
