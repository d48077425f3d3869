"""The plots of a report, as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sne.lab.studies.methods import Method
from sne.lab.studies.outcomes import Outcome, Outcomes
from sne.lab.studies.reporting.document import Picture
from sne.lab.studies.reporting.tables import ordered_methods, total_text
from sne.lab.studies.requirements import check_extras
from sne.lab.studies.resampling import interval_of
from sne.lab.studies.study import LOWER_IS_BETTER, METRICS, Study, StudyTask

SNE_COLOUR, OTHER_COLOUR, APART_COLOUR = "#2563eb", "#94a3b8", "#d6a35c"
LINE_COLOURS = (
    "#2563eb", "#ea580c", "#059669", "#9333ea", "#b91c1c", "#0891b2", "#a16207", "#db2777", "#4b5563", "#65a30d",
)  # fmt: skip
MARKERS = "osD^vPX<>h"
MOST_PANELS = 16


def draw_all(study: Study, outcomes: Outcomes, folder: Path) -> list[Picture]:
    """Draws the plots that a study declares and its tasks allow.

    Args:
        study: The study.
        outcomes: Its outcomes.
        folder: Folder of the pictures.

    Returns:
        The pictures, in the order of the report.
    """
    drawn = [
        _bars(outcomes, folder) if study.has_bars else None,
        _curve(study, outcomes, folder) if study.curve else None,
        _matrices(outcomes, folder),
        _scatter(outcomes, folder) if study.has_scatter else None,
    ]
    return [picture for picture in drawn if picture is not None]


def new_figure(width: float, height: float) -> Any:
    """Returns an empty figure that needs no window.

    Args:
        width: Width in inches.
        height: Height in inches.

    Raises:
        StudyError: If matplotlib is not installed.
    """
    check_extras(has_plots=True)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=130)


def save(figure: Any, folder: Path, name: str) -> None:
    """Writes a figure as PNG without a date, so that equal figures give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name, metadata={"Software": None})


def tidy(axes: Any, grid: str = "both") -> None:
    """Removes the box around axes and adds a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(True, axis=grid, color="#e5e7eb", linewidth=0.8)
    axes.tick_params(labelsize=9)


def _bars(outcomes: Outcomes, folder: Path) -> Picture | None:
    """Draws one panel per group with one bar per method, with intervals."""
    methods, groups = ordered_methods(outcomes), outcomes.groups
    totals = {(m.name, g): outcomes.total(m, g) for m in methods for g in groups}
    if not any(total.outcomes for total in totals.values()):
        return None
    columns = min(len(groups), 3)
    rows = -(-len(groups) // columns)
    height = rows * (0.9 + 0.29 * len(methods))
    figure = new_figure(3.2 + 3.1 * columns, height + 0.3)
    figure.get_layout_engine().set(hspace=0.06)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel, axes in zip(groups, grid.flat, strict=False):
        metric = totals[methods[0].name, panel].metric
        tidy(axes, "x")
        for place, method in enumerate(methods):
            total = totals[method.name, panel]
            if total.mean is None:
                axes.text(0.01, place, total_text(total, outcomes), va="center", fontsize=8, color="#6b7280",
                          transform=axes.get_yaxis_transform())  # fmt: skip
                continue
            low, high = interval_of(total.draws)
            reach = [[max(total.mean - low, 0.0)], [max(high - total.mean, 0.0)]]
            hatch = None if total.is_whole else "////"
            axes.barh(place, total.mean, height=0.7, color=_colour(method), hatch=hatch, edgecolor="white", linewidth=0)
            axes.errorbar(total.mean, place, xerr=reach, color="#1f2937", linewidth=1.1, capsize=2.5)
        axes.set_yticks(range(len(methods)), [method.label for method in methods])
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.axvline(0, color="#9ca3af", linewidth=0.8)
        axes.set_title("" if panel == "all" else panel, fontsize=10.5)
        axes.set_xlabel(METRICS[metric] + (" (lower is better)" if metric in LOWER_IS_BETTER else ""), fontsize=9)
    for axes in list(grid.flat)[len(groups) :]:
        axes.set_visible(False)
    save(figure, folder, "bars.png")
    caption = "Means over seeds and held-out sets, with 95% intervals. Blue: SNE"
    if any(_colour(method) == APART_COLOUR for method in methods):
        caption += "; brown: reads more than weights"
    if any(not t.is_whole and t.outcomes for t in totals.values()):
        caption += "; hatched: results on some held-out sets only"
    return Picture("bars.png", caption + ".")


def _curve(study: Study, outcomes: Outcomes, folder: Path) -> Picture | None:
    """Draws one panel per metric, with one line per method over tasks, or a single line over methods."""
    done = [o for o in outcomes.all if o.status == "done"]
    metrics = list(dict.fromkeys(outcome.task.metric for outcome in done))
    if not done:
        return None
    figure = new_figure(7.6 if len(metrics) == 1 else 4.4 * len(metrics), 4.6)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        _curve_panel(axes, metric, [outcome for outcome in done if outcome.task.metric == metric])
        axes.set_xlabel(study.curve)
        targets = dict.fromkeys(outcome.task.target for outcome in done if outcome.task.metric == metric)
        axes.set_title(", ".join(targets) if len(metrics) > 1 else "", fontsize=10.5)
    save(figure, folder, "curve.png")
    return Picture(
        "curve.png",
        "Means over seeds, with 95% intervals. Methods are shifted slightly along the x axis for legibility.",
    )


def _curve_panel(axes: Any, metric: str, done: Sequence[Outcome]) -> None:
    """Draws the lines of one metric."""
    lines: dict[str, list[tuple[float, Outcome]]] = {}
    for outcome in done:
        over_tasks = outcome.task.x is not None
        x = outcome.task.x if over_tasks else outcome.method.x
        if x is not None:
            lines.setdefault(outcome.method.label if over_tasks else "sne paper", []).append((x, outcome))
    tidy(axes)
    for number, (label, points) in enumerate(lines.items()):
        points.sort(key=lambda point: point[0])
        xs = [x for x, _ in points]
        means = [outcome.mean(metric) for _, outcome in points]
        ends = np.array([interval_of(outcome.draws) for _, outcome in points]).T
        reach = np.abs(ends - np.array(means, dtype=np.float64))
        aside = 1.012 ** (number - (len(lines) - 1) / 2)  # so that no interval hides another
        colour, marker = LINE_COLOURS[number % len(LINE_COLOURS)], MARKERS[number % len(MARKERS)]
        axes.errorbar([x * aside for x in xs], means, yerr=reach, color=colour, marker=marker, markersize=5,
                      elinewidth=1, capsize=2, label=label)  # fmt: skip
    ticks = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    if metric == "mse":
        _log_ticks(axes)
    axes.set_ylabel(METRICS[metric])
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _log_ticks(axes: Any) -> None:
    """Sets a logarithmic y axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    marks = (1.0, 2.0, 5.0) if high > 5 * low else tuple(range(1, 10))
    axes.yaxis.set_major_locator(LogLocator(subs=marks, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _matrices(outcomes: Outcomes, folder: Path) -> Picture | None:
    """Draws training sets against held-out sets for the first SNE method and the best baseline, if tasks share them."""
    tasks = list({o.task.name: o.task for o in outcomes.all}.values())
    names = [part.name for part in tasks[0].held_out]
    if len(tasks) < 2 or len(names) < 2 or any([part.name for part in task.held_out] != names for task in tasks):
        return None
    whole = [m for m in ordered_methods(outcomes) if all(o.status == "done" for o in outcomes.all if o.method == m)]
    ours = [m for m in outcomes.methods if m in whole and m.is_sne and m.reads == "weights"][:1]
    shown = [*ours, *[m for m in whole if not m.is_sne and m.reads == "weights"][:1]]
    if not shown:
        return None
    figure = new_figure(1.8 + 3.6 * len(shown), 3.9)
    for method, axes in zip(shown, np.atleast_1d(figure.subplots(1, len(shown))), strict=True):
        values = np.array([[_mean_of(outcomes, task, name, method) for name in names] for task in tasks])
        axes.imshow(values, cmap="Blues", vmin=min(0.0, float(values.min())), vmax=1.0)
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9,
                      color="white" if value > 0.6 else "#1f2937")  # fmt: skip
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8.5)
        axes.set_yticks(range(len(tasks)), [task.name for task in tasks], fontsize=8.5)
        axes.set_xlabel("held out", fontsize=9)
        axes.set_ylabel("trained on", fontsize=9)
        axes.set_title(method.label, fontsize=10.5)
    save(figure, folder, "matrix.png")
    labels = ", and the best baseline, ".join(method.label for method in shown)
    return Picture("matrix.png", f"{METRICS[tasks[0].metric]} of each pair of training set and held-out set: {labels}.")


