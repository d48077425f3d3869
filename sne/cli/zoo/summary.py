"""How the commands of `sne zoo` print what a zoo holds."""

import json
from collections.abc import Sequence
from typing import Any

from sne.cli.tables import format_table


def print_summary(opened: Any, as_json: bool) -> None:
    """Prints the summary of an open zoo: tables, or one JSON line."""
    from sne.zoo.store.summary import summarise

    summary = summarise(opened)
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"{summary['path']}: {summary['networks']} networks of {summary['runs']} runs, "
        f"{summary['bytes'] / 1e6:.1f} MB, split: {_counts(summary['split'] or {})}"
    )
    print()
    print(format_table([_family_row(row) for row in summary["families"]]))
    print()
    for title in ("properties", "hyperparameters"):
        print(f"{title}: {', '.join(summary[title]) or 'none'}")


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


def _counts(pieces: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in pieces.items()) or "none"


def _span(ends: Sequence[int | float] | None, form: str) -> str:
    """Least and largest, once if they are equal."""
    if not ends:
        return "-"
    low, high = (form.format(end) for end in ends)
    return low if low == high else f"{low} - {high}"


def _bars(counts: list[int]) -> str:
    """Counts as a row of bars, a dot for none."""
    top = max(max(counts), 1)
    return "".join("·▁▂▃▄▅▆▇█"[0 if n == 0 else max(round(8 * n / top), 1)] for n in counts)
