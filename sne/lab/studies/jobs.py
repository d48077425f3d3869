"""Jobs: a method with one configuration and one seed, trained on a task and evaluated on its held-out sets."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sne.lab.studies.methods import Method
from sne.lab.studies.study import Design, StudyTask
from sne.training import TrainingSettings, preset_settings

FORMAT = 1
"""Version of the results. Jobs with results of another format run again."""


@dataclass(frozen=True)
class Job:
    """Everything that one result follows from, as plain values that can be sent to a process.

    Args:
        task: Task that is learned.
        method: Method that learns.
        configuration: Position in the grid of the method.
        seed: Random seed of training.
        zoos: Digests of the zoos of the task by name, see `ZooShelf.digest`.
        most_epochs: Largest number of epochs of an encoder.
        most_folds: Largest number of folds of a training.
        device: Device that encoders are trained on.
    """

    task: StudyTask
    method: Method
    configuration: int
    seed: int
    zoos: Mapping[str, str]
    most_epochs: int | None = None
    most_folds: int | None = None
    device: str = "cpu"

    @property
    def name(self) -> str:
        """A readable name, unique within a study."""
        words = f"{self.task.name}--{self.method.name}--c{self.configuration}--s{self.seed}"
        return "".join(sign if sign.isalnum() or sign in "-._" else "_" for sign in words)

    @property
    def file_name(self) -> str:
        """Name of the file of its result."""
        return f"{self.name}.json"

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides its result, apart from software versions."""
        task = asdict(self.task)
        del task["x"]
        decides = [FORMAT, task, self.method.to_json(), self.seed, self.settings, dict(self.zoos), self.device]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of its method: whole training settings, or the options of a baseline."""
        method, chosen = self.method, self.method.grid[self.configuration]
        if method.kind == "baseline":
            options = {**method.options, **chosen}
            if "epochs" in options and self.most_epochs:
                options["epochs"] = min(options["epochs"], self.most_epochs)
            return {**options, "seed": self.seed}
        return {**method.options, **self.training.to_json()}

    @property
    def training(self) -> TrainingSettings:
        """Training settings of an encoder: those of its preset, changed by method, configuration and seed."""
        preset = self.method.source if self.method.kind == "preset" else ""
        changes = {**self.method.training, **self.method.grid[self.configuration], "seed": self.seed}
        settings = preset_settings(preset, **changes)
        epochs = min(settings.epochs, self.most_epochs or settings.epochs)
        folds = min(settings.folds, self.most_folds or settings.folds)
        return TrainingSettings(**{**settings.to_json(), "epochs": epochs, "folds": folds})


def jobs_of(
    design: Design,
    task: StudyTask,
    method: Method,
    configurations: range,
    seeds: tuple[int, ...],
    zoos: Mapping[str, str],
) -> list[Job]:
    """Returns the jobs of one method on one task: each configuration with each seed.

    Args:
        design: Design of the study, which has the limits and the device.
        task: Task that is learned.
        method: Method that learns.
        configurations: Positions in the grid of the method.
        seeds: Random seeds of training.
        zoos: Digests of the zoos of the design by name.
    """
    return [
        Job(
            task,
            method,
            number,
            seed,
            {name: zoos[name] for name in task.zoos},
            most_epochs=design.most_epochs,
            most_folds=design.most_folds,
            device=design.device,
        )
        for number in configurations
        for seed in seeds
    ]


def read_result(folder: Path, job: Job) -> dict[str, Any] | None:
    """Returns the result of a job; None if it has not run, or if anything that decides its result has changed."""
    try:
        result = json.loads((folder / job.file_name).read_text())
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and result.get("fingerprint") == job.fingerprint else None
