"""Drawings of a card: the depth of a network, intervals, influence, and the sign of the verdict."""

import math
from collections.abc import Mapping, Sequence

from sne.errors import counted
from sne.networks import Layer, LayerType
from sne.report.depth import Block, Column
from sne.report.judgement import State
from sne.report.markup import Child, Markup, clean, element, join

KINDS: Mapping[str, tuple[int, frozenset[LayerType]]] = {
    "linear": (1, frozenset({LayerType.LINEAR})),
    "convolution": (
        2,
        frozenset({
            LayerType.CONV1D, LayerType.CONV2D, LayerType.CONV3D, LayerType.CONV_TRANSPOSE1D,
            LayerType.CONV_TRANSPOSE2D, LayerType.CONV_TRANSPOSE3D,
        }),
    ),
    "attention": (
        3,
        frozenset({
            LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE, LayerType.ATTENTION_OUT,
        }),
    ),
    "embedding": (4, frozenset({LayerType.EMBEDDING, LayerType.POSITION})),
    "norm": (
        5, frozenset({LayerType.BATCH_NORM, LayerType.LAYER_NORM, LayerType.GROUP_NORM, LayerType.RMS_NORM})
    ),
    "recurrent": (6, frozenset({LayerType.LSTM, LayerType.GRU, LayerType.RNN})),
    "other": (8, frozenset({LayerType.OTHER})),
}  # fmt: skip
"""Kinds of layers: the number of their colour in the style of pages, and the types that they stand for."""

MOST_COLUMNS = 400
"""Largest number of columns that are drawn of a network whose blocks cannot be folded."""

TIMES = "\N{MULTIPLICATION SIGN}"

HEIGHT = 84
"""Height of the drawing of a level, in pixels."""

STYLE = """
.depth { display: flex; flex-wrap: wrap; align-items: flex-end; gap: 3px 2px; margin: 0.75rem 0 0.25rem; }
.depth .block { display: flex; flex-wrap: wrap; align-items: flex-end; gap: 3px 2px; padding: 2px 4px 3px;
  border: 1.5px solid var(--soft); border-radius: 0.4rem; position: relative; margin-top: 1.1rem; }
.depth .block > b { position: absolute; top: -1.25rem; left: 0; font-size: 0.75rem; white-space: nowrap; }
.depth .end { font-size: 0.75rem; color: var(--soft); padding: 0 0.3rem 2px; }
.legend { display: flex; flex-wrap: wrap; gap: 0.1rem 1rem; font-size: 0.8125rem; color: var(--soft); }
.legend span { display: inline-flex; align-items: center; gap: 0.35rem; }
.k1 { fill: var(--kind-1); } .k2 { fill: var(--kind-2); } .k3 { fill: var(--kind-3); } .k4 { fill: var(--kind-4); }
.k5 { fill: var(--kind-5); } .k6 { fill: var(--kind-6); } .k8 { fill: var(--kind-8); }
.track { fill: var(--line); } .range { fill: var(--accent); opacity: 0.35; } .tick { fill: var(--accent); }
.guessed { fill: none; stroke: var(--soft); stroke-dasharray: 3 3; }
.mark-bad { fill: var(--bad); } .mark-doubt { fill: var(--doubt); }
.up { fill: var(--kind-1); } .down { fill: var(--kind-3); } .axis { stroke: var(--soft); }
.attended { fill: var(--kind-4); }
.sign { flex: none; } .sign circle, .sign path { fill: none; stroke: currentColor; stroke-width: 7;
  stroke-linecap: round; stroke-linejoin: round; }
.sign .ground { opacity: 0.25; } .sign .dashed { stroke-dasharray: 9 11; }
.sign text { fill: currentColor; font: 700 34px system-ui, sans-serif; text-anchor: middle; }
"""


def kind_of(layer: Layer) -> str:
    """Returns the kind of a layer, a key of `KINDS`."""
    return next((kind for kind, (_, types) in KINDS.items() if layer.type in types), "other")


