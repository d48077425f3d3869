"""HTML and SVG that are built from text: whatever is no markup already is escaped."""

from html import escape
from typing import TypeAlias

_VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})
"""Elements of HTML without an end tag."""

MOST_SIGNS = 400
"""Number of signs beyond which `clean` leaves out the middle of a text."""


class Markup(str):
    """Text that is valid HTML and is inserted as it is; only functions that escape what they are given make it."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | int | float | None"
"""Content of an element: markup is inserted, text and numbers are escaped, None is left out."""


def clean(text: str, most: int = MOST_SIGNS) -> str:
    r"""Makes a text from a file safe to show: one line of printable signs.

    Control characters, marks that change the direction of writing, and halves of surrogate pairs are written as
    escapes. A long text loses its middle.

    Args:
        text: The text, such as the name of a tensor.
        most: Largest number of signs.

    Example:
        >>> clean("a\x1b[31m\u202eb"), clean("layer." * 100, 12)
        ('a\\x1b[31m\\u202eb', 'layer.…layer.')
    """
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[-(most // 2) :]}"
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def join(*children: Child, between: str = "") -> Markup:
    """Joins markup and text, which is escaped.

    Args:
        children: Markup, text, numbers, or None.
        between: Text between any two of them.

    Example:
        >>> join("a < b", Markup("<br>"), 3, None)
        'a &lt; b<br>3'
    """
    parts = [child if isinstance(child, Markup) else escape(_text(child)) for child in children if child is not None]
    return Markup(escape(between).join(parts))


def element(tag: str, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Writes an element.

    Args:
        tag: Name of the element.
        children: Content, see `Child`.
        attributes: Attributes. An underscore in a name stands for a hyphen, one at its end is dropped (`class_`); True
            is an attribute without a value, False and None are left out.

    Example:
        >>> element("p", "2 < 3", class_="note", hidden=True)
        '<p class="note" hidden>2 &lt; 3</p>'
        >>> element("rect", x=1, stroke_width=0.5)
        '<rect x="1" stroke-width="0.5"></rect>'
    """
    start = [tag]
    for key, value in attributes.items():
        name = key.removesuffix("_").replace("_", "-")
        if value is True:
            start.append(name)
        elif value is not None and value is not False:
            start.append(f'{name}="{escape(_text(value))}"')
    end = "" if tag in _VOID else f"{join(*children)}</{tag}>"
    return Markup(f"<{' '.join(start)}>{end}")


def name(text: str, most: int = 80) -> Markup:
    """Writes a name from a file as code. It may break anywhere, and its direction does not change that of the page.

    Args:
        text: The name.
        most: Largest number of signs that are shown; a longer name is shown in full, up to `MOST_SIGNS`, when the
            mouse rests on it.

    Example:
        >>> name("<script>")
        '<code class="name">&lt;script&gt;</code>'
    """
    return element("code", clean(text, most), class_="name", title=clean(text) if len(text) > most else None)


def table(columns: list[str], rows: list[list[Child]], *, numbers: frozenset[int] = frozenset()) -> Markup:
    """Writes a table that scrolls by itself where the screen is narrow.

    Args:
        columns: Names of the columns.
        rows: Cells of each row, see `Child`.
        numbers: Columns, from 0, that are aligned to the right.
    """

    def cells(tag: str, row: list[Child]) -> Markup:
        return element(
            "tr", *(element(tag, cell, class_="number" if n in numbers else None) for n, cell in enumerate(row))
        )

    head = element("thead", cells("th", list(columns)))
    return element("div", element("table", head, element("tbody", *(cells("td", row) for row in rows))), class_="wide")


def _text(value: str | int | float) -> str:
    """Writes a number as short as it can be told apart in a drawing, and any text without signs that HTML forbids."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if text.isprintable() else "".join(_allowed(sign) for sign in text)


def _allowed(sign: str) -> str:
    return sign if sign.isprintable() or sign in "\n\t" else repr(sign)[1:-1]
