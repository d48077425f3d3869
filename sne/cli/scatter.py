"""The scatter page of `sne evaluate --plot`: predicted against measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sne.training import Evaluation


def write_scatter(evaluations: Sequence["Evaluation"], path: Path) -> None:
    """Writes one self-contained HTML page with a plot for each numeric property.

    Args:
        evaluations: what to draw; classes are left out.
        path: the page.

    Raises:
        typer.BadParameter: plotly is not installed, or there is nothing to draw.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise typer.BadParameter("needs plotly: pip install 'sne[plot]'", param_hint="--plot") from None
    numeric = [evaluation for evaluation in evaluations if evaluation.property.kind != "class"]
    if not numeric:
        raise typer.BadParameter("draws numbers, every property here is a class", param_hint="--plot")
    pieces = []
    for number, evaluation in enumerate(numeric):
        rows = evaluation.table()
        measured = [row["measured"] for row in rows]
        predicted = [row["predicted"] for row in rows]
        figures = evaluation.figures()["sne"]
        errors = None
        if evaluation.half_width is not None:
            errors = {
                "type": "data",
                "symmetric": False,
                "array": [row["high"] - row["predicted"] for row in rows],
                "arrayminus": [row["predicted"] - row["low"] for row in rows],
                "thickness": 0.5,
                "width": 0,
            }
        ends = [min([*measured, *predicted], default=0.0), max([*measured, *predicted], default=1.0)]
        figure = go.Figure()
        figure.add_scatter(x=ends, y=ends, mode="lines", line={"dash": "dot", "color": "gray"}, name="equal")
        figure.add_scatter(
            x=measured,
            y=predicted,
            error_y=errors,
            mode="markers",
            text=[row["id"] for row in rows],
            name="sne",
        )
        tau = figures["kendall_tau"]
        title = f"{evaluation.property.name}: n={figures['n']}" + ("" if tau is None else f", tau={tau:.3f}")
        figure.update_layout(
            title=title,
            xaxis_title="measured",
            yaxis_title="predicted",
            template="plotly_white",
            showlegend=False,
        )
        pieces.append(figure.to_html(full_html=False, include_plotlyjs=number == 0))
    head = '<!DOCTYPE html><html><head><meta charset="utf-8"><title>Predicted and measured</title></head>'
    path.write_text(f"{head}<body>{''.join(pieces)}</body></html>\n", encoding="utf-8")
