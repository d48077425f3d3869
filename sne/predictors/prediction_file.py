"""Predictions as a table in a file: one row per network, for spreadsheets and data frames."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sne.errors import PredictorError
from sne.predictors.frames import PATH
from sne.predictors.prediction import Prediction
from sne.work import replacing

_FORMULA = re.compile(r"\s*[=+\-@]|[\t\r]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")

TABLE_SUFFIXES = (".csv", ".parquet")
"""Endings of the names of files that hold tables of predictions."""


def check_table_name(out: str | Path) -> None:
    """Checks that a table can be written under a name.

    Raises:
        PredictorError: The name has another ending than `TABLE_SUFFIXES`.
    """
    if Path(out).suffix not in TABLE_SUFFIXES:
        raise PredictorError(f"{out}: expected a name that ends in {' or '.join(TABLE_SUFFIXES)}")


def table_columns(
    predictions: Sequence[Sequence[Prediction]], warnings: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, list[Any]]:
    """Puts predictions into columns.

    Args:
        predictions: One prediction per network and property; all networks have the same properties.
        warnings: Reasons to doubt what is said about a network, by its name.

    Returns:
        Values by name of the column, one per network; None where there is no value. The columns are path; for each
        number its value, and the ends of its interval as NAME_low and NAME_high; for each class its value and
        NAME_probability; in_domain, p_value, weights_read, weights (see `Prediction`) and warnings.

    Raises:
        PredictorError: Two columns have one name.

    Example:
        >>> table_columns([[Prediction("a.pt", "test_accuracy", 0.5, 0.4, 0.6)]])["test_accuracy_low"]
        [0.4]
    """
    names = [PATH]
    for prediction in predictions[0] if predictions else ():
        ends = ("probability",) if prediction.probabilities is not None else ("low", "high")
        names += [prediction.property, *(f"{prediction.property}_{end}" for end in ends)]
    names += ["in_domain", "p_value", "weights_read", "weights", "warnings"]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise PredictorError(f"a table of these properties would have two columns {twice[0]!r}; choose some of them")
    rows = [_row(of_network, warnings) for of_network in predictions]
    return {name: [row[name] for row in rows] for name in names}


def write_predictions(
    out: str | Path,
    predictions: Sequence[Sequence[Prediction]],
    warnings: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Writes predictions as a table, whole or not at all.

    Args:
        out: The file: .csv (UTF-8, empty cells where there is no value) or .parquet. In a .csv file, a path that
            begins like a formula of a spreadsheet is written with ./ before it, any other text with an apostrophe.
        predictions: As for `table_columns`, and in the order of the rows.
        warnings: As for `table_columns`.

    Raises:
        PredictorError: The name has another ending, or two columns have one name.
        sne.errors.WriteError: The file cannot be written; an old one is kept.
    """
    check_table_name(out)
    columns = table_columns(predictions, warnings)
    with replacing(out) as partial:
        if Path(out).suffix == ".csv":
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(map(_cell, columns))
                cells = [map(_path_cell if name == PATH else _cell, column) for name, column in columns.items()]
                writer.writerows(zip(*cells, strict=True))
        else:
            _write_parquet(partial, columns)


def _row(predictions: Sequence[Prediction], warnings: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    first = predictions[0]
    row: dict[str, Any] = {PATH: _readable(first.source)}
    for prediction in predictions:
        name = prediction.property
        row[name] = prediction.value
        if prediction.probabilities is not None:
            row[f"{name}_probability"] = max(prediction.probabilities.values())
        else:
            row |= {f"{name}_low": prediction.low, f"{name}_high": prediction.high}
    row |= {"in_domain": first.in_domain, "p_value": first.p_value}
    row |= {"weights_read": first.num_read, "weights": first.num_weights}
    return row | {"warnings": "; ".join(map(_readable, warnings.get(first.source, ()))) or None}


def _readable(name: str) -> str:
    """Escapes bytes of a file's name that are no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    """Returns a value as a cell of a .csv file, which no spreadsheet takes for a formula."""
    if isinstance(value, str):
        value = value.replace("\r", "\\r")  # csv does not quote it, and readers take it for the end of a row
        return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value
    return str(value).lower() if isinstance(value, bool) else value


def _path_cell(path: str) -> str:
    """Returns a path as a cell; programs that read the table find the same file."""
    return _cell(f"./{path}" if _FORMULA.match(path) else path)


def _write_parquet(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fixed = {
        "in_domain": pa.bool_(), "p_value": pa.float64(), "weights_read": pa.int64(), "weights": pa.int64(),
        PATH: pa.string(), "warnings": pa.string(),
    }  # fmt: skip
    arrays = {}
    for name, values in columns.items():
        is_text = any(isinstance(value, str) for value in values)
        arrays[name] = pa.array(values, fixed.get(name, pa.string() if is_text else pa.float64()))
    pq.write_table(pa.table(arrays), path)
