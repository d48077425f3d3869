"""The definition of a study: zoos, tasks, methods and seeds, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sne.errors import StudyError
from sne.lab.studies.methods import Method, check_parts

SCALES = ("ci", "cpu", "gpu")
"""ci: minutes, on digits only, shows that everything runs. cpu: up to 90 minutes on two cores. gpu: paper size."""

METRICS: Mapping[str, str] = {"kendall_tau": "Kendall tau", "mse": "mean squared error", "accuracy": "accuracy"}
"""Metrics by which a task may be judged, with their names in reports."""

LOWER_IS_BETTER = ("mse",)


@dataclass(frozen=True)
class ZooNeed:
    """A zoo that a study needs. It is made if it is missing, and shared by all studies that name it.

    Args:
        name: Name of its folder; a name stands for the same recipe in every study.
        families: Names in `sne.making.FAMILIES`.
        images: Name of an image set; see `sne.lab.studies.zoos.find_images`.
        networks: Number of training runs per family.
        steps: Optimiser steps per run; None if `epochs` is given.
        epochs: Passes over the training images, instead of steps.
        keep: Steps (or epochs) after which a checkpoint is kept; if None, the last, a third and a ninth of it.
        seed: Random seed of the zoo.
        overrides: Hyper-parameters that replace the families' own: plain values by family and name, as in a recipe.
        eval_images: Maximum number of images on which accuracies are measured.
        device: "cpu", or "cuda" to train networks of equal shape together.
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
        """Returns the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class HeldOut:
    """A set of held-out networks on which a task is judged.

    Args:
        name: Name in tables.
        zoos: Names of the zoos.
        group: Group over which results are averaged, for example "same data set" or "another data set".
        piece: "test" for the test runs; "all" for all runs of zoos on which the task does not train. Such zoos need
            another seed if they contain a family on which the task trains.
        where: A column of the zoos and a text that it must contain; only these networks are judged. None judges all.
    """

    name: str
    zoos: tuple[str, ...]
    group: str = "all"
    piece: str = "test"
    where: tuple[str, str] | None = None


@dataclass(frozen=True)
class StudyTask:
    """What a method learns, and on which networks it is judged.

    Args:
        name: Name, unique within the study.
        train: Names of the zoos whose training and validation runs it learns from.
        held_out: Sets of networks on which it is judged.
        target: Column of the zoos that is predicted.
        metric: Metric by which methods are compared, one of `METRICS`; reports contain further metrics.
        fraction: Share of the training and validation runs that is used, drawn with the training seed.
        x: Position of the task on the x axis of the study's curve; None if the curve is not over tasks.
        has_map: Whether embeddings of the held-out networks are kept, to draw a map.
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
        """Names of all zoos that it reads, without repetition."""
        return tuple(dict.fromkeys([*self.train, *(name for part in self.held_out for name in part.zoos)]))


@dataclass(frozen=True)
class Design:
    """A study at one scale.

    Args:
        zoos: Zoos that it needs.
        tasks: Tasks; at least one.
        methods: Methods that are compared.
        seeds: Training seeds; every method is trained with each of them.
        configurations: Number of configurations that each method may try before the best is trained with all seeds.
            It is the same for all methods; a method with a shorter grid has nothing more to tune.
        most_epochs: Maximum number of epochs of every encoder; None for no limit.
        most_folds: Maximum number of folds of a training; None for no limit.
        device: Device on which encoders train: "cpu", "cuda" or "auto".
        estimate: Expected duration, as text.
        left_out: Names of methods that are not compared, with the reason, which reports state.
    """

    zoos: tuple[ZooNeed, ...]
    tasks: tuple[StudyTask, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    configurations: int = 1
    most_epochs: int | None = None
    most_folds: int | None = None
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
                    raise StudyError(
                        f"task {task.name}, {part.name}: piece is {part.piece!r}, expected 'test', or 'all' if the "
                        f"task trains on none of the zoos; it trains on {', '.join(sorted(seen)) or 'none of them'}"
                    )
                self._check_twins(task, part)
            if not 0 < task.fraction <= 1:
                raise StudyError(f"task {task.name}: fraction is {task.fraction}, expected above 0 and at most 1")
        _check_unique("seed", [str(seed) for seed in self.seeds])
        if min(self.seeds) < 0:
            raise StudyError(f"seed is {min(self.seeds)}, expected at least 0")
        if self.configurations < 1:
            raise StudyError(f"configurations is {self.configurations}, expected at least 1")

    def zoo(self, name: str) -> ZooNeed:
        """Returns the zoo with the given name."""
        return next(zoo for zoo in self.zoos if zoo.name == name)

    def _check_twins(self, task: StudyTask, part: HeldOut) -> None:
        """Rejects held-out networks that start like networks that are learned from.

        Seed, family and number determine a network's hyper-parameters and initial weights. In two zoos with the same
        seed and family, runs of equal number therefore start alike. If both zoos have the same families and number of
        runs, their splits agree, so test runs may be judged, but not all runs.
        """
        for name in part.zoos:
            judged = self.zoo(name)
            for other in (self.zoo(train) for train in task.train):
                related = judged.seed == other.seed and set(judged.families) & set(other.families)
                is_split_alike = (judged.families, judged.networks) == (other.families, other.networks)
                if related and (part.piece == "all" or not is_split_alike):
                    raise StudyError(
                        f"task {task.name}, {part.name}: zoo {name} has the family and seed of {other.name}, which is "
                        "learned from; expected another seed, or the test runs of a zoo of the same size"
                    )


@dataclass(frozen=True)
class Study:
    """One published experiment.

    Args:
        name: Name on the command line.
        title: Title of its report.
        question: The question that it answers, in one or two sentences.
        paper: The table or figure of the paper that it repeats; empty if the paper has none.
        designs: Design at each scale.
        curve: Label of the x axis of its curve; empty if it draws none.
        has_bars: Whether it draws a bar chart of all methods.
        has_scatter: Whether it draws predicted against measured values.
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
        """Returns the design at a scale.

        Raises:
            StudyError: If there is no such scale.
        """
        if scale not in self.designs:
            raise StudyError(f"scale {scale!r}, expected one of {', '.join(self.designs)}")
        return self.designs[scale]


def _check_unique(what: str, names: Sequence[str]) -> None:
    if not names:
        raise StudyError(f"a study needs at least one {what}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise StudyError(f"{what} {twice[0]!r} occurs twice")
