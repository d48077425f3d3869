"""Draws the SVG files of the concept pages beside this script: `python docs/images/draw.py`."""

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

FOLDER: Final = Path(__file__).parent
STYLE: Final = """<style>svg{color:#222}@media (prefers-color-scheme:dark){svg{color:#ddd}}</style>"""
TEAL, AMBER, ROSE, BLUE = "#159a8c", "#d08a1d", "#d1496b", "#3b7dd8"


def text(x: float, y: float, words: str, *, size: float = 13, anchor: str = "middle", colour: str = "") -> str:
    """Words; a colour of the page unless one is given."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{colour or "currentColor"}">'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, *, colour: str = TEAL, fill: float = 0.15) -> str:
    """A rounded rectangle."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" fill="{colour}" '
        f'fill-opacity="{fill:g}" stroke="{colour}"/>'
    )


def titled(x: float, y: float, width: float, height: float, *lines: str, colour: str = TEAL) -> str:
    """A rectangle with centred lines of text."""
    first = y + height / 2 - 8 * (len(lines) - 1) + 4.5
    words = (text(x + width / 2, first + 16 * row, line, size=13 - (row > 0)) for row, line in enumerate(lines))
    return box(x, y, width, height, colour=colour) + "".join(words)


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str = "", width: float = 1.5, dash: str = "") -> str:
    """A line; a colour of the page unless one is given."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour or "currentColor"}" '
        f'stroke-width="{width:g}"{dashes}/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """A horizontal or vertical arrow."""
    if y1 == y2:
        head = f"M{x2:g} {y2:g} l-8 -4 v8 z"
    else:
        head = f"M{x2:g} {y2:g} l-4 -8 h8 z"
    return line(x1, y1, x2, y2) + f'<path d="{head}" fill="currentColor"/>'


def circle(x: float, y: float, radius: float, *, colour: str, fill: float = 0.15) -> str:
    """A circle."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}" fill-opacity="{fill:g}" stroke="{colour}"/>'


def write(name: str, width: int, height: int, title: str, *shapes: str) -> None:
    """Writes a drawing, with one shape per line."""
    body = "\n".join(shapes)
    (FOLDER / f"{name}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif">\n<title>{escape(title)}</title>\n{STYLE}\n{body}\n</svg>\n',
        encoding="utf-8",
    )


def draw_method() -> None:
    """The encoder of the paper: chunks, layers, network."""
    shapes = []
    for row, (layer, chunks) in enumerate((("conv, level 0", 2), ("conv, level 1", 3), ("linear, level 2", 4))):
        y = 48 + 72 * row
        shapes += [titled(10, y, 104, 44, "weights", layer), arrow(116, y + 22, 148, y + 22)]
        for chunk in range(chunks):
            shapes.append(box(152 + 26 * chunk, y + 6, 20, 32, colour=AMBER))
            for dot in range(3):
                shapes.append(circle(162 + 26 * chunk, y + 13 + 9 * dot, 2.5, colour=AMBER, fill=1))
        shapes += [arrow(262, y + 22, 294, y + 22)]
        for chunk in range(chunks):
            shapes.append(box(300 + 22 * chunk, y + 4, 12, 36, colour=BLUE, fill=0.5))
        shapes += [arrow(394, y + 22, 428, y + 22), box(436, y + 2, 14, 40, colour=ROSE, fill=0.5)]
        shapes.append(line(456, y + 22, 494, 142))
    shapes += [arrow(494, 142, 512, 142), box(520, 118, 16, 48, colour=TEAL, fill=0.7)]
    shapes += [arrow(544, 142, 572, 142), titled(578, 122, 92, 40, "head", "accuracy, ...")]
    for x, first, second in (
        (62, "layers", ""), (204, "chunks", "sets of c scalars"), (340, "one vector", "per chunk"),
        (443, "one vector", "per layer"), (528, "the network", "z"),
    ):  # fmt: skip
        shapes += [text(x, 18, first), text(x, 34, second, size=11)]
    for x, words in ((278, "Φ1, Ψ2"), (412, "Φ3, Ψ4"), (500, "Φ5, Ψ6")):
        shapes.append(text(x, 268, words, size=12))
    shapes += [line(278, 254, 278, 232, dash="2 3"), line(412, 254, 412, 232, dash="2 3")]
    shapes.append(line(500, 254, 500, 162, dash="2 3"))
    write("method", 680, 280, "Chunks are encoded as sets, then layers, then the network", *shapes)


