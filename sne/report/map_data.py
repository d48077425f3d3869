"""What a map shows: networks with their embeddings and properties, and the Parquet file that holds them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Shaped

from sne.errors import ReportError, counted

PREDICTED = "predicted "
"""Begins the names of columns with predicted properties."""

SETTING = "config."
"""Begins the names of columns with hyper-parameters; pages leave it out."""

SUMMARY = "summary"
"""Column with one line per network that says what it is."""

NUM_WEIGHTS = "num_weights"

DOMAIN = "in known domain"
"""Column that says whether a network is like those that the predictor has learned from: yes or no."""

_NAMES, _EMBEDDING = "path", "embedding"
_LOW, _HIGH = " low", " high"


@dataclass(frozen=True)
class Column:
    """One property of all networks.

    Args:
        name: Name of the property.
        values: float64, NaN where missing; or objects: texts, None where missing.
        low: Lower ends of the intervals of a predicted number, NaN where there are none; None without intervals.
        high: Upper ends of the intervals.
    """

    name: str
    values: Shaped[np.ndarray, " networks"]
    low: Float[np.ndarray, " networks"] | None = None
    high: Float[np.ndarray, " networks"] | None = None

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers."""
        return self.values.dtype != object

    @property
    def is_known(self) -> Shaped[np.ndarray, " networks"]:
        """Which networks have a value."""
        if self.is_number:
            return np.isfinite(self.values)
        return np.array([value is not None for value in self.values], dtype=bool)

    @property
    def title(self) -> str:
        """Name for people, without the mark of hyper-parameters."""
        return self.name.replace(SETTING, "", 1) if self.name.removeprefix(PREDICTED).startswith(SETTING) else self.name

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> "Column":
        """Makes a column of plain values: numbers, or texts and booleans; None is missing.

        Example:
            >>> Column.of("loss", [1, None]).values.tolist(), Column.of("diverged", [True, None]).values.tolist()
            ([1.0, nan], ['yes', None])
        """
        known = [value for value in values if value is not None]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
            return cls(name, np.array([np.nan if value is None else value for value in values], dtype=np.float64))
        texts = np.empty(len(values), dtype=object)
        texts[:] = [None if value is None else _as_text(value) for value in values]
        return cls(name, texts)


