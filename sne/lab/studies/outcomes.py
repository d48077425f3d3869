"""What the jobs of a study say together: figures of every method, with intervals, and comparisons."""

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
    """One method on one held-out set of one task, over all seeds.

    Args:
        task: what was learned.
        held_out: where it was judged.
        method: who was judged.
        results: of the chosen configuration, one a seed.
        status: "done", "cannot", or "failed" where a job has no result.
        reason: why not.
        configuration: number of the chosen one.
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
        """What each seed's training said of the held-out networks."""
        return [result["held_out"][self.held_out.name] for result in self.results]

    @cached_property
    def measured(self) -> np.ndarray:
        """Labels: the same whatever the seed."""
        return _array(self.judged[0]["measured"])

    @cached_property
    def predicted(self) -> list[np.ndarray]:
        """Predictions of each seed's training."""
        return [_array(judged["predicted"]) for judged in self.judged]

    @cached_property
    def figures(self) -> list[dict[str, float | None]]:
        """Every metric of each seed's training."""
        return [figures_of(self.measured, predicted) for predicted in self.predicted]

    @cached_property
    def draws(self) -> np.ndarray:
        """The task's metric under resampled runs and seeds.

        Runs of one name are drawn together, whichever zoo they are of: where zoos differ in their images alone these
        are networks of the same hyper-parameters and first weights, and more zoos do not make more of them.
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
        """A figure's mean over the seeds; None where it is not defined."""
        values = [figures[name] for figures in self.figures if figures.get(name) is not None]
        return float(np.mean([value for value in values if value is not None])) if values else None

    def cost(self, name: str) -> float | None:
        """Mean over the seeds of "parameters", "cpu_seconds" or "ms_per_network"."""
        where = self.judged if name == "ms_per_network" else self.results
        values = [entry[name] for entry in where if entry.get(name) is not None]
        return float(np.mean(values)) if values else None

    def to_json(self) -> dict[str, Any]:
        """Figures, costs and intervals as plain JSON values, without the predictions."""
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
    """One method over all held-out sets of a group.

    Args:
        group: its name.
        method: who was judged.
        metric: by what.
        outcomes: those that are done.
        num_asked: how many held-out sets the group has.
    """

    group: str
    method: Method
    metric: str
    outcomes: Sequence[Outcome]
    num_asked: int

    @cached_property
    def mean(self) -> float | None:
        """Mean over seeds, then over held-out sets; None where none is done."""
        return _mean([outcome.mean(self.metric) for outcome in self.outcomes])

    @cached_property
    def draws(self) -> np.ndarray:
        """The mean under resampled runs and seeds."""
        return np.mean([outcome.draws for outcome in self.outcomes], axis=0)

    @property
    def is_whole(self) -> bool:
        """Whether no held-out set is missing."""
        return len(self.outcomes) == self.num_asked


@dataclass(frozen=True)
class Comparison:
    """SNE against the best of the others that look at the same, on the same networks.

    Args:
        group: where.
        reads: what both look at, see `Method`.
        ours: SNE's total.
        theirs: that of the best other method that is whole; the best on the held-out networks, which favours it.
        gain: how much better ours is: positive where it is, whatever the metric.
        interval: 95% of the gain, by resampled runs and seeds.
        share: of the draws in which ours is not better, doubled: a two-sided bootstrap p value.
    """

    group: str
    reads: str
    ours: Total
    theirs: Total
    gain: float
    interval: tuple[float, float]
    share: float


@dataclass(frozen=True)
class Outcomes:
    """All outcomes of a study.

    Args:
        all: every one.
    """

    all: Sequence[Outcome] = field(default_factory=list)

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in order."""
        return list(dict.fromkeys(outcome.held_out.group for outcome in self.all))

    @property
    def methods(self) -> list[Method]:
        """Every method, in order."""
        return list({outcome.method.name: outcome.method for outcome in self.all}.values())

    def find(self, task: str, held_out: str, method: str) -> Outcome:
        """The outcome of these names."""
        return next(o for o in self.all if (o.task.name, o.held_out.name, o.method.name) == (task, held_out, method))

    def total(self, method: Method, group: str) -> Total:
        """A method's total over a group; its metric is that of the group's first outcome."""
        asked = [o for o in self.all if o.method.name == method.name and o.held_out.group == group]
        metric = asked[0].task.metric
        done = [o for o in asked if o.status == "done" and o.task.metric == metric]
        return Total(group, method, metric, done, len(asked))

    def compare(self, group: str, reads: str = "weights") -> Comparison | None:
        """SNE (its first method) against the best baseline in a group; None where one of the two is missing.

        Args:
            group: name.
            reads: what both look at: "weights", or "runs" for methods that run the networks.
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
        share = 2 * min(float((draws <= 0).mean()), float((draws >= 0).mean()))
        gain = sign * (mine.mean - best.mean)
        return Comparison(group, reads, mine, best, gain, interval_of(draws), min(max(share, 1 / len(draws)), 1.0))


def figures_of(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """Every metric that fits the labels; None where one is not defined."""
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
