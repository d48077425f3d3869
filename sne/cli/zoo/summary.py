"""Output of the commands of `sne zoo` about the content of a zoo."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from sne.cli.tables import format_table, say
from sne.errors import counted


def print_summary(opened: Any, as_json: bool, *, is_new: bool = False) -> None:
    """Prints the summary of a zoo: tables, or one JSON line.

    Args:
        opened: The zoo.
        as_json: Print one JSON line.
        is_new: Print also which command to run next.
    """
    from sne.zoo import summarise

    summary = summarise(opened)
    if as_json:
        print(json.dumps(summary))
        return
    pieces = ", ".join(f"{count} {name}" for name, count in (summary["split"] or {}).items())
    say(
        f"{summary['path']}: {counted(summary['networks'], 'network')} of {counted(summary['runs'], 'run')}, "
        f"{summary['bytes'] / 1e6:.1f} MB, split: {pieces or 'none'}"
    )
    say()
    say(format_table([_family_row(row) for row in summary["families"]]))
    say()
    for title in ("properties", "hyperparameters"):
        say(f"{title}: {', '.join(summary[title]) or 'none'}")
    target = _usual_target(opened)
    if is_new and target is not None:
        path, column = shlex.quote(summary["path"]), shlex.quote(target)
        say()
        say(f"next: sne train {path} --target {column} --out my_predictor")


def format_columns(columns: Sequence[Any]) -> str:
    """Formats the use of a table's columns (`sne.zoo.ColumnUse`) as a table."""
    return format_table(
        [
            {
                "column": use.column, "becomes": use.becomes, "values": use.values, "missing": use.missing,
                "note": use.note,
            }
            for use in columns
        ]
    )  # fmt: skip


def _usual_target(opened: Any) -> str | None:
    """Returns the property that is usually predicted: the test accuracy, or else the first that has values."""
    known = [name for name in opened.property_names if opened.table[name].null_count < len(opened)]
    return next((name for name in ("test_accuracy", *known) if name in known), None)


def _family_row(entry: dict[str, Any]) -> dict[str, Any]:
    accuracy = entry["test_accuracy"]
    return {
        "family": entry["family"],
        "dataset": entry["dataset"],
        "networks": entry["networks"],
        "runs": entry["runs"],
        "weights": _span(entry["weights"], "{:,}"),
        "test accuracy": _span(accuracy and [accuracy["min"], accuracy["max"]], "{:.3f}"),
        "0 .. 1": _bars(accuracy["histogram"]) if accuracy else None,
    }


def _span(ends: Sequence[int | float] | None, form: str) -> str:
    """Returns the least and largest number, or one number if they are equal."""
    if not ends:
        return "-"
    low, high = (form.format(end) for end in ends)
    return low if low == high else f"{low} - {high}"


def _bars(counts: list[int]) -> str:
    """Counts as a row of bars, with a dot for zero."""
    top = max(max(counts), 1)
    return "".join("·▁▂▃▄▅▆▇█"[0 if n == 0 else max(round(8 * n / top), 1)] for n in counts)
