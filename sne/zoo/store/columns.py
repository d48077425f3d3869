"""The table of a zoo: one row per checkpoint, in columns of one kind each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from sne.errors import ZooError, counted

RESERVED = ("id", "run", "family", "dataset", "step", "layout", "symmetry", "shard", "offset", "checksum")
"""Columns that every zoo has; all others are properties or hyper-parameters."""

HYPERPARAMETER_PREFIX = "config."
"""Marks the columns that hold hyper-parameters."""

WALL_TIME = "wall_time"
"""Property that differs each time a network is trained, and is therefore kept in a file of its own."""

_INTEGERS = ("step", "offset")  # among the reserved columns; the others are text

Value = str | int | float | bool | None
"""One entry of a column; None is a missing value."""


class TableRows:
    """Collects rows one by one and makes a typed table of them."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Value]] = {name: [] for name in RESERVED}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row: Mapping[str, Value]) -> None:
        """Adds one row. Columns that the row lacks are missing in it."""
        for name, value in row.items():
            column = self._columns.setdefault(name, [])
            column += [None] * (self._count - len(column))
            column.append(value)
        self._count += 1

    def table(self) -> pa.Table:
        """Returns all rows.

        A column is of integers or booleans if all its values are, of doubles if they are numbers of several kinds, and
        else of text. A hyper-parameter that holds numbers and text becomes text, see `mixed_hyperparameters`.

        Raises:
            ZooError: A property holds numbers in some rows and text in others.
        """
        for column in self._columns.values():
            column += [None] * (self._count - len(column))
        for name, column in self._columns.items():
            mixture = None if _is_free_text(name) else self._mixture(name, column)
            if mixture is not None:
                raise ZooError(f"{mixture}; a property is of one kind")
        names = order_columns(self._columns)
        return pa.table([_typed(name, self._columns[name]) for name in names], names=names)

    def mixed_hyperparameters(self) -> list[str]:
        """Describes each hyper-parameter that holds both numbers and text, in the words of `describe_mixture`."""
        columns = ((name, column) for name, column in self._columns.items() if name.startswith(HYPERPARAMETER_PREFIX))
        return [text for name, column in columns if (text := self._mixture(name, column)) is not None]

    def _mixture(self, name: str, column: Sequence[Value]) -> str | None:
        kinds = ["text" if isinstance(value, str) else "number" if value is not None else None for value in column]
        return describe_mixture(name, column, kinds, [f"network {id}" for id in self._columns["id"][: len(column)]])


def describe_mixture(
    name: str, values: Sequence[object], kinds: Sequence[str | None], places: Sequence[str]
) -> str | None:
    """Counts the kinds of values in a column, and gives an example of every kind but the most frequent one.

    Args:
        name: Name of the column.
        values: Values of the column.
        kinds: Kind of each value, as a singular noun; None where the value is missing.
        places: Where each value is, for the examples.

    Returns:
        None if all values are of one kind.

    Example:
        >>> describe_mixture("score", [0.5, 0.7, "n/a"], ["number", "number", "text"], ["row 2", "row 3", "row 4"])
        "column score: 2 numbers, 1 text ('n/a', row 4)"
    """
    counts = Counter(kind for kind in kinds if kind is not None)
    if len(counts) < 2:
        return None
    parts = []
    for kind, count in counts.most_common():
        first = kinds.index(kind)
        example = f" ({values[first]!r}, {places[first]})" if parts else ""
        parts.append(counted(count, kind) + example)
    return f"column {name}: {', '.join(parts)}"


def some(names: Iterable[str], most: int = 3) -> str:
    """Joins the first few names of a list.

    Example:
        >>> some(["a", "b", "c", "d"], most=2)
        'a, b, ...'
    """
    known = list(names)
    return ", ".join(known[:most]) + (", ..." if len(known) > most else "")


def order_columns(names: Iterable[str]) -> list[str]:
    """Puts the reserved columns first, then properties, then hyper-parameters; the order within each group stays."""
    free = [name for name in dict.fromkeys(names) if name not in RESERVED]
    properties = [name for name in free if not name.startswith(HYPERPARAMETER_PREFIX)]
    return [*RESERVED, *properties, *(name for name in free if name.startswith(HYPERPARAMETER_PREFIX))]


def join_tables(tables: Sequence[tuple[str, pa.Table]]) -> pa.Table:
    """Concatenates the rows of several tables. A column that a table lacks is missing in its rows.

    Args:
        tables: Name of each table, for messages, and its rows.

    Raises:
        ZooError: A column is text in one table and a number in another.
    """
    names = order_columns(name for _, table in tables for name in table.column_names)
    columns = []
    for name in names:
        kind = _reserved_kind(name) if name in RESERVED else _joined_kind(name, tables)
        pieces = [
            table[name].cast(kind) if name in table.column_names else pa.nulls(len(table), kind) for _, table in tables
        ]
        columns.append(pa.chunked_array([c for p in pieces for c in getattr(p, "chunks", [p])], kind).combine_chunks())
    return pa.table(columns, names=names)


def _joined_kind(name: str, tables: Sequence[tuple[str, pa.Table]]) -> pa.DataType:
    """Returns the type that holds a column of all tables."""
    found = [(where, kind) for where, table in tables if (kind := _kind(name, where, table)) is not None]
    kinds = {kind for _, kind in found}
    if len(kinds) == 1:
        return kinds.pop()
    if pa.string() in kinds:
        text = next(where for where, kind in found if kind == pa.string())
        number = next(where for where, kind in found if kind != pa.string())
        raise ZooError(f"column {name!r} is text in {text} and a number in {number}; rename or convert it in one")
    return pa.int64() if kinds == {pa.int64(), pa.bool_()} else pa.float64()


def _kind(name: str, where: str, table: pa.Table) -> pa.DataType | None:
    """Returns the type text, booleans, integers or doubles; None if a table lacks the column or its values."""
    if name not in table.column_names or table[name].null_count == len(table):
        return None
    kind = table[name].type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    raise ZooError(f"{where}: column {name!r} holds {kind}, expected text, numbers or booleans")


def _reserved_kind(name: str) -> pa.DataType:
    return pa.int64() if name in _INTEGERS else pa.string()


def _is_free_text(name: str) -> bool:
    return name in RESERVED or name.startswith(HYPERPARAMETER_PREFIX)


def _typed(name: str, values: Sequence[Value]) -> pa.Array:
    """Returns a column as one array; NaN is missing."""
    if name in RESERVED:
        return pa.array(values, _reserved_kind(name))
    values = [None if v is None or v != v else v for v in values]
    kinds = {type(v) for v in values if v is not None}
    if str in kinds:
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds and kinds <= {int, bool}:
        return pa.array([None if v is None else int(v) for v in values], pa.int64())
    return pa.array([None if v is None else float(v) for v in values], pa.float64())
