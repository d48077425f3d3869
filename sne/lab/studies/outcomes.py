"""Results of a study's jobs, aggregated: metrics of every method with intervals, and comparisons of methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sne import metrics
from sne.lab.studies.methods import Method
from sne.lab.studies.resampling import interval_of, over_seeds, resampled_metric, run_weights, seed_interval
from sne.lab.studies.study import LOWER_IS_BETTER, HeldOut, StudyTask

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The results of one method on one held-out set of one task, over all seeds.

    Args:
        task: Task that was learned.
        held_out: Held-out set on which the method was judged.
        method: The method.
        results: Results of the chosen configuration, one per seed.
        status: "done"; "cannot" if the method does not support these networks; "failed" if a job has no result.
        reason: Reason for a status other than "done".
        configuration: Number of the chosen configuration.
    """

    task: StudyTask
    held_out: HeldOut
    method: Method
    results: Sequence[Result]
    status: str
    reason: str | None
    configuration: int | None

    @property
    def judged(self) -> list[Result]:
        """Labels and predictions for the held-out networks, for each seed."""
        return [result["held_out"][self.held_out.name] for result in self.results]

    @cached_property
    def measured(self) -> np.ndarray:
        """Labels, which are the same for all seeds."""
        return _array(self.judged[0]["measured"])

    @cached_property
    def predicted(self) -> list[np.ndarray]:
        """Predictions, for each seed."""
        return [_array(judged["predicted"]) for judged in self.judged]

    @cached_property
    def figures(self) -> list[dict[str, float | None]]:
        """All metrics, for each seed."""
        return [figures_of(self.measured, predicted) for predicted in self.predicted]

    @cached_property
    def draws(self) -> np.ndarray:
        """The task's metric under resampled runs and seeds.

        Runs of equal name are drawn together across zoos. If zoos differ in their images only, such runs have the same
        hyper-parameters and initial weights, so that more zoos do not give more independent runs.
        """
        names = [run.rpartition("/")[2] for run in self.judged[0]["runs"]]
        runs, run_of = np.unique(names, return_inverse=True)
        weights = run_weights([str(run) for run in runs])
        by_seed = [
            resampled_metric(self.task.metric, self.measured, predicted, run_of, weights)
            for predicted in self.predicted
        ]
        return over_seeds(np.stack(by_seed), self.method.name)

    def mean(self, name: str) -> float | None:
        """Returns the mean of a metric over the seeds; None if it is not defined."""
        values = [figures[name] for figures in self.figures if figures.get(name) is not None]
        return float(np.mean([value for value in values if value is not None])) if values else None

    def cost(self, name: str) -> float | None:
        """Returns the mean over the seeds of "parameters", "cpu_seconds" or "ms_per_network"."""
        where = self.judged if name == "ms_per_network" else self.results
        values = [entry[name] for entry in where if entry.get(name) is not None]
        return float(np.mean(values)) if values else None

    def to_json(self) -> dict[str, Any]:
        """Returns metrics, costs and intervals as plain JSON values, without the predictions."""
        start: dict[str, Any] = {
            "task": self.task.name,
            "trained_on": list(self.task.train),
            "held_out": self.held_out.name,
            "group": self.held_out.group,
            "target": self.task.target,
            "metric": self.task.metric,
            "method": self.method.name,
            "status": self.status,
            "reason": self.reason,
            "configuration": self.configuration,
        }
        if self.status != "done":
            return start
        values = [figures[self.task.metric] for figures in self.figures]
        return {
            **start,
            "settings": self.results[0]["job"]["settings"],
            "mean": self.mean(self.task.metric),
            "interval": interval_of(self.draws),
            "seed_interval": seed_interval([value for value in values if value is not None]),
            "seeds": [
                {
                    "seed": result["job"]["seed"],
                    **figures,
                    "validation": result["validation"],
                    "seconds": result["seconds"],
                    "cpu_seconds": result["cpu_seconds"],
                    "parameters": result["parameters"],
                    "ms_per_network": judged["ms_per_network"],
                    "versions": result["versions"],
                }
                for result, figures, judged in zip(self.results, self.figures, self.judged, strict=True)
            ],
        }


@dataclass(frozen=True)
class Total:
    """The results of one method over all held-out sets of a group.

    Args:
        group: Name of the group.
        method: The method.
        metric: Metric by which it was judged.
        outcomes: Outcomes that are done.
        num_asked: Number of held-out sets in the group.
    """

    group: str
    method: Method
    metric: str
    outcomes: Sequence[Outcome]
    num_asked: int

    @cached_property
    def mean(self) -> float | None:
        """Mean over seeds, then over held-out sets; None if none is done."""
        return _mean([outcome.mean(self.metric) for outcome in self.outcomes])

    @cached_property
    def draws(self) -> np.ndarray:
        """The mean under resampled runs and seeds."""
        return np.mean([outcome.draws for outcome in self.outcomes], axis=0)

    @property
    def is_whole(self) -> bool:
        """Whether all held-out sets are done."""
        return len(self.outcomes) == self.num_asked


