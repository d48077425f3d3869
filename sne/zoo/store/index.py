"""The index of a zoo: one row a checkpoint, and the measured durations that stand beside it."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sne.errors import ZooError
from sne.work import replacing

INDEX = "networks.parquet"
COPY = "networks.copy.parquet"  # of the index: without it nobody knows what a weight belongs to
TIMINGS = "timings.parquet"
RESERVED = ("id", "run", "family", "dataset", "step", "layout", "symmetry", "shard", "offset", "checksum")
_LATER = ("symmetry", "offset")  # columns that older zoos lack
WALL_TIME = "wall_time"  # the one property that no seed repeats, and that therefore stands in a file of its own
HYPERPARAMETER_PREFIX = "config."
_NUMBERS = ("step", "offset")
_METADATA = {"sne_zoo": "2"}

Value = str | int | float | bool | None


class IndexRows:
    """Rows that are collected one by one and become a typed table."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Value]] = {name: [] for name in RESERVED}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, row: Mapping[str, Value]) -> None:
        """Adds one row; columns that it lacks are missing in it."""
        for name, value in row.items():
            column = self._columns.setdefault(name, [])
            column += [None] * (self._count - len(column))
            column.append(value)
        self._count += 1

    def table(self) -> pa.Table:
        """All rows; text where any value of a column is text, else integers or booleans if all are, else doubles."""
        for column in self._columns.values():
            column += [None] * (self._count - len(column))
        names = order_columns(self._columns)
        return pa.table([_column(name, self._columns[name]) for name in names], names=names)


def order_columns(names: Mapping[str, object] | Sequence[str]) -> list[str]:
    """The reserved columns, then properties, then hyper-parameters, each kind in the order that came."""
    known = list(dict.fromkeys(names))
    free = [name for name in known if name not in RESERVED]
    properties = [name for name in free if not name.startswith(HYPERPARAMETER_PREFIX)]
    return [*RESERVED, *properties, *(name for name in free if name.startswith(HYPERPARAMETER_PREFIX))]


def join_tables(tables: Sequence[tuple[str, pa.Table]]) -> pa.Table:
    """Puts the rows of several indexes under one another; a column that one of them lacks is missing there.

    Args:
        tables: what messages call each, and its rows.

    Raises:
        ZooError: a column is text in one and a number in another.
    """
    names = order_columns([name for _, table in tables for name in table.column_names])
    columns = []
    for name in names:
        kinds = {where: _kind(name, where, table) for where, table in tables}
        present = {kind for kind in kinds.values() if kind is not None}
        if pa.string() in present and len(present) > 1:
            text = next(where for where, kind in kinds.items() if kind == pa.string())
            number = next(where for where, kind in kinds.items() if kind not in (None, pa.string()))
            raise ZooError(f"column {name!r} is text in {text} and a number in {number}; rename or convert it in one")
        kind = _reserved_kind(name) if name in RESERVED else _common(present)
        pieces = [
            table[name].cast(kind) if name in table.column_names else pa.nulls(len(table), kind) for _, table in tables
        ]
        columns.append(pa.chunked_array([c for p in pieces for c in getattr(p, "chunks", [p])], kind).combine_chunks())
    return pa.table(columns, names=names)


def index_damage(folder: Path) -> str | None:
    """Why the index itself cannot be read; None where it can."""
    try:
        _read_whole(folder / INDEX)
    except (pa.ArrowException, OSError, ValueError) as error:
        return str(error).splitlines()[0]
    return None


def _read_either(folder: Path) -> pa.Table:
    try:
        return _read_whole(folder / INDEX)
    except (pa.ArrowException, OSError, ValueError):
        if not (folder / COPY).is_file():
            raise
        return _read_whole(folder / COPY)


def read_index(folder: Path) -> pa.Table:
    """Reads the index, and the durations where they are known, as one table. Where it is damaged, its copy is read.

    Raises:
        ZooError: the folder is no zoo, the index lacks a column, or it and its copy are damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise ZooError(f"{folder} is not a zoo: it has no {INDEX}")
    try:
        table = _read_either(folder)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(
            f"{path} cannot be read ({reason}): it is damaged or cut short, and with it ids, labels and what each "
            f"weight belongs to are lost; shards, {_intact(folder)} stay as they are"
        ) from None
    missing = [name for name in RESERVED if name not in table.column_names and name not in _LATER]
    if missing:
        raise ZooError(f"{path} lacks the column {missing[0]!r}")
    timings = read_timings(folder)
    if timings is None or WALL_TIME in table.column_names:
        return table
    known = dict(zip(timings["id"].to_pylist(), timings[WALL_TIME].to_pylist(), strict=True))
    values = pa.array([known.get(id) for id in table["id"].to_pylist()], timings[WALL_TIME].type)
    return table.append_column(WALL_TIME, values)


def write_index(path: Path, table: pa.Table) -> None:
    """Writes the index, each page with its checksum; the durations are left out. Inverse: `read_index`."""
    kept = table.drop_columns([WALL_TIME]) if WALL_TIME in table.column_names else table
    kept = kept.replace_schema_metadata(_METADATA)
    with replacing(path) as partial:
        pq.write_table(kept, partial, write_page_checksum=True, write_statistics=False)


def read_timings(folder: Path) -> pa.Table | None:
    """Reads `timings.parquet`; None where it is missing or damaged: without durations a zoo is still a zoo."""
    try:
        timings = _read_whole(folder / TIMINGS)
        return timings if {"id", WALL_TIME} <= set(timings.column_names) else None
    except (pa.ArrowException, OSError, ValueError):
        return None


def write_timings(path: Path, table: pa.Table) -> None:
    """Writes ids and durations of the rows that have one. Inverse: `read_timings`."""
    timings = table.select(["id", WALL_TIME]).drop_null()
    with replacing(path) as partial:
        pq.write_table(timings, partial, write_page_checksum=True)


def _read_whole(path: Path) -> pa.Table:
    """Reads a Parquet file and finds whether any byte of it that matters has changed.

    Values are guarded by the checksums of their pages. Names and types of the columns have none, but pyarrow writes
    them twice: in Parquet's own schema and in Arrow's.

    Raises:
        ValueError: what is read is not what was written; or pyarrow's errors.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        table, arrow = file.read(), (file.metadata.metadata or {}).get(b"ARROW:schema")
    written = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(arrow))) if arrow else table.schema
    if table.schema.names != written.names or table.schema.types != written.types:
        raise ValueError("its columns are not those that were written")
    table.validate(full=True)
    return table


def _intact(folder: Path) -> str:
    known = ("layouts.json", "symmetries.json", "split.json", "recipe.json", TIMINGS)
    names = [name for name in known if (folder / name).exists()]
    return ", ".join(names) or "the other files"


def _kind(name: str, where: str, table: pa.Table) -> pa.DataType | None:
    """Of a column: text, booleans, integers or doubles; None where it has no value."""
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
    return pa.int64() if name in _NUMBERS else pa.string()


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    if len(kinds) == 1:
        return next(iter(kinds))
    return pa.int64() if kinds == {pa.int64(), pa.bool_()} else pa.float64()


def _column(name: str, values: list[Value]) -> pa.Array:
    """One typed column; NaN is missing."""
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