def draw_depth(blocks: Sequence[Block], marks: Mapping[str, str]) -> Markup:
    """Draws a network from its input to its output: a column per level, a frame around each block that repeats.

    The height of a column grows with the logarithm of its number of weights. Layers side by side share a column.

    Args:
        blocks: The layers in depth.
        marks: "bad" or "doubt" by the name of each layer that is marked with a dot.
    """
    heaviest = max((column.num_weights for block in blocks for column in block.columns), default=1)
    drawn: list[Child] = [element("span", "input", class_="end")]
    left = MOST_COLUMNS
    for block in blocks:
        shown = block.columns[: max(left, 0)]
        left -= len(block.columns)
        columns = [_column(block, place, heaviest, marks) for place in range(len(shown))]
        if block.times > 1 and columns:
            drawn.append(element("div", element("b", f"{TIMES} {block.times:,}"), *columns, class_="block"))
        else:
            drawn += columns
    if left < 0:
        drawn.append(element("span", f"… {counted(-left, 'level')} not drawn", class_="end"))
    drawn.append(element("span", "output", class_="end"))
    return join(element("div", *drawn, class_="depth", role="img", aria_label="Layers by depth"), _legend(blocks))


def _column(block: Block, place: int, heaviest: int, marks: Mapping[str, str]) -> Markup:
    column = block.columns[place]
    most = math.log10(max(heaviest, 10))
    height = 10 + (HEIGHT - 24) * math.log10(max(column.num_weights, 1)) / most
    shares = [max(cell.num_weights, 1) ** 0.5 for cell in column.cells]
    at, rows = float(HEIGHT), []
    for cell, share in zip(column.cells, shares, strict=True):
        own = height * share / sum(shares)
        at -= own
        number = KINDS[kind_of(cell.layer)][0]
        rows.append(element("rect", x=1, y=at, width=18, height=max(own - 1, 0.5), rx=1.5, class_=f"k{number}"))
    found = {marks[name] for name in block.names_at(place) if name in marks}
    if found:
        worst = "bad" if "bad" in found else "doubt"
        rows.append(element("circle", cx=10, cy=at - 6, r=4, class_=f"mark-{worst}"))
    return element(
        "svg", element("title", _describe(column, block.times)), *rows,
        width=20, height=HEIGHT, viewBox=f"0 0 20 {HEIGHT}",
    )  # fmt: skip


def _describe(column: Column, times: int) -> str:
    lines = []
    for cell in column.cells[:8]:
        more = f" and {cell.count - 1:,} like it" if cell.count > 1 else ""
        lines.append(f"{clean(cell.layer.name, 60)}{more}: {shape_of(cell.layer)}")
    return "\n".join([*lines, f"{column.num_weights:,} weights" + (f", {times:,} times" if times > 1 else "")])


def shape_of(layer: Layer) -> str:
    """Returns type and sizes of a layer in words.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> shape_of(read_network(torch.nn.Conv2d(3, 8, 5)).layers[0])
        'conv2d, 3 → 8, kernel 5 × 5'
    """
    said = layer.type.value.replace("_", " ")
    matrix = next((part for part in layer.parts if part.in_axis is not None), None)
    if matrix is None:
        return said + (f", {layer.parts[0].num_entries:,}" if layer.parts else "")
    num_out, num_in, _ = matrix.arranged_shape
    kernel = [size for axis, size in enumerate(matrix.shape) if axis not in (matrix.out_axis, matrix.in_axis)]
    said += f", {num_in:,} → {num_out:,}"
    return said + (f", kernel {f' {TIMES} '.join(map(str, kernel))}" if kernel else "")


