"""What a report is made of, whether it is written as Markdown or as a page."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of plain texts."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Cell:
    """An entry of a table.

    Args:
        text: what it says.
        is_best: whether it is set off.
    """

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """A table; its first column holds names, the others figures.

    Args:
        columns: their heads.
        rows: one entry a column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Picture:
    """A PNG beside the report.

    Args:
        file: its name.
        caption: what it shows.
    """

    file: str
    caption: str


Block = Heading | Paragraph | Items | Table | Picture
