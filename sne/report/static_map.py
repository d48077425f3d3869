"""A map as a picture for papers, drawn with matplotlib, which writes vector files without a browser."""

from pathlib import Path
from typing import Any

import numpy as np

from sne.errors import ReportError, install_hint
from sne.report.map_data import Column
from sne.report.map_page import MapDrawing, colour_column

SUFFIXES = (".png", ".pdf", ".svg")

COLOURS = ("#4269d0", "#c98a00", "#d9455f", "#3b9c8c", "#3a8a4d", "#a463d0", "#8a6a4f")
"""Colours of the most frequent values, as on the page; the others are grey."""

OTHER, MISSING, INK, LINE = "#8a929c", "#d5dae0", "#1b1f24", "#b8c4d4"

LOG_RANGE = 200
"""Ratio of the largest and the smallest number from which on a scale is logarithmic."""

LABEL_SIGNS = 26


def check_can_draw(path: str | Path) -> None:
    """Checks before long work that a picture can be drawn.

    Raises:
        ReportError: The name has another ending than `SUFFIXES`, or matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ReportError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ReportError(f"a picture of a map needs matplotlib; {install_hint('studies')}") from None


def write_static_map(
    drawing: MapDrawing, path: str | Path, *, title: str | None = None, colour: str | None = None
) -> None:
    """Writes a picture of a map: networks in colour, contours of the density, lineage, and labels of clusters.

    Args:
        drawing: What the map shows.
        path: File that ends in .png, .pdf or .svg.
        title: Title above the map; None for none.
        colour: Property that colours the networks; None to choose one.

    Raises:
        ReportError: As `check_can_draw`, or there is no such property.
        WriteError: The file cannot be written.
    """
    check_can_draw(path)
    import matplotlib
    from matplotlib.figure import Figure

    from sne.work import replacing

    column = colour_column(drawing, colour)
    figure = Figure(figsize=(7.2, 6.2), layout="constrained", dpi=200)
    axes = figure.subplots()
    grid = drawing.density
    levels = [0.2, 0.4, 0.6, 0.8]
    axes.contour(grid.at, grid.at, grid.outside, levels=levels, colors=LINE, linewidths=0.6, zorder=1)
    _draw_edges(axes, drawing)
    _draw_networks(figure, axes, drawing, column)
    _draw_labels(axes, drawing)
    axes.set(xlim=(-1.12, 1.12), ylim=(-1.12, 1.12), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_color(MISSING)
    if title:
        axes.set_title(_plain(title), fontsize=10)
    suffix = Path(path).suffix.lower()
    # no date, so that equal maps give equal files; names of networks are drawn as they are, not as formulas
    meta = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}[suffix]
    with matplotlib.rc_context({"svg.hashsalt": "sne"}), replacing(path) as partial:
        figure.savefig(partial, format=suffix[1:], metadata=meta)


def _draw_networks(figure: Any, axes: Any, drawing: MapDrawing, column: Column | None) -> None:
    """Draws the points, and says what their colours mean."""
    from matplotlib.colors import LogNorm

    places, size = drawing.places, float(np.clip(9000 / max(len(drawing.data), 1), 1.5, 30))
    style = {"s": size, "linewidths": 0.25 if size > 5 else 0, "edgecolors": "white", "zorder": 3}
    if column is None:
        axes.scatter(*places.T, color=COLOURS[0], **style)
    elif column.is_number:
        known, values = column.is_known, column.values
        axes.scatter(*places[~known].T, color=MISSING, **style)
        low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
        norm = LogNorm(low, high) if low > 0 and high / low > LOG_RANGE else None
        drawn = axes.scatter(*places[known].T, c=values[known], cmap="viridis", norm=norm, **style)
        figure.colorbar(drawn, ax=axes, shrink=0.7, pad=0.02).set_label(_plain(column.title), fontsize=9)
    else:
        names, counts = np.unique(column.values[column.is_known].astype(str), return_counts=True)
        order = names[np.argsort(-counts, kind="stable")]
        main = order if len(order) <= len(COLOURS) else order[: len(COLOURS)]
        rest = ~np.isin(column.values.astype(str), main)
        if rest.any():
            axes.scatter(*places[rest].T, color=OTHER, label="others", **style)
        for name, colour in zip(main, COLOURS, strict=False):
            mine = column.is_known & (column.values.astype(str) == name)
            axes.scatter(*places[mine].T, color=colour, label=_plain(name), **style)
        figure.legend(
            loc="outside lower center", ncols=4, frameon=False, fontsize=8, markerscale=max(1.0, (20 / size) ** 0.5)
        )


def _draw_edges(axes: Any, drawing: MapDrawing) -> None:
    rows = {name: row for row, name in enumerate(drawing.data.names)}
    for edge in drawing.edges:
        for parent in (edge.parent, *([] if edge.merged_with is None else [edge.merged_with[0]])):
            if parent in rows and edge.child in rows:
                ends = drawing.places[rows[parent]], drawing.places[rows[edge.child]]
                arrow = {"arrowstyle": "-|>", "color": "#57606a", "linewidth": 0.6, "shrinkA": 2, "shrinkB": 3}
                axes.annotate("", xy=ends[1], xytext=ends[0], arrowprops=arrow, zorder=2)


def _draw_labels(axes: Any, drawing: MapDrawing) -> None:
    """Draws the labels of clusters, the largest first, where there is room."""
    from matplotlib.patheffects import withStroke

    taken: list[tuple[float, float, float, float]] = []
    for cluster, label in zip(drawing.clusters, drawing.labels, strict=True):
        lines = _wrapped(label)
        half = 0.0125 * max(map(len, lines)) + 0.02, 0.035 * len(lines)
        box = (cluster.x, cluster.y, *half)
        if not label or any(_overlap(box, other) for other in taken):
            continue
        taken.append(box)
        text = "\n".join(map(_plain, lines))
        drawn = axes.text(cluster.x, cluster.y, text, fontsize=7.5, ha="center", va="center", color=INK, zorder=4)
        drawn.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return abs(one[0] - other[0]) < one[2] + other[2] and abs(one[1] - other[1]) < one[3] + other[3]


def _wrapped(label: str) -> list[str]:
    """Breaks a label at spaces into lines of up to `LABEL_SIGNS` signs.

    Example:
        >>> _wrapped("svhn_crops_gs, test_loss 2.04 to 2.24")
        ['svhn_crops_gs, test_loss', '2.04 to 2.24']
    """
    lines = [""]
    for word in label.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= LABEL_SIGNS:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
    return lines


def _plain(text: str) -> str:
    """Returns a text in which matplotlib sees no formula, without characters that fonts and XML cannot hold."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text).replace("$", r"\$")
