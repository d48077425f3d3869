"""Values that protocol 0 of pickle writes as text, up to the end of a line."""

from codecs import escape_decode
from typing import Any

from sne.checkpoints.formats.pickles.stand_ins import PickleError

_MOST_DIGITS = 2000


def read_line(data: Any, i: int, end: int) -> tuple[str, int]:
    """Returns the text up to the end of a line, and the position after it.

    Args:
        data: What holds the bytes.
        i: Position of the first character.
        end: Position after the last byte that may be read.

    Raises:
        PickleError: If the line has no end.
    """
    last = data.find(b"\n", i, end)
    if last < 0:
        raise PickleError("truncated: a line has no end")
    return str(data[i:last], "utf-8", "surrogateescape"), last + 1


def whole_number(text: str) -> int:
    """Returns a number written in decimals.

    Args:
        text: The line.

    Raises:
        PickleError: If it has more than 2000 digits.
    """
    if len(text) > _MOST_DIGITS:
        raise PickleError(f"hostile: it holds a number of {len(text)} digits")
    return int(text)


def unicode_text(text: str) -> str:
    """Returns text whose characters beyond Latin-1 are written as escapes.

    Args:
        text: The line.
    """
    return text.encode("utf-8", "surrogateescape").decode("raw-unicode-escape", "surrogateescape")


def quoted_text(text: str) -> str | bytes:
    """Returns a string of Python 2, written in quotes: text if all of it is ASCII, otherwise bytes.

    Args:
        text: The line.

    Raises:
        PickleError: If there are no quotes.
    """
    quoted = text.strip().encode("utf-8", "surrogateescape")
    if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in (b"'", b'"'):
        raise PickleError("damaged: a text has no quotes")
    value = escape_decode(quoted[1:-1])[0]
    assert isinstance(value, bytes)
    return value.decode("ascii") if value.isascii() else value
