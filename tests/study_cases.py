"""Small studies and simulated results for the tests of studies."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sne.lab.studies import METHODS, Design, HeldOut, Study, StudyTask, ZooNeed
from sne.lab.studies.jobs import Job
from sne.lab.studies.methods import Method
from sne.lab.studies.outcomes import Outcome, Outcomes

ZOO = ZooNeed("tiny", ("small_cnn",), networks=8, steps=6, keep=(2, 6), eval_images=50)
OTHER = ZooNeed("tiny-sine", ("sine_inr",), networks=6, steps=3, keep=(3,))
TASK = StudyTask("accuracy", ("tiny",), (HeldOut("own", ("tiny",)),))


def tiny_study(*methods: str, tasks: tuple[StudyTask, ...] = (TASK,), **design: Any) -> Study:
    """A study of tiny zoos, at the scale ci."""
    given = {"seeds": (0, 1), "most_epochs": 1, "most_folds": 2, **design}
    chosen = tuple(METHODS[name] for name in methods)
    zoos = tuple(zoo for zoo in (ZOO, OTHER) if any(zoo.name in task.zoos for task in tasks))
    return Study("tiny", "Tiny", "Does it run?", {"ci": Design(zoos, tasks, chosen, **given)})


def result(job: Job, parts: Mapping[str, Mapping[str, Any]], **given: Any) -> dict[str, Any]:
    """The result of a finished job."""
    described = {"task": job.task.name, "method": job.method.name, "configuration": job.configuration}
    judged = {
        name: {"status": "done", "reason": None, "ms_per_network": 1.5, **values} for name, values in parts.items()
    }
    return {
        "fingerprint": job.fingerprint,
        "job": {**described, "settings": job.settings, "seed": job.seed},
        "versions": {"sne": "0"},
        "status": "done",
        "reason": None,
        "validation": 0.5,
        "seconds": 2.0,
        "cpu_seconds": 1.0,
        "parameters": 10,
        "held_out": judged,
        **given,
    }


def outcome(method: Method, noise: float, *, task: StudyTask = TASK, seeds: int = 3, status: str = "done") -> Outcome:
    """An outcome whose predictions are the labels plus noise."""
    part = task.held_out[0]
    rng = np.random.default_rng(0)
    measured = rng.random(40).round(6)
    runs = [f"run{i // 2}" for i in range(40)]
    results = []
    for seed in range(seeds if status == "done" else 0):
        predicted = measured + noise * np.random.default_rng([seed, len(method.name)]).standard_normal(40)
        job = Job(task, method, 0, seed, {})
        columns = {"runs": runs, "measured": measured.tolist(), "predicted": predicted.tolist()}
        if task.has_map:
            columns["embeddings"] = rng.standard_normal((40, 5)).tolist()
            columns |= {"dataset": ["a" if i % 4 < 2 else "b" for i in range(40)], "family": ["f"] * 40}
        results.append(result(job, {part.name: columns}))
    return Outcome(task, part, method, results, status, None if status == "done" else "too small", 0)


def outcomes(*pairs: tuple[str, float], task: StudyTask = TASK) -> Outcomes:
    """Outcomes of methods, given their names and noise; negative noise stands for "cannot"."""
    return Outcomes(
        [outcome(METHODS[name], noise, task=task, status="done" if noise >= 0 else "cannot") for name, noise in pairs]
    )
