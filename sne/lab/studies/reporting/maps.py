"""Maps of embeddings: t-SNE plots, and how often neighbours have the same data set."""

from pathlib import Path
from typing import Any

import numpy as np

from sne.lab.studies.outcomes import Outcome, Outcomes
from sne.lab.studies.reporting.document import Cell, Picture, Table
from sne.lab.studies.reporting.plots import LINE_COLOURS, new_figure, save
from sne.lab.studies.study import METRICS

NEIGHBOURS = 5
MOST_METHODS = 8


def draw_maps(outcomes: Outcomes, folder: Path) -> tuple[Picture, Table] | None:
    """Draws the embeddings that jobs have kept.

    Args:
        outcomes: Outcomes of the study.
        folder: Folder of the picture.

    Returns:
        The picture, and a table of how often neighbours in the embedding space have the same data set; None if no
        embeddings were kept.
    """
    drawable = [o for o in outcomes.all if o.status == "done" and o.task.has_map and "embeddings" in o.judged[0]]
    found: dict[str, Outcome] = {}
    for outcome in drawable:
        found.setdefault(outcome.method.label, outcome)
    found = dict(list(found.items())[:MOST_METHODS])
    if not found:
        return None
    figure = new_figure(8.2, 2.9 * len(found))
    grid = figure.subplots(len(found), 2, squeeze=False)
    for (label, outcome), row in zip(found.items(), grid, strict=True):
        _draw(figure, row, label, outcome)
    save(figure, folder, "map.png")
    rows = [
        [Cell(label), Cell(f"{share:.3f}"), Cell(f"{chance:.3f}")]
        for label, (share, chance) in ((label, neighbours_agree(outcome)) for label, outcome in found.items())
    ]
    heads = ["", f"share of the {NEIGHBOURS} nearest neighbours with the same data set", "by chance"]
    caption = (
        "t-SNE of the embeddings of held-out networks, first seed. Colours: data set (left), measured value (right)."
    )
    return Picture("map.png", caption), Table(heads, rows)


def neighbours_agree(outcome: Outcome) -> tuple[float, float]:
    """Computes how many of a network's nearest neighbours have its data set; checkpoints of its own run do not count.

    Args:
        outcome: Outcome of a task that kept embeddings.

    Returns:
        The share, averaged over networks and seeds, and its expected value if neighbours were drawn at random.
    """
    shares, chances = [], []
    for judged in outcome.judged:
        points = np.array(judged["embeddings"])
        names, runs = np.array(judged["dataset"]), np.array(judged["runs"])
        apart = ((points[:, None] - points[None]) ** 2).sum(-1)
        other = runs[:, None] != runs[None]
        apart[~other] = np.inf
        nearest = np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS]
        same = names[:, None] == names[None]
        shares.append(float(np.take_along_axis(same, nearest, 1).mean()))
        chances.append(float((same & other).sum() / other.sum()))
    return float(np.mean(shares)), float(np.mean(chances))


def _draw(figure: Any, row: np.ndarray, label: str, outcome: Outcome) -> None:
    """Draws two panels: the points coloured by data set and by measured value."""
    from sklearn.manifold import TSNE

    judged = outcome.judged[0]
    points = np.array(judged["embeddings"])
    perplexity = min(30.0, max(len(points) / 4, 2.0))
    flat = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
    names = np.array(judged["dataset"])
    for number, name in enumerate(sorted(set(names))):
        mine = names == name
        row[0].scatter(*flat[mine].T, s=14, color=LINE_COLOURS[number], label=name, alpha=0.8, linewidths=0)
    row[0].legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(-0.02, 0.5), markerscale=1.5)
    row[0].set_title(label, fontsize=10.5)
    if outcome.measured.dtype != object:
        drawn = row[1].scatter(*flat.T, s=14, c=outcome.measured, cmap="viridis", linewidths=0)
        figure.colorbar(drawn, ax=row[1], shrink=0.85).set_label(f"measured {outcome.task.target}", fontsize=8)
    tau = outcome.mean(outcome.task.metric)
    row[1].set_title("" if tau is None else f"{METRICS[outcome.task.metric]} {tau:.3f}", fontsize=9)
    for axes in row:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#d1d5db")
