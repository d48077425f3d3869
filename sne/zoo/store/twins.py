"""Runs that began alike on different images, and that no split may therefore part."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

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
    names = [name for name in table.column_names if name.startswith(HYPERPARAMETER_PREFIX)]
    if not names or not any("/" in run for run in runs):
        return runs
    first_rows = {run: row for row, run in reversed(list(enumerate(runs)))}
    rows = sorted(first_rows.values())
    notes = table.select(["run", "family", "dataset", *names]).take(rows).to_pylist()
    alike: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for note in notes:
        hyperparameters = tuple(repr(note[name]) for name in names)
        alike[note["run"].rsplit("/", 1)[-1], note["family"], hyperparameters].append(note)
    group_of = {run: run for run in first_rows}
    for twins in alike.values():
        if _are_twins(twins, names):
            group_of |= {note["run"]: twins[0]["run"] for note in twins}
    return [group_of[run] for run in runs]


def _are_twins(notes: Sequence[dict[str, Any]], names: Sequence[str]) -> bool:
    """Whether runs that are called alike have noted hyper-parameters and data sets of their own."""
    datasets = {note["dataset"] for note in notes} - {None}
    return len(datasets) == len(notes) and any(notes[0][name] is not None for name in names)
