"""Tables for people: aligned columns on stdout, whole even where it is no terminal."""

from collections.abc import Mapping, Sequence
from typing import Any


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Aligns rows under their names.

    Args:
        rows: values by column; columns stand in the order in which they first appear.

    Returns:
        The table, numbers to the right with 4 digits, or as powers of ten where these are 0; "-" where a row has no
        value.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    is_number = [all(isinstance(row.get(name), int | float) or row.get(name) is None for row in rows) for name in names]
    lines = []
    for line in cells:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, is_number, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0e}" if 0 < abs(value) < 5e-5 else f"{value:.4f}"