def _scatter(outcomes: Outcomes, folder: Path) -> Picture | None:
    """Draws predicted against measured values of the first seed, in one panel per held-out set."""
    method = next((m for m in outcomes.methods if m.is_sne), outcomes.methods[0])
    shown = [o for o in outcomes.all if o.method == method and o.status == "done" and o.measured.dtype != object][
        :MOST_PANELS
    ]
    if not shown:
        return None
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure = new_figure(max(2.7 * columns, 3.4), 3.1 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for outcome, axes in zip(shown, grid.flat, strict=False):
        tidy(axes)
        measured, predicted = outcome.measured, outcome.predicted[0]
        low, high = _ends(measured, predicted)
        axes.plot([low, high], [low, high], color="#9ca3af", linewidth=1)
        axes.scatter(measured, predicted, s=12, color=SNE_COLOUR, alpha=0.55, linewidths=0)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_box_aspect(1)
        axes.locator_params(nbins=5)
        parts = [outcome.task.name, outcome.held_out.name]
        axes.set_title(_wrapped(" to ".join(dict.fromkeys(parts))), fontsize=9)
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    targets = {outcome.task.target for outcome in shown}
    figure.supxlabel("measured" + (f" {targets.pop()}" if len(targets) == 1 else ""), fontsize=9.5)
    figure.supylabel(f"predicted by {method.label}", fontsize=9.5)
    save(figure, folder, "scatter.png")
    return Picture(
        "scatter.png",
        f"Predictions of {method.label} for held-out networks, first seed. The line marks correct predictions.",
    )


def _mean_of(outcomes: Outcomes, task: StudyTask, held_out: str, method: Method) -> float:
    value = outcomes.find(task.name, held_out, method.name).mean(task.metric)
    return np.nan if value is None else value


def _ends(*values: np.ndarray) -> tuple[float, float]:
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    edge = 0.05 * (high - low) or 1.0
    return low - edge, high + edge


def _wrapped(text: str, width: int = 30) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)[:3])


def _colour(method: Method) -> str:
    if method.is_sne:
        return SNE_COLOUR
    return OTHER_COLOUR if method.reads in ("weights", "labels") else APART_COLOUR
