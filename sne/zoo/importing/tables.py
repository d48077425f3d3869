"""CSV tables and JSON objects, read as the columns of a zoo."""

import csv
import gzip
import io
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sne.errors import ZooError, counted
from sne.zoo.store.columns import HYPERPARAMETER_PREFIX, Value, describe_mixture

_LARGEST_INTEGER = 2**63 - 1
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?(\d+,\d+(e[+-]?\d+)?|\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}(\.\d{3})+,\d+)", re.IGNORECASE)
_KINDS = {"integer": "number", "comma": "number with a comma"}  # in messages; the others are called as here


@dataclass(frozen=True)
class Column:
    """A column of a CSV table whose entries are of one kind.

    Args:
        values: One value per row; None where the cell is empty or NaN.
        kind: "number", "boolean" or "text"; "empty" if there is no value at all.
        note: How the cells were converted; empty if they were not.
    """

    values: list[Value]
    kind: str
    note: str = ""

    @property
    def num_missing(self) -> int:
        """Number of rows without a value."""
        return self.values.count(None)


@dataclass(frozen=True)
class CsvTable:
    """The cells of a CSV file.

    Args:
        path: The file.
        cells: Stripped text of each cell, by column.
        rows: Number of each row as spreadsheets count it: the line of column names is row 1.
        delimiter: Character between cells.
    """

    path: Path
    cells: Mapping[str, Sequence[str]]
    rows: Sequence[int]
    delimiter: str

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.cells)

    @property
    def delimiter_note(self) -> str:
        """Names the delimiter in a sentence, unless it is a comma."""
        return "" if self.delimiter == "," else f"{self.path}: cells are separated by {_DELIMITERS[self.delimiter]}"

    def text(self, name: str) -> list[str | None]:
        """Returns a column as text, even if it looks like numbers: "007" is a name."""
        return [cell or None for cell in self.cells[name]]

    def column(self, name: str) -> Column:
        """Returns a column as numbers, booleans or text.

        Percentages become fractions. A comma is a decimal comma if commas do not separate the cells. A column is text
        if more than half of its entries are text.

        Raises:
            ZooError: The entries are of several kinds, or of none that can be read for certain.
        """
        read = [_read_cell(cell) for cell in self.cells[name]]
        kinds = [kind for kind, _ in read]
        counts = Counter(kind for kind in kinds if kind is not None)
        if not counts:
            return Column([None] * len(read), "empty")
        if counts["text"] > counts.total() - counts["text"]:
            others = counts.total() - counts["text"]
            note = f"{others} of {counts.total()} look like numbers or booleans" if others else ""
            return Column([cell or None for cell in self.cells[name]], "text", note)
        present = set(counts)
        if present == {"boolean"}:
            return Column([None if kind is None else value == "true" for kind, value in read], "boolean")
        if present == {"percentage"} and not self._has_bad_comma(name):
            numbers = [None if kind is None else _float(value) / 100 for kind, value in read]
            return Column([*numbers], "number", "percentages, divided by 100")
        if present <= {"integer", "number"}:
            return Column(_numbers(read), "number")
        if present <= {"integer", "comma"} and not self._has_bad_comma(name):
            return Column([None if kind is None else _float(value) for kind, value in read], "number", "decimal commas")
        raise ZooError(f"{self.path}: {self._mixture(name, kinds)}")

    def columns(self, names: Sequence[str]) -> dict[str, Column]:
        """Returns several columns, see `column`.

        Raises:
            ZooError: Columns cannot be read; the message describes all of them.
        """
        read: dict[str, Column] = {}
        errors: list[str] = []
        for name in names:
            try:
                read[name] = self.column(name)
            except ZooError as error:
                errors.append(str(error).removeprefix(f"{self.path}: "))
        if errors:
            raise ZooError(
                f"{self.path}: {'; '.join(errors)}; correct these cells, or leave them empty if the value is not known"
            )
        return read

    def _has_bad_comma(self, name: str) -> bool:
        """Whether a comma may separate thousands: "1,234" in a file with commas between cells, "1,234,567" in any."""
        commas = [cell for cell in self.cells[name] if "," in cell]
        return any(self.delimiter == "," or cell.count(",") > 1 or "." in cell for cell in commas)

    def _mixture(self, name: str, kinds: Sequence[str | None]) -> str:
        """Describes a column that cannot be read for certain."""
        cells = self.cells[name]
        named = [kind and _KINDS.get(kind, kind) for kind in kinds]
        mixture = describe_mixture(name, cells, named, [f"row {row}" for row in self.rows])
        if mixture is not None:
            return mixture
        first = next(row for row, cell in enumerate(cells) if "," in cell)
        count = counted(sum("," in cell for cell in cells), "number") + " with a comma"
        example = f"({cells[first]!r}, row {self.rows[first]})"
        return f"column {name}: {count} {example}, expected a decimal point and no thousands separators"


