"""A report as Markdown."""

from collections.abc import Sequence

from sne.lab.studies.reporting.blocks import Block, Cell, Heading, Items, Paragraph, Picture, Table


def to_markdown(blocks: Sequence[Block]) -> str:
    """Writes blocks as Markdown; pictures stay files beside it."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def _block(block: Block) -> str:
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
            lines = [_line([_escaped(name) for name in columns]), "|---|" + "---:|" * (len(columns) - 1)]
            return "\n".join([*lines, *(_line([_cell(cell) for cell in row]) for row in rows)])


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _cell(cell: Cell) -> str:
    text = _escaped(cell.text)
    return f"**{text}**" if cell.is_best else text


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
