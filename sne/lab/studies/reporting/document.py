"""The parts of a report, and how they are written as Markdown and as one HTML page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path


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
        text: Text of the entry.
        is_best: Whether it is shown in bold.
    """

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column contains names and whose other columns contain figures.

    Args:
        columns: Headings of the columns.
        rows: Rows with one entry per column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Picture:
    """A PNG file in the folder of the report.

    Args:
        file: Name of the file.
        caption: Description of the picture.
    """

    file: str
    caption: str


Block = Heading | Paragraph | Items | Table | Picture


def to_markdown(blocks: Sequence[Block]) -> str:
    r"""Writes blocks as Markdown; pictures stay separate files.

    Args:
        blocks: Parts of the report.

    Example:
        >>> to_markdown([Heading("Title", 1), Items(["one"])])
        '# Title\n\n- one\n'
    """
    return "\n\n".join(_markdown_block(block) for block in blocks) + "\n"


def _markdown_block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Items(texts):
            return "\n".join(f"- {text}" for text in texts)
        case Picture(file, caption):
            return f"![{caption}]({file})"
        case Table(columns, rows):
            lines = [_markdown_line([_markdown_text(name) for name in columns]), "|---|" + "---:|" * (len(columns) - 1)]
            return "\n".join([*lines, *(_markdown_line([_markdown_cell(cell) for cell in row]) for row in rows)])


def _markdown_line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    return f"**{text}**" if cell.is_best else text


def _markdown_text(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; color: #1f2933; background: #fff;
  max-width: 1240px; margin: 0 auto; padding: 32px 28px 80px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 14px; }
h2 { font-size: 20px; margin: 42px 0 10px; padding-top: 14px; border-top: 1px solid #e4e7eb; }
h3 { font-size: 16px; margin: 26px 0 8px; }
p, ul { max-width: 820px; margin: 0 0 12px; }
.scroll { overflow-x: auto; margin: 0 0 18px; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 9px; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e7eb; }
th { font-weight: 600; color: #52606d; vertical-align: bottom; border-bottom: 2px solid #cbd2d9; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr:hover td { background: #f5f7fa; }
figure { margin: 0 0 22px; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #52606d; font-size: 13.5px; max-width: 820px; }
"""


def to_page(title: str, blocks: Sequence[Block], folder: Path) -> str:
    """Writes blocks as an HTML page that contains its pictures and needs no other file.

    Args:
        title: Title of the browser window.
        blocks: Parts of the report.
        folder: Folder of the pictures.
    """
    body = "\n".join(_html_block(block, folder) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_block(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Items(texts):
            return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"
        case Picture(file, caption):
            data, text = base64.b64encode((folder / file).read_bytes()).decode(), escape(caption)
            image = f'<img src="data:image/png;base64,{data}" alt="{text}">'
            return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
        case Table(columns, rows):
            head = "".join(f"<th>{escape(name)}</th>" for name in columns)
            lines = "".join("<tr>" + "".join(_html_cell(cell) for cell in row) + "</tr>" for row in rows)
            return f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div>'


def _html_cell(cell: Cell) -> str:
    text = escape(cell.text)
    return f"<td><b>{text}</b></td>" if cell.is_best else f"<td>{text}</td>"