def draw_encoder() -> None:
    """The default encoder: one token per tensor, attention, other experts."""
    shapes = [text(78, 20, "tensors"), text(238, 20, "what is measured"), text(400, 20, "tokens")]
    for row, name in enumerate(("0.weight", "0.bias", "2.weight", "2.bias")):
        y = 38 + 50 * row
        shapes += [titled(30, y, 96, 30, name), line(128, y + 15, 150, 124, width=1)]
        shapes += [line(326, 124, 346, y + 15, width=1), box(350, y + 5, 100, 20, colour=BLUE, fill=0.4)]
        shapes.append(line(452, y + 15, 480, 124, width=1))
    shapes.append(box(154, 38, 168, 172, colour=AMBER))
    measured = "values: scale, spread,", "spectrum, angles", "signals through layers", "images through layers"
    for row, words in enumerate((*measured, "type, role, depth")):
        shapes.append(text(238, 62 + 31 * row, words, size=12))
    shapes += [
        titled(484, 76, 104, 96, "attention,", "2 blocks", "4 seeds pool", colour=ROSE),
        arrow(590, 124, 620, 124),
    ]
    shapes += [titled(624, 104, 104, 40, "neural expert")]
    shapes += [line(238, 212, 238, 262), arrow(238, 262, 344, 262)]
    shapes += [titled(348, 240, 184, 44, "description of fixed length", "first, last, mean, spread", colour=BLUE)]
    shapes += [arrow(534, 262, 562, 262), titled(566, 240, 162, 44, "experts on descriptions", "forest, kernel, ...")]
    shapes += [line(676, 146, 676, 236, dash="3 3"), text(668, 196, "weighted", size=12, anchor="end")]
    write("encoder", 738, 296, "Every tensor becomes one token; experts read tokens or a description", *shapes)


def draw_symmetry() -> None:
    """Two hidden neurons change places, and the function stays."""
    shapes = []
    inputs, outputs = (70, 150), (70, 150)
    hidden = (40, 110, 180)
    colours = (ROSE, BLUE, AMBER)
    for left, order, words in ((30, (0, 1, 2), "a network"), (380, (1, 0, 2), "the same function")):
        for place, neuron in enumerate(order):
            colour = colours[neuron]
            shapes += [line(left, y, left + 120, hidden[place], colour=colour, width=2) for y in inputs]
            shapes += [line(left + 120, hidden[place], left + 240, y, colour=colour, width=2) for y in outputs]
        shapes += [circle(left, y, 11, colour=TEAL, fill=1) for y in inputs]
        shapes += [circle(left + 240, y, 11, colour=TEAL, fill=1) for y in outputs]
        for place, neuron in enumerate(order):
            shapes.append(circle(left + 120, hidden[place], 13, colour=colours[neuron], fill=1))
            shapes.append(text(left + 120, hidden[place] + 4.5, "abc"[neuron], colour="#fff"))
        shapes.append(text(left + 120, 226, words))
    shapes += [arrow(300, 110, 352, 110), text(326, 98, "a ⇄ b", size=12)]
    shapes.append(text(325, 252, "Rows of one matrix and columns of the next change places together.", size=12))
    write("symmetry", 650, 264, "Two hidden neurons change places with all their weights", *shapes)


def draw_intervals() -> None:
    """Left: intervals and measured values. Right: the known domain."""
    shapes = [
        line(40, 230, 330, 230),
        line(40, 230, 40, 20),
        text(185, 254, "predicted"),
        line(40, 230, 320, 24, dash="4 4"),
    ]
    shapes.append('<text transform="translate(24 130) rotate(-90)" font-size="13" text-anchor="middle" '
                  'fill="currentColor">measured</text>')  # fmt: skip
    points = ((70, 18, 4), (98, 30, -14), (126, 40, 18), (154, 44, -20), (182, 36, 46), (210, 30, 12), (238, 22, -8),
              (262, 18, 8), (284, 14, -5), (304, 12, 3))  # fmt: skip
    for x, half, off in points:
        middle = 230 - (x - 40) * 206 / 280
        inside = abs(off) <= half
        shapes.append(line(x, middle - half, x, middle + half, colour=TEAL, width=4))
        shapes.append(circle(x, middle - off, 4, colour=BLUE if inside else ROSE, fill=1))
    shapes.append(text(185, 276, "Nine of ten measured values lie in their interval.", size=12))
    cloud = ((452, 112), (470, 90), (484, 128), (500, 104), (512, 140), (524, 92), (462, 140), (540, 120), (495, 76),
             (600, 172), (616, 158), (628, 180), (610, 190), (640, 166))  # fmt: skip
    shapes += ['<ellipse cx="496" cy="110" rx="72" ry="58" fill="#159a8c" fill-opacity=".12" stroke="#159a8c"/>']
    shapes += ['<ellipse cx="619" cy="173" rx="42" ry="34" fill="#159a8c" fill-opacity=".12" stroke="#159a8c"/>']
    shapes += [circle(x, y, 4, colour=TEAL, fill=1) for x, y in cloud]
    shapes += [circle(514, 114, 5, colour=BLUE, fill=1), line(518, 108, 552, 46, width=1)]
    shapes += [text(556, 40, "known: value and 90% interval", size=12)]
    shapes += [
        circle(410, 206, 5, colour=ROSE, fill=1),
        text(422, 222, "outside the known domain", size=12, anchor="start"),
    ]
    shapes.append(text(530, 276, "Training networks, by family.", size=12))
    write(
        "intervals",
        690,
        288,
        "Intervals hold nine of ten values; networks far from all training networks are marked",
        *shapes,
    )


def main() -> None:
    """Writes all drawings."""
    draw_method()
    draw_encoder()
    draw_symmetry()
    draw_intervals()


if __name__ == "__main__":
    main()
