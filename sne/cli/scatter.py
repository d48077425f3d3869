"""The page of `sne evaluate --plot`: scatter plots of predicted against measured values.

Names from a zoo or a predictor are escaped, since plotly reads texts as HTML.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sne.errors import SneError, install_hint

if TYPE_CHECKING:
    from sne.predictors import Property
    from sne.training import PropertyEvaluation

# Okabe and Ito's colours, which colour-blind readers can tell apart
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_GREY = "#6b7280"
_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Predicted and measured</title>
<style>body { margin: 24px auto; max-width: 860px; background: white; }</style></head>
"""


def check_can_plot(path: Path, properties: Sequence["Property"]) -> None:
    """Checks before long work that a page can be drawn and written.

    Args:
        path: The page.
        properties: Properties to draw; those that are classes are left out.

    Raises:
        SneError: The name does not end in .html, the file cannot be written, plotly is not installed, or all properties
            are classes.
    """
    from sne.work import check_can_write

    if path.suffix != ".html":
        raise SneError(f"--plot is {path}, expected a name that ends in .html")
    try:
        import plotly.graph_objects  # noqa: F401
    except ImportError:
        raise SneError(f"--plot needs plotly; {install_hint('plot')}") from None
    if all(prop.kind == "class" for prop in properties):
        raise SneError("--plot draws numbers, but every property of this predictor is a class")
    check_can_write(path)


def write_scatter(
    evaluations: Sequence["PropertyEvaluation"], path: Path, *, families: Mapping[str, str] | None = None
) -> None:
    """Writes one self-contained HTML page with one plot per numeric property.

    Args:
        evaluations: What to draw; properties that are classes are left out.
        path: The page.
        families: Family of each network by id, one colour per family; None: all networks have one colour.

    Raises:
        WriteError: The file cannot be written.
    """
    import plotly.graph_objects as go

    from sne.work import write_atomically

    numeric = [evaluation for evaluation in evaluations if evaluation.property.kind != "class"]
    pieces = []
    for number, evaluation in enumerate(numeric):
        figure = go.Figure()
        _draw(figure, evaluation, families or {})
        pieces.append(figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False}))
    write_atomically(path, f"{_HEAD}<body>{''.join(pieces)}</body></html>\n")


def _draw(figure: Any, evaluation: "PropertyEvaluation", families: Mapping[str, str]) -> None:
    rows = evaluation.table()
    low, high = _range(evaluation, rows)
    figure.add_scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        line={"dash": "dot", "color": _GREY, "width": 1.5},
        name="predicted = measured",
        hoverinfo="skip",
    )
    names = [escape(families.get(row["id"], "networks")) for row in rows]
    for place, name in enumerate(sorted(set(names))):
        drawn = [row for row, family in zip(rows, names, strict=True) if family == name]
        colour = _COLOURS[place % len(_COLOURS)]
        figure.add_scatter(
            x=[row["measured"] for row in drawn],
            y=[row["predicted"] for row in drawn],
            error_y=_intervals(drawn, colour),
            mode="markers",
            marker={"color": colour, "size": 9, "opacity": 0.85, "line": {"color": "white", "width": 1}},
            name=name,
            customdata=[[escape(row["id"]), _span(row)] for row in drawn],
            hovertemplate="%{customdata[0]}<br>measured %{x:.4f}<br>predicted %{y:.4f}%{customdata[1]}<extra></extra>",
        )
    prop = escape(evaluation.property.name)
    axis = {"range": [low, high], "zeroline": False, "gridcolor": "#e5e7eb", "linecolor": _GREY, "ticks": "outside"}
    figure.update_layout(
        title={"text": _title(evaluation), "x": 0.02, "xanchor": "left"},
        xaxis={**axis, "title": f"measured {prop}"},
        yaxis={**axis, "title": f"predicted {prop}", "scaleanchor": "x"},
        legend={"orientation": "h", "x": 0.0, "y": 1.0, "yanchor": "bottom"},
        font={"family": "system-ui, sans-serif", "size": 14, "color": "#111827"},
        template="plotly_white",
        width=820,
        height=820,
        margin={"l": 80, "r": 30, "t": 120, "b": 70},
    )


def _range(evaluation: "PropertyEvaluation", rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Returns the limits of both axes: [0, 1] with a margin for fractions, else the limits of the points."""
    if evaluation.property.kind == "fraction":
        return -0.03, 1.03
    values = [row[name] for row in rows for name in ("measured", "predicted")]
    low, high = min(values, default=0.0), max(values, default=1.0)
    edge = 0.04 * (high - low) or 1.0
    return low - edge, high + edge


def _intervals(rows: Sequence[Mapping[str, Any]], colour: str) -> dict[str, Any] | None:
    """Returns thin bars behind the points; None if the predictor has no intervals."""
    if any(row["low"] is None for row in rows):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [row["high"] - row["predicted"] for row in rows],
        "arrayminus": [row["predicted"] - row["low"] for row in rows],
        "color": f"rgba({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))}, 0.2)",
        "thickness": 1,
        "width": 0,
    }


def _span(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f"<br>90% interval {row['low']:.4f} - {row['high']:.4f}"


def _title(evaluation: "PropertyEvaluation") -> str:
    """Returns the property, the figures of the predictor, and those of the best baseline."""
    figures = evaluation.figures()
    taus = {name: beside["kendall_tau"] for name, beside in figures.items() if beside["kendall_tau"] is not None}
    own = figures["sne"]
    shown = [f"{name} {own[key]:.3f}" for name, key in (("tau", "kendall_tau"), ("R2", "r2")) if own[key] is not None]
    text = f"<b>{escape(evaluation.property.name)}</b> of {own['n']} networks from their weights<br>"
    text += f"<span style='font-size: 14px; color: {_GREY}'>sne: {', '.join(shown) or 'no figures'}"
    others = {name: tau for name, tau in taus.items() if name != "sne"}
    if others:
        best = max(others, key=lambda name: others[name])
        text += f"; best baseline ({escape(best)}): tau {others[best]:.3f}"
    return text + "</span>"
