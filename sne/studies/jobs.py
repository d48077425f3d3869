"""One job: a method with one configuration and seed, trained on a task and judged where the task says."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sne.studies.methods import Method
from sne.studies.study import Design, Task

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
        recipes: of the task's zoos, by name, as plain JSON values.
        most_epochs: limit on an encoder's epochs.
        most_members: limit on the members of a predictor.
        device: where encoders train.
    """

    task: Task
    method: Method
    configuration: int
    seed: int
    recipes: dict[str, dict[str, Any]]
    most_epochs: int | None = None
    most_members: int | None = None
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
        decides = [FORMAT, task, self.method.to_json(), self.configuration, self.seed, self.recipes]
        limits = [self.most_epochs, self.most_members, self.device]
        return hashlib.sha256(json.dumps([decides, limits], sort_keys=True).encode()).hexdigest()

    @property
    def training(self) -> dict[str, Any]:
        """Changes to the training settings: the method's, its configuration's and the seed."""
        return {**self.method.training, **self.method.grid[self.configuration], "seed": self.seed}


def jobs_of(design: Design, task: Task, method: Method, configurations: range, seeds: tuple[int, ...]) -> list[Job]:
    """Jobs of one method on one task: each configuration with each seed."""
    recipes = {name: design.zoo(name).to_json() for name in task.zoos}
    return [
        Job(
            task,
            method,
            number,
            seed,
            recipes,
            most_epochs=design.most_epochs,
            most_members=design.most_members,
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
