"""The tables of a report, and how figures are written."""

from typing import Any

import numpy as np

from sne.lab.studies.methods import Method
from sne.lab.studies.outcomes import Outcome, Outcomes, Total
from sne.lab.studies.reporting.document import Cell, Table
from sne.lab.studies.resampling import interval_of
from sne.lab.studies.study import LOWER_IS_BETTER, METRICS, StudyTask

READS = {
    "weights": "weights",
    "notes": "hyper-parameters",
    "labels": "nothing",
    "activations": "weights, activations",
    "runs": "runs the networks",
}

COSTS = ("parameters", "ms per network", "training, s")


def ordered_methods(outcomes: Outcomes) -> list[Method]:
    """Sorts methods by the last (hardest) group, best first; methods that lack held-out sets come last."""
    group = outcomes.groups[-1]

    def place(method: Method) -> tuple[int, float]:
        total = outcomes.total(method, group)
        if total.mean is None:
            return 2, 0.0
        sign = 1.0 if total.metric in LOWER_IS_BETTER else -1.0
        return (0 if total.is_whole else 1), sign * total.mean

    return sorted(outcomes.methods, key=place)


def summary(outcomes: Outcomes) -> Table:
    """Returns the summary table: one row per method, with the mean of every group and the costs of the method."""
    methods, groups = ordered_methods(outcomes), outcomes.groups
    totals = {(m.name, group): outcomes.total(m, group) for m in methods for group in groups}
    best = {group: _best([totals[m.name, group] for m in methods if m.reads == "weights"]) for group in groups}
    rows = [
        [
            Cell(method.label),
            Cell(READS[method.reads]),
            *(
                Cell(total_text(totals[method.name, group], outcomes), totals[method.name, group] is best[group])
                for group in groups
            ),
            *_costs([o for o in outcomes.all if o.method.name == method.name and o.status == "done"]),
        ]
        for method in methods
    ]
    heads = [_head(group, totals[methods[0].name, group].metric, len(groups)) for group in groups]
    return Table(["", "reads", *heads, *COSTS], rows)


def total_text(total: Total, outcomes: Outcomes) -> str:
    """Returns a group's mean with its interval, and the number of held-out sets if some are missing."""
    if not total.outcomes:
        asked = [o for o in outcomes.all if o.method.name == total.method.name and o.held_out.group == total.group]
        return "cannot" if all(o.status == "cannot" for o in asked) else "failed"
    text = with_interval(total.metric, total.mean, interval_of(total.draws))
    return text if total.is_whole else f"{text} ({len(total.outcomes)} of {total.num_asked})"


def of_task(outcomes: Outcomes, task: StudyTask) -> Table:
    """Returns a task's table: one row per method and one column per held-out set, with the task's metric."""
    rows = []
    for method in ordered_methods(outcomes):
        found = [outcomes.find(task.name, part.name, method.name) for part in task.held_out]
        costs = _costs([outcome for outcome in found if outcome.status == "done"])
        rows.append([Cell(method.label), *(Cell(outcome_text(outcome)) for outcome in found), *costs])
    return Table([METRICS[task.metric], *(part.name for part in task.held_out), *COSTS], rows)


def outcome_text(outcome: Outcome) -> str:
    """Returns the task's metric with its interval, or the status if there is none."""
    if outcome.status != "done":
        return outcome.status
    metric = outcome.task.metric
    return with_interval(metric, outcome.mean(metric), interval_of(outcome.draws))