@dataclass(frozen=True)
class Comparison:
    """Comparison of SNE with the best other method that reads the same, on the same networks.

    Args:
        group: Name of the group of held-out sets.
        reads: What both methods read; see `Method`.
        ours: Total of SNE.
        theirs: Total of the best other method that has results on all held-out sets. It is chosen on the held-out
            networks, which favours it.
        gain: Advantage of SNE; positive if SNE is better, whatever the metric.
        interval: 95% interval of the gain under resampled runs and seeds.
        p: Two-sided bootstrap p value: twice the share of draws with the opposite order.
    """

    group: str
    reads: str
    ours: Total
    theirs: Total
    gain: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Outcomes:
    """All outcomes of a study.

    Args:
        all: The outcomes.
    """

    all: Sequence[Outcome] = field(default_factory=list)

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in order."""
        return list(dict.fromkeys(outcome.held_out.group for outcome in self.all))

    @property
    def methods(self) -> list[Method]:
        """The methods, in order."""
        return list({outcome.method.name: outcome.method for outcome in self.all}.values())

    def find(self, task: str, held_out: str, method: str) -> Outcome:
        """Returns the outcome with the given names of task, held-out set and method."""
        return next(o for o in self.all if (o.task.name, o.held_out.name, o.method.name) == (task, held_out, method))

    def total(self, method: Method, group: str) -> Total:
        """Returns a method's total over a group; its metric is that of the group's first outcome."""
        asked = [o for o in self.all if o.method.name == method.name and o.held_out.group == group]
        metric = asked[0].task.metric
        done = [o for o in asked if o.status == "done" and o.task.metric == metric]
        return Total(group, method, metric, done, len(asked))

    def compare(self, group: str, reads: str = "weights") -> Comparison | None:
        """Compares the first SNE method with the best baseline in a group; None if one of the two is missing.

        Args:
            group: Name of the group.
            reads: What both methods read: "weights", or "runs" for methods that run the networks.
        """
        totals = [self.total(method, group) for method in self.methods if method.reads == reads]
        mine = next((total for total in totals if total.method.is_sne), None)
        others = [total for total in totals if not total.method.is_sne and total.is_whole]
        if mine is None or not mine.is_whole or not others:
            return None
        sign = -1.0 if mine.metric in LOWER_IS_BETTER else 1.0
        best = max(others, key=lambda total: sign * (total.mean if total.mean is not None else -np.inf))
        if mine.mean is None or best.mean is None:
            return None
        draws = sign * (mine.draws - best.draws)
        p = 2 * min(float((draws <= 0).mean()), float((draws >= 0).mean()))
        gain = sign * (mine.mean - best.mean)
        return Comparison(group, reads, mine, best, gain, interval_of(draws), min(max(p, 1 / len(draws)), 1.0))


def average_outcome(method: Method, parts: Sequence[Outcome]) -> Outcome:
    """Returns the outcome of a method that averages the predictions of others, seed by seed.

    Args:
        method: The averaging method.
        parts: Outcomes of its parts on one held-out set.

    Returns:
        An outcome with the status "cannot" if a part cannot read the networks or classes are predicted, and "failed"
        if a part has failed.
    """
    first = parts[0]
    for status in ("cannot", "failed"):
        worst = next((part for part in parts if part.status == status), None)
        if worst is not None:
            reason = f"{worst.method.label}: {worst.reason}"
            return Outcome(first.task, first.held_out, method, [], status, reason, None)
    if first.measured.dtype == object:
        reason = f"{first.task.target} has classes, which cannot be averaged"
        return Outcome(first.task, first.held_out, method, [], "cannot", reason, None)
    results = [
        _average(method, first.held_out.name, several) for several in zip(*(p.results for p in parts), strict=True)
    ]
    return Outcome(first.task, first.held_out, method, results, "done", None, 0)


def _average(method: Method, held_out: str, results: Sequence[Result]) -> Result:
    """Returns the averaged result of one seed; its costs are the sums over the parts."""
    judged = [result["held_out"][held_out] for result in results]
    predicted = np.mean([part["predicted"] for part in judged], axis=0)

    def total(values: Sequence[Any]) -> Any:
        return None if any(value is None for value in values) else sum(values)

    return {
        **results[0],
        "job": {**results[0]["job"], "method": method.name, "configuration": 0, "settings": {}},
        "validation": None,
        **{key: total([result[key] for result in results]) for key in ("seconds", "cpu_seconds", "parameters")},
        "held_out": {
            held_out: {
                **{key: judged[0][key] for key in ("status", "reason", "runs", "measured")},
                "predicted": predicted.tolist(),
                "ms_per_network": sum(part["ms_per_network"] for part in judged),
            }
        },
    }


def figures_of(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """Returns all metrics that apply to the labels; None for a metric that is not defined.

    Example:
        >>> figures_of(np.array(["a", "b"], dtype=object), np.array(["a", "a"], dtype=object))
        {'accuracy': 0.5}
    """
    if measured.dtype == object:
        return {"accuracy": metrics.accuracy(measured, predicted)}
    r2 = metrics.r2(measured, predicted)
    return {
        "kendall_tau": metrics.kendall_tau(measured, predicted),
        "tau_ceiling": metrics.tau_ceiling(measured),
        "r2": None if np.isnan(r2) else r2,
        "mae": metrics.mae(measured, predicted),
        "mse": float(((measured - predicted) ** 2).mean()),
    }


def _array(values: Sequence[Any]) -> np.ndarray:
    is_text = any(isinstance(value, str) for value in values)
    return np.array(values, dtype=object if is_text else np.float64)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
