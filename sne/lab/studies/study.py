"""What a study is: zoos, tasks, methods and seeds, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sne.errors import StudyError
from sne.lab.studies.methods import Method, check_parts

SCALES = ("ci", "cpu", "gpu")
"""ci: minutes, digits alone, proves that it runs. cpu: an hour or so on two cores. gpu: as large as the paper."""

METRICS: Mapping[str, str] = {"kendall_tau": "Kendall tau", "mse": "mean squared error", "accuracy": "accuracy"}
"""What a task may be judged by, and how it is called."""

LOWER_IS_BETTER = ("mse",)


@dataclass(frozen=True)
class ZooNeed:
    """A zoo that a study needs; it is made where it is missing, and shared by all studies that name it.

    Args:
        name: of its folder; the same name stands for the same recipe in every study.
        families: names of `sne.making.FAMILIES`.
        images: name of an image set, see `sne.lab.studies.images`.
        networks: training runs of each family.
        steps: optimiser steps of each run; None where `epochs` is given.
        epochs: passes over the training images, in place of steps.
        keep: steps (or epochs) after which a checkpoint is kept; None: the last, a third, a ninth.
        seed: of the zoo.
        overrides: hyper-parameters in place of the families' own, plain values by family and name, as in a recipe.
        eval_images: the most images that accuracies are measured on.
        device: "cpu", or "cuda" to train networks of one shape together.
    """

    name: str
    families: tuple[str, ...]
    images: str = "digits"
    networks: int = 60
    steps: int | None = None
    epochs: int | None = None
    keep: tuple[int, ...] | None = None
    seed: int = 0
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    eval_images: int = 2000
    device: str = "cpu"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class HeldOut:
    """Networks that a task is judged on: runs of some zoos.

    Args:
        name: how tables call it.
        zoos: names of the zoos.
        group: tasks are summed up group by group, for example "same data set" and "another data set".
        piece: "test" for the test runs; "all" for every run of zoos that the task does not train on, made with another
            seed where they are of a family that it trains on.
        where: a column of the zoos and a text that must stand in it: other networks are not judged; None judges all.
    """

    name: str
    zoos: tuple[str, ...]
    group: str = "all"
    piece: str = "test"
    where: tuple[str, str] | None = None


@dataclass(frozen=True)
class StudyTask:
    """What a method learns, and where it is judged.

    Args:
        name: unique within the study.
        train: names of the zoos whose training and validation runs it learns from.
        held_out: where it is judged.
        target: the zoo's column that is predicted.
        metric: the figure that counts, one of `METRICS`; others stand beside it.
        fraction: share of the training and validation runs that is used; which, the seed decides.
        x: the task's place on the axis of a curve; None where the study draws none over tasks.
        has_map: whether embeddings of the held-out networks are kept, to be drawn.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[HeldOut, ...]
    target: str = "test_accuracy"
    metric: str = "kendall_tau"
    fraction: float = 1.0
    x: float | None = None
    has_map: bool = False

    @property
    def zoos(self) -> tuple[str, ...]:
        """Every zoo it reads, each once."""
        return tuple(dict.fromkeys([*self.train, *(name for part in self.held_out for name in part.zoos)]))


@dataclass(frozen=True)
class Design:
    """A study at one scale.

    Args:
        zoos: what must be there.
        tasks: at least one.
        methods: what is compared.
        seeds: of training; every method is trained with each.
        configurations: settings that each method may try before its best are run with all seeds: the same number for
            all; a method with fewer in its grid has nothing more to tune.
        most_epochs: limit on every encoder's epochs; None for none.
        most_members: limit on the members of a predictor; None for none.
        device: where encoders train: "cpu", "cuda" or "auto".
        estimate: how long it is expected to take, for people.
        left_out: names of methods that are not compared, with the reason; reports say it.
    """

    zoos: tuple[ZooNeed, ...]
    tasks: tuple[StudyTask, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    configurations: int = 1
    most_epochs: int | None = None
    most_members: int | None = None
    device: str = "cpu"
    estimate: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_unique("zoo", [zoo.name for zoo in self.zoos])
        _check_unique("task", [task.name for task in self.tasks])
        _check_unique("method", [method.name for method in self.methods])
        check_parts(self.methods)
        known = {zoo.name for zoo in self.zoos}
        for task in self.tasks:
            _check_unique(f"held-out set of task {task.name}", [part.name for part in task.held_out])
            missing = [name for name in task.zoos if name not in known]
            if missing:
                raise StudyError(f"task {task.name}: zoo {missing[0]!r} is not declared")
            if task.metric not in METRICS:
                raise StudyError(f"task {task.name}: metric {task.metric!r}, expected one of {', '.join(METRICS)}")
            for part in task.held_out:
                seen = set(part.zoos) & set(task.train)
                if part.piece not in ("test", "all") or (part.piece == "all" and seen):
                    raise StudyError(f"task {task.name}, {part.name}: piece {part.piece!r} of zoos {sorted(seen)} seen")
                self._check_twins(task, part)
            if not 0 < task.fraction <= 1:
                raise StudyError(f"task {task.name}: fraction is {task.fraction}, expected above 0 and at most 1")
        _check_unique("seed", [str(seed) for seed in self.seeds])
        if min(self.seeds) < 0:
            raise StudyError(f"seed is {min(self.seeds)}, expected at least 0")
        if self.configurations < 1:
            raise StudyError(f"configurations is {self.configurations}, expected at least 1")

    def zoo(self, name: str) -> ZooNeed:
        """The zoo of that name."""
        return next(zoo for zoo in self.zoos if zoo.name == name)

    def _check_twins(self, task: StudyTask, part: HeldOut) -> None:
        """Refuses to judge networks drawn with the seed and family of networks that were learned from.

        Seed, family and number decide a network's hyper-parameters and first weights: of two zoos that share seed and
        family, the runs of one number are twins. Their splits agree where both have the same families and as many runs,
        so test runs may be judged there; all runs may not.
        """
        for name in part.zoos:
            judged = self.zoo(name)
            for other in (self.zoo(train) for train in task.train):
                related = judged.seed == other.seed and set(judged.families) & set(other.families)
                is_split_alike = (judged.families, judged.networks) == (other.families, other.networks)
                if related and (part.piece == "all" or not is_split_alike):
                    raise StudyError(
                        f"task {task.name}, {part.name}: zoo {name} has family and seed of {other.name}, which is "
                        "learned from; expected another seed, or the test runs of as large a zoo"
                    )


@dataclass(frozen=True)
class Study:
    """One published experiment.

    Args:
        name: what the command line calls it.
        title: of its report.
        question: what it answers, in a sentence or two.
        paper: the table or figure of the paper that it repeats; empty where the paper has none.
        designs: by scale.
        curve: what the x axis of its curve means; empty where it draws none.
        has_bars: whether it draws bars of all methods.
        has_scatter: whether it draws predicted against measured values.
    """

    name: str
    title: str
    question: str
    designs: Mapping[str, Design]
    paper: str = ""
    curve: str = ""
    has_bars: bool = True
    has_scatter: bool = True

    def design(self, scale: str) -> Design:
        """The study at one scale.

        Raises:
            StudyError: there is no such scale.
        """
        if scale not in self.designs:
            raise StudyError(f"scale {scale!r}, expected one of {', '.join(self.designs)}")
        return self.designs[scale]


def _check_unique(what: str, names: Sequence[str]) -> None:
    if not names:
        raise StudyError(f"a study needs at least one {what}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise StudyError(f"{what} {twice[0]!r} stands twice")