def details(outcomes: Outcomes, task: StudyTask) -> Table:
    """Returns one row per method and held-out set, with all metrics averaged over the seeds."""
    done = [o for o in outcomes.all if o.task.name == task.name and o.status == "done"]
    names = list(dict.fromkeys(name for o in done for name in o.figures[0]))
    rows = [
        [
            Cell(o.method.label),
            Cell(o.held_out.name),
            *(Cell(figure(name, o.mean(name))) for name in names),
            Cell(_spread([figures.get(task.metric) for figures in o.figures], task.metric)),
            Cell(str(len(o.measured))),
            *_costs([o]),
        ]
        for part in task.held_out
        for method in ordered_methods(outcomes)
        if (o := outcomes.find(task.name, part.name, method.name)).status == "done"
    ]
    heads = {"kendall_tau": "tau", "tau_ceiling": "ceiling of tau", "r2": "R2", "mae": "MAE", "mse": "MSE"}
    return Table(["", "held out", *(heads.get(n, n) for n in names), "sd over seeds", "networks", *COSTS], rows)


def chosen_settings(outcomes: Outcomes, configurations: int) -> Table:
    """Returns one row per task and method, with the configuration that was chosen on the validation runs."""
    rows = []
    for task in {o.task.name: o.task for o in outcomes.all}.values():
        for method in outcomes.methods:
            outcome = outcomes.find(task.name, task.held_out[0].name, method.name)
            tried = min(configurations, len(method.grid))
            if outcome.status != "done" or outcome.configuration is None or tried < 2:
                continue
            settings = method.grid[outcome.configuration]
            text = ", ".join(f"{key} {_plain(value)}" for key, value in settings.items()) or "default"
            validations = [r["validation"] for r in outcome.results if r["validation"] is not None]
            mean = figure("kendall_tau", float(np.mean(validations)) if validations else None)
            rows.append([Cell(task.name), Cell(method.label), Cell(str(tried)), Cell(text), Cell(mean)])
    return Table(["task", "method", "tried", "chosen", "validation"], rows)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _costs(done: list[Outcome]) -> list[Cell]:
    """Returns parameters, time per network and training time, averaged over tasks."""

    def mean(name: str) -> float | None:
        values = [value for outcome in done if (value := outcome.cost(name)) is not None]
        return float(np.mean(values)) if values else None

    times = (mean("ms_per_network"), mean("cpu_seconds"))
    return [Cell(whole_number(mean("parameters"))), *(Cell(duration(time)) for time in times)]


def _best(totals: list[Total]) -> Total | None:
    whole = [total for total in totals if total.is_whole and total.mean is not None]
    if not whole:
        return None
    sign = -1.0 if whole[0].metric in LOWER_IS_BETTER else 1.0
    return max(whole, key=lambda total: sign * (total.mean or 0.0))


def _head(group: str, metric: str, num_groups: int) -> str:
    return METRICS[metric] if num_groups == 1 and group == "all" else f"{group}: {METRICS[metric]}"


def _spread(values: list[float | None], metric: str) -> str:
    known = [value for value in values if value is not None]
    return figure(metric, float(np.std(known, ddof=1))) if len(known) > 1 else "-"


def figure(metric: str, value: float | None) -> str:
    """Formats a metric: errors with three significant digits, others with three decimals; "-" for None.

    Example:
        >>> figure("kendall_tau", 0.5), figure("mse", 0.012345), figure("mse", None)
        ('0.500', '0.0123', '-')
    """
    if value is None:
        return "-"
    text = f"{value:.3g}" if metric in ("mse", "mae") else f"{value:.3f}"
    return text.removeprefix("-") if float(text) == 0 else text


def with_interval(metric: str, value: float | None, interval: tuple[float, float] | None) -> str:
    """Formats a metric with its interval in brackets."""
    if value is None or interval is None:
        return figure(metric, value)
    return f"{figure(metric, value)} [{figure(metric, interval[0])}, {figure(metric, interval[1])}]"


def whole_number(value: float | None) -> str:
    """Formats a large whole number."""
    return "-" if value is None else f"{round(value):,}"


def duration(seconds: float | None) -> str:
    """Formats a duration with its significant digits."""
    if seconds is None:
        return "-"
    return f"{seconds:.3f}" if seconds < 0.1 else f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"
