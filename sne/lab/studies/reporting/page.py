"""A report as one HTML file that needs nothing else: pictures are part of it."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from sne.lab.studies.reporting.blocks import Block, Cell, Heading, Items, Paragraph, Picture, Table

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
    """Writes blocks as a page.

    Args:
        title: of the window.
        blocks: what it holds.
        folder: where the pictures are.
    """
    body = "\n".join(_block(block, folder) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _block(block: Block, folder: Path) -> str:
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
            lines = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
            return f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div>'


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    return f"<td><b>{text}</b></td>" if cell.is_best else f"<td>{text}</td>"
