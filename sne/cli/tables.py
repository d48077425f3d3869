"""Text for people: aligned tables and warnings, in which no name from a file can control the terminal."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sne.errors import counted


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Aligns rows under the names of their columns. Lines are never cut, whatever the width of the terminal.

    Args:
        rows: Values by column name. Columns stand in the order in which they first appear.

    Returns:
        The table: numbers are right-aligned with 4 digits, or as powers of ten where these would be 0; "-" stands
        where a row has no value.

    Example:
        >>> print(format_table([{"file": "a.pt", "accuracy": 0.5}, {"file": "b.pt", "accuracy": None}]))
        file  accuracy
        a.pt    0.5000
        b.pt         -
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[printable(name) for name in names]] + [[cell(row.get(name)) for name in names] for row in rows]
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


def describe_copies(drawn: Mapping[str, Any]) -> str:
    """Says on which transformed copies the invariance was measured.

    Args:
        drawn: `InvarianceError.to_json()`, or `metrics["invariance"]` of a predictor.

    Example:
        >>> describe_copies({"kinds": ["permutation"], "draws": 2, "n": 30})
        'invariance to permutation, 30 networks, 2 draws of each'
    """
    draws = "" if drawn["draws"] == 1 else f", {drawn['draws']} draws of each"
    return f"invariance to {' and '.join(drawn['kinds'])}, {counted(drawn['n'], 'network')}{draws}"


def printable(text: str) -> str:
    r"""Escapes control characters, among them line breaks, and marks that change the direction of writing.

    Example:
        >>> printable("a\x1b[31m\u202eb")
        'a\\x1b[31m\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def say(text: str = "", *, flush: bool = False) -> None:
    """Prints text on stdout, at once with `flush`; its line breaks stay, other control characters are escaped."""
    print("\n".join(printable(line) for line in text.split("\n")), flush=flush)


def warn(text: str) -> None:
    """Prints one line on stderr."""
    print(f"sne: {printable(' '.join(text.split()))}", file=sys.stderr)


def cell(value: Any) -> str:
    """Returns a value as it stands in a table: numbers with 4 digits, or as powers of ten where these would be 0."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return printable(str(value))
    return f"{value:.0e}" if 0 < abs(value) < 5e-5 else f"{value:.4f}"