def _legend(blocks: Sequence[Block]) -> Markup:
    totals: dict[str, list[int]] = {}
    for block in blocks:
        for column in block.columns:
            for cell in column.cells:
                total = totals.setdefault(kind_of(cell.layer), [0, 0])
                total[0] += cell.count * block.times
                total[1] += cell.num_weights * block.times
    rows = []
    for kind, (number, _) in KINDS.items():
        if kind in totals:
            square = element("svg", element("rect", width=12, height=12, rx=2, class_=f"k{number}"),
                             width=12, height=12)  # fmt: skip
            layers, weights = totals[kind]
            rows.append(element("span", square, f"{kind}: {counted(layers, 'layer')}, {counted(weights, 'weight')}"))
    return element("div", *rows, class_="legend")


def draw_interval(value: float, low: float, high: float, *, is_guess: bool) -> Markup:
    """Draws a fraction with its interval on a line from 0 to 1; a guess has a dashed outline and no mark."""
    width, height = 160, 14
    low, high, value = (min(max(end, 0.0), 1.0) * width for end in (low, high, value))
    rows = [element("rect", y=5, width=width, height=4, rx=2, class_="track")]
    if is_guess:
        rows.append(element("rect", x=low + 0.5, y=2, width=max(high - low - 1, 1), height=10, class_="guessed"))
    else:
        rows.append(element("rect", x=low, y=2, width=max(high - low, 1), height=10, rx=2, class_="range"))
        rows.append(element("rect", x=max(value - 2, 0), y=0, width=4, height=height, rx=1, class_="tick"))
    return element("svg", *rows, width=width, height=height, viewBox=f"0 0 {width} {height}", aria_hidden="true")


def draw_change(change: float, largest: float) -> Markup:
    """Draws a change as a bar to the left or right of a middle line."""
    width, height = 110, 14
    own = (width / 2 - 2) * abs(change) / max(largest, 1e-12)
    start = width / 2 - own if change < 0 else width / 2
    return element(
        "svg",
        element("rect", x=start, y=2, width=max(own, 0.5), height=10, class_="down" if change < 0 else "up"),
        element("line", x1=width / 2, x2=width / 2, y1=0, y2=height, class_="axis"),
        width=width, height=height, viewBox=f"0 0 {width} {height}", aria_hidden="true",
    )  # fmt: skip


def draw_share(share: float, largest: float) -> Markup:
    """Draws a share as a bar from the left."""
    width, height = 60, 14
    bar = element("rect", y=2, width=width * share / max(largest, 1e-12), height=10, class_="attended")
    return element("svg", bar, width=width, height=height, viewBox=f"0 0 {width} {height}", aria_hidden="true")


def draw_state(state: State, share: float | None) -> Markup:
    """Draws the sign of a verdict: a cross, an empty, part or whole ring, a triangle, or a question mark.

    Args:
        state: The state.
        share: Part of the ring that is drawn, from 0 to 1, where the state rests on a predicted fraction.
    """
    ring = element("circle", cx=32, cy=32, r=26, class_="ground")
    if state is State.BROKEN:
        rows = [ring, element("path", d="M22 22L42 42M42 22L22 42")]
    elif state is State.DOUBTFUL:
        rows = [element("path", d="M32 8L58 54L6 54Z"), element("path", d="M32 26L32 38M32 46L32 46.1")]
    elif state is State.HEALTHY:
        rows = [element("circle", cx=32, cy=32, r=26, class_="dashed"), element("text", "?", x=32, y=44)]
    elif state is State.UNTRAINED:
        rows = [ring]
    else:
        rows = [ring, _arc(share or 0.0)]
        rows += [element("path", d="M22 33L29 40L42 25")] if state is State.GOOD else []
    return element("svg", *rows, width=64, height=64, viewBox="0 0 64 64", class_="sign", aria_hidden="true")


def _arc(share: float) -> Markup:
    angle = 2 * math.pi * min(max(share, 0.0), 0.999)
    x, y = 32 + 26 * math.sin(angle), 32 - 26 * math.cos(angle)
    return element("path", d=f"M32 6A26 26 0 {int(angle > math.pi)} 1 {x:.2f} {y:.2f}")