@dataclass(frozen=True)
class MapData:
    """Networks with their embeddings and properties.

    Args:
        names: Name of each network: a path, or the folder of a zoo and an id.
        embeddings: One vector per network.
        columns: Properties; at least one network has a value in each.
    """

    names: tuple[str, ...]
    embeddings: Float[np.ndarray, "networks dim"]
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        for column in self.columns:
            if len(column.values) != len(self.names):
                raise ReportError(f"column {column.name}: {len(column.values)} values of {len(self.names)} networks")
        is_finite = np.isfinite(self.embeddings).all(axis=1)
        if not is_finite.all():
            first = self.names[int((~is_finite).argmax())]
            raise ReportError(
                f"{first}: its embedding is not finite ({int((~is_finite).sum())} of {len(self)} are not)"
            )

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> Column:
        """Returns the column of that name, or of that title.

        Raises:
            ReportError: There is no such column.
        """
        for column in self.columns:
            if name in (column.name, column.title):
                return column
        raise ReportError(f"no property {name!r}; known are {', '.join(column.title for column in self.columns)}")

    def pairs(self) -> list[tuple[Column, Column]]:
        """Returns the measured and the predicted column of each property that has both, if they are numbers."""
        found = {column.name: column for column in self.columns if column.is_number}
        return [(column, found[PREDICTED + name]) for name, column in found.items() if PREDICTED + name in found]

    def to_table(self) -> pa.Table:
        """Returns everything as a table; NaN becomes missing. Inverse: `from_table`."""
        dim = self.embeddings.shape[1]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(self.embeddings.astype(np.float32).reshape(-1)), dim)
        names = [name.encode("utf-8", "backslashreplace").decode() for name in self.names]  # of files: any bytes
        arrays: dict[str, Any] = {_NAMES: pa.array(names, pa.string()), _EMBEDDING: vectors}
        for column in self.columns:
            kind = pa.float64() if column.is_number else pa.string()
            arrays[column.name] = pa.array(column.values, kind, from_pandas=True)
            for ending, ends in ((_LOW, column.low), (_HIGH, column.high)):
                if ends is not None:
                    arrays[column.name + ending] = pa.array(ends, pa.float64(), from_pandas=True)
        return pa.table(arrays)

    @classmethod
    def from_table(cls, table: pa.Table) -> "MapData":
        """Makes the data of a table with the columns path and embedding; other columns are properties.

        Raises:
            ReportError: A column is missing, or an embedding is missing or of another length. Columns that hold
                neither numbers nor text are left out.
        """
        missing = [name for name in (_NAMES, _EMBEDDING) if name not in table.column_names]
        if missing:
            raise ReportError(f"no column {' and no column '.join(missing)}; sne encode writes such files")
        names = tuple(str(name) for name in table[_NAMES].to_pylist())
        others = [name for name in table.column_names if name not in (_NAMES, _EMBEDDING)]
        columns = {name: found for name in others if (found := _column(name, table[name])) is not None}
        return cls(names, _vectors(table[_EMBEDDING]), tuple(_with_intervals(columns)))

    @classmethod
    def read(cls, path: str | Path) -> "MapData":
        """Reads a Parquet file that `sne encode` or `sne map --table` wrote.

        Raises:
            ReportError: The file is no such file.
        """
        import pyarrow.parquet as pq

        try:
            return cls.from_table(pq.read_table(path))
        except (pa.ArrowException, ReportError) as error:
            raise ReportError(f"{path}: {' '.join(str(error).split())}") from None

    def write(self, path: str | Path) -> None:
        """Writes a Parquet file. Inverse: `read`.

        Raises:
            WriteError: The file cannot be written.
        """
        import pyarrow.parquet as pq

        from sne.work import replacing

        with replacing(Path(path)) as partial:
            pq.write_table(self.to_table(), partial)


def known_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Returns the columns in which a network has a value."""
    return tuple(column for column in columns if column.is_known.any())


def _as_text(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _column(name: str, values: pa.ChunkedArray) -> Column | None:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = values.cast(kind).cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
        return Column(name, numbers)
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Column.of(name, values.to_pylist()) if values.null_count < len(values) else None
    return None


def _with_intervals(columns: Mapping[str, Column]) -> Iterator[Column]:
    """Joins columns with the ends of intervals to the columns that they belong to."""
    for name, column in columns.items():
        own = re.sub(f"({_LOW}|{_HIGH})$", "", name)
        if own != name and own in columns and {own + _LOW, own + _HIGH} <= columns.keys():
            continue
        low, high = columns.get(name + _LOW), columns.get(name + _HIGH)
        if low is not None and high is not None and column.is_number:
            column = Column(name, column.values, low.values, high.values)
        if column.is_known.any():
            yield column


def _vectors(column: pa.ChunkedArray) -> Float[np.ndarray, "networks dim"]:
    """Returns vectors as rows, without a Python object per number."""
    kind = column.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise ReportError(f"column {_EMBEDDING} holds {kind}, expected lists of numbers")
    if not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise ReportError(f"column {_EMBEDDING} holds {kind}, expected lists of numbers")
    joined = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    flat = joined.flatten().cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).astype(np.float32)
    rows = len(joined)
    dim = len(flat) // rows if rows else 0
    if joined.null_count:
        raise ReportError(f"column {_EMBEDDING}: {counted(joined.null_count, 'embedding')} missing")
    if not pa.types.is_fixed_size_list(kind) and rows:
        lengths = joined.value_lengths().to_numpy()
        if (lengths != dim).any():
            raise ReportError(f"column {_EMBEDDING}: lengths from {lengths.min()} to {lengths.max()}, expected one")
    return flat.reshape(rows, dim)
