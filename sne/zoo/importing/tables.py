"""CSV tables with typed columns."""

import csv
import gzip
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sne.errors import ZooError
from sne.zoo.store.writing import HYPERPARAMETER_PREFIX, Value

Item = TypeVar("Item")


def read_table(path: Path, text: Collection[str] = ()) -> dict[str, list[Value]]:
    """Reads a CSV file, gzipped if its name ends in .gz.

    A column becomes whole numbers, numbers or booleans if all its entries are; otherwise text. Empty entries
    are missing (None), and so is NaN.

    Args:
        path: the file; its first line names the columns.
        text: columns that are text whatever they look like: "007" is a name.

    Returns:
        Columns by name, all of one length.

    Raises:
        ZooError: the file cannot be read, a name comes twice, or a line is of another length.
    """
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ZooError(f"{path} cannot be read: {error}") from None
    if not lines:
        raise ZooError(f"{path} is empty, expected a line of column names")
    names = [name.strip() for name in lines[0]]
    if len(set(names)) < len(names):
        raise ZooError(f"{path}: a column name comes twice in {', '.join(names)}")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(names):
            raise ZooError(f"{path}: line {number} has {len(line)} entries, expected {len(names)}")
    columns = zip(*lines[1:], strict=True) if len(lines) > 1 else ([] for _ in names)
    table: dict[str, list[Value]] = {}
    for name, column in zip(names, columns, strict=True):
        entries = [entry.strip() for entry in column]
        table[name] = [entry or None for entry in entries] if name in text else _typed(entries)
    return table


def as_text(values: Sequence[Value]) -> list[str | None]:
    """A column as text: names of runs may look like numbers."""
    return [None if value is None else str(value) for value in values]


def without_prefix(columns: Mapping[str, Item]) -> tuple[dict[str, Item], dict[str, Item]]:
    """Properties, and hyper-parameters without the "config." that marks them.

    Args:
        columns: by name; or the values of one row.
    """
    marked = {name for name in columns if name.startswith(HYPERPARAMETER_PREFIX)}
    hyperparameters = {name.removeprefix(HYPERPARAMETER_PREFIX): columns[name] for name in columns if name in marked}
    return {name: value for name, value in columns.items() if name not in marked}, hyperparameters


def _typed(entries: list[str]) -> list[Value]:
    kinds: tuple[Callable[[str], Value], ...] = (int, float, _boolean)
    if any("_" in entry for entry in entries):  # Python reads 1_2 as twelve
        kinds = ()
    for kind in kinds:
        try:
            values = [kind(entry) if entry else None for entry in entries]
        except ValueError:
            continue
        return [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    return [entry or None for entry in entries]


def _boolean(entry: str) -> bool:
    if entry.lower() not in ("true", "false"):
        raise ValueError(entry)
    return entry.lower() == "true"
