"""One job: a method with one configuration and seed, trained on a task and judged where the task says."""

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
"""Results of another format are made again."""


@dataclass(frozen=True)
class Job:
    """What one result follows from, as plain values: it can be sent to a process, and compared with what was done.

    Args:
        task: what is learned.
        method: who learns.
        configuration: number in the method's grid.
        seed: of training.
        zoos: digests of the task's zoos, by name, see `ZooShelf.digest`.
        most_epochs: limit on an encoder's epochs.
        most_folds: limit on the folds of a training.
        device: where encoders train.
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
        """Readable, and unique within a study."""
        words = f"{self.task.name}--{self.method.name}--c{self.configuration}--s{self.seed}"
        return "".join(sign if sign.isalnum() or sign in "-._" else "_" for sign in words)

    @property
    def file_name(self) -> str:
        """Of its result."""
        return f"{self.name}.json"

    @property
    def fingerprint(self) -> str:
        """A digest of everything that decides its result, but for the versions of the software."""
        task = asdict(self.task)
        del task["x"]
        decides = [FORMAT, task, self.method.to_json(), self.seed, self.settings, dict(self.zoos), self.device]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that its method is given: training settings in full, or options of a baseline."""
        method, chosen = self.method, self.method.grid[self.configuration]
        if method.kind == "baseline":
            options = {**method.options, **chosen}
            if "epochs" in options and self.most_epochs:
                options["epochs"] = min(options["epochs"], self.most_epochs)
            return {**options, "seed": self.seed}
        return {**method.options, **self.training.to_json()}

    @property
    def training(self) -> TrainingSettings:
        """How an encoder is trained: as its preset is, with the method's changes, its configuration's and the seed."""
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
    """Jobs of one method on one task: each configuration with each seed.

    Args:
        design: gives limits and the device.
        task: what is learned.
        method: who learns.
        configurations: numbers in the method's grid.
        seeds: of training.
        zoos: digests of the design's zoos, by name.
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
    """The result of a job that is done; None where it is not, or where something about it has changed since."""
    try:
        result = json.loads((folder / job.file_name).read_text())
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and result.get("fingerprint") == job.fingerprint else None