def read_table(path: Path) -> CsvTable:
    """Reads a CSV file, gzipped if its name ends in .gz. Cells are separated by commas, semicolons or tabs.

    Args:
        path: The file. Its first line names the columns.

    Raises:
        ZooError: The file cannot be read, a column name is used twice, or a row has too many or too few cells.
    """
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            text = file.read()
        delimiter = _find_delimiter(text)
        lines = [
            (row, line) for row, line in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1)
        ]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ZooError(f"{path} cannot be read: {error}") from None
    lines = [(row, line) for row, line in lines if any(cell.strip() for cell in line)]
    if not lines:
        raise ZooError(f"{path} is empty, expected a line of column names")
    names = [name.strip() for name in lines[0][1]]
    while names and not names[-1] and all(len(line) < len(names) or not line[len(names) - 1] for _, line in lines):
        names.pop()  # lines that end with a separator
    if len(set(names)) < len(names):
        raise ZooError(f"{path}: a column name is used twice in {', '.join(names)}")
    rows = [(row, line[: len(names)] if not any(line[len(names) :]) else line) for row, line in lines[1:]]
    for row, line in rows:
        if len(line) != len(names):
            raise ZooError(f"{path}: row {row} has {counted(len(line), 'entry')}, expected {len(names)}")
    cells = {name: [line[number].strip() for _, line in rows] for number, name in enumerate(names)}
    return CsvTable(path, cells, [row for row, _ in rows], delimiter)


def without_prefix(values: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Separates the values of one row into properties and hyper-parameters, which lose their prefix "config."."""
    marked = {name for name in values if name.startswith(HYPERPARAMETER_PREFIX)}
    hyperparameters = {name.removeprefix(HYPERPARAMETER_PREFIX): values[name] for name in values if name in marked}
    return {name: value for name, value in values.items() if name not in marked}, hyperparameters


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds one object.

    Raises:
        ZooError: The file cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ZooError(f"{path}: expected a JSON object, found a {type(values).__name__}")
    return values


def plain_values(values: Mapping[str, Any]) -> dict[str, Value]:
    """Flattens a JSON object; lists become JSON text, and null is left out.

    Example:
        >>> plain_values({"a": {"b": 1, "c": [2, 3]}, "d": None})
        {'a.b': 1, 'a.c': '[2, 3]'}
    """
    flat: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": v for inner, v in plain_values(value).items()}
        elif isinstance(value, list):
            flat[name] = json.dumps(value)
        elif value is not None:
            flat[name] = as_value(value)
    return flat


def as_value(value: Any) -> Value:
    """Makes an entry of a column: NaN and infinity are missing, and integers beyond 64 bits become floats."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_INTEGER:
        return float(value) if abs(value) < 10**300 else None
    return value if isinstance(value, str | int | float) else None


def _find_delimiter(text: str) -> str:
    """Returns the delimiter that cuts the line of column names into the most cells; a comma if that is undecided."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


def _read_cell(cell: str) -> tuple[str | None, str]:
    """Returns the kind of a cell (None if it is missing), and its text without the marks of the kind."""
    plain = cell.lower()
    if plain in ("", "nan"):
        return None, plain
    if plain in ("true", "false"):
        return "boolean", plain
    number = plain.removesuffix("%").strip()
    if _NUMBER.fullmatch(number) or _COMMA_NUMBER.fullmatch(number):
        if plain.endswith("%"):
            return "percentage", number
        is_integer = re.fullmatch(r"[+-]?\d+", number)
        return "integer" if is_integer else "comma" if "," in number else "number", number
    return "text", plain


def _numbers(read: Sequence[tuple[str | None, str]]) -> list[Value]:
    """Returns integers if all cells are and 64 bits hold them, else floats."""
    if all(kind != "number" and (kind is None or abs(int(value)) <= _LARGEST_INTEGER) for kind, value in read):
        return [None if kind is None else int(value) for kind, value in read]
    return [None if kind is None else _float(value) for kind, value in read]


def _float(text: str) -> float:
    return float(text.replace(",", "."))
