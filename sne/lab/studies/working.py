"""Running jobs. The result of a job depends on the job and its zoos alone, apart from its times."""

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from sne import __version__
from sne.errors import StudyError
from sne.lab.neural import CannotTakeError
from sne.lab.studies.jobs import Job
from sne.lab.studies.learners import Learner, learner_of
from sne.lab.studies.study import HeldOut
from sne.lab.studies.zoos import ShelvedZoo, ZooShelf
from sne.predictors import PredictorError
from sne.training import TrainingError, target_column
from sne.work import Executor, Failure, write_atomically
from sne.zoo import Split, Zoo


def do_jobs(
    jobs: Sequence[Job], shelf: ZooShelf, results: Path, executor: Executor
) -> Iterator[tuple[Job, Failure | None]]:
    """Runs jobs and writes their results, each whole or not at all.

    Where the executor does not share the disk of this machine, zoos travel to the nodes and results travel back.
    Closing the iterator, or an error, ends all jobs in flight.

    Args:
        jobs: The jobs.
        shelf: Shelf of the zoos.
        results: Folder of the results, one file per job.
        executor: Where the jobs run.

    Yields:
        Each job as soon as it is done, with the reason if it failed.

    Raises:
        WorkError: No worker can be started or reached.
    """
    if executor.shares_disk:
        answers = executor.run(partial(run_job, shelf=shelf), jobs)
    else:
        names = {job.name: [str(path.relative_to(shelf.folder)) for path in shelf.paths(job.task)] for job in jobs}
        packed = {name: (name, _pack(shelf.folder / name)) for own in names.values() for name in own}
        answers = executor.run(_run_unpacked, jobs, shared=packed, needs=lambda job: names[job.name])
    with closing(answers):
        for answer in answers:
            if answer.failure is None:
                write_atomically(results / answer.item.file_name, json.dumps(answer.result) + "\n")
            yield answer.item, answer.failure


def _run_unpacked(job: Job, *packed: tuple[str, Mapping[str, bytes]]) -> dict[str, Any]:
    """Unpacks the zoos of a job and runs it."""
    with TemporaryDirectory(prefix="sne-study-") as folder:
        for name, files in packed:
            (Path(folder) / name).mkdir(parents=True)
            for file, data in files.items():
                (Path(folder) / name / file).write_bytes(data)
        return run_job(job, ZooShelf(folder))


def _pack(folder: Path) -> dict[str, bytes]:
    """Returns the files of a zoo by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def run_job(job: Job, shelf: ZooShelf) -> dict[str, Any]:
    """Trains a method and predicts the held-out networks.

    Args:
        job: The job.
        shelf: Shelf of the zoos.

    Returns:
        Plain JSON values. `status` is "done"; or, with a `reason`, "cannot" if the method cannot read the training
        networks, or "failed" if its training failed. `held_out` holds the same per held-out set, with labels and
        predictions.
    """
    learner, shelved = learner_of(job), shelf.open(job.task.train)
    result: dict[str, Any] = {
        "format": 1,
        "fingerprint": job.fingerprint,
        "job": {
            "task": job.task.name,
            "method": job.method.name,
            "configuration": job.configuration,
            "settings": job.settings,
            "seed": job.seed,
        },
        "versions": {
            "sne": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    split = shelved.part(job.task.fraction, job.seed)
    refusals = [_refusal(job, learner, shelved.zoo, split, part, shelf) for part in job.task.held_out]
    if all(refusals):  # training would have no use
        return {**result, "status": "cannot", "reason": refusals[0], "held_out": {}}
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        validation = learner.learn(shelved.zoo, split, job.task.target)
    except CannotTakeError as error:
        return {**result, "status": "cannot", "reason": _reason(error, shelf), "held_out": {}}
    except (TrainingError, PredictorError) as error:  # the same settings would fail again
        return {**result, "status": "failed", "reason": _reason(error, shelf), "validation": None, "held_out": {}}
    return {
        **result,
        "status": "done",
        "reason": None,
        "validation": validation,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "parameters": learner.parameters,
        "held_out": {part.name: _judge(job, learner, part, shelf) for part in job.task.held_out},
    }


def _refusal(job: Job, learner: Learner, zoo: Zoo, split: Split, part: HeldOut, shelf: ZooShelf) -> str | None:
    """Returns why a held-out set cannot be predicted, if that is known without training."""
    for name in part.zoos:
        judged, rows, _ = _labelled(shelf.open((name,)), part, job.task.target)
        try:
            learner.check(zoo, split, judged, int(rows[0]))
        except CannotTakeError as error:
            return _reason(error, shelf)
    return None


def _reason(error: Exception, shelf: ZooShelf) -> str:
    """Returns the reason of a method without the folder of the zoos: reports are read on other machines."""
    return str(error).replace(f"{shelf.folder}{os.sep}", "")


def _judge(job: Job, learner: Learner, part: HeldOut, shelf: ZooShelf) -> dict[str, Any]:
    """Returns labels and predictions of one held-out set."""
    columns: dict[str, list[Any]] = {"runs": [], "measured": [], "predicted": []}
    map_labels: dict[str, list[Any]] = {"dataset": [], "family": []}
    embeddings: list[np.ndarray] = []
    seconds = 0.0
    for name in part.zoos:
        shelved = shelf.open((name,))
        zoo, rows, labels = _labelled(shelved, part, job.task.target)
        start = time.perf_counter()
        try:
            predicted = learner.predict(zoo, rows)
        except CannotTakeError as error:
            return {"status": "cannot", "reason": _reason(error, shelf)}
        seconds += time.perf_counter() - start
        columns["runs"] += [f"{name}/{zoo.runs[row]}" for row in rows]
        columns["measured"] += _plain(labels)
        columns["predicted"] += _plain(predicted)
        if job.task.has_map:
            found = learner.embed(zoo, rows)
            embeddings += [] if found is None else [found]
            for key in map_labels:
                map_labels[key] += [str(value) for value in zoo.column(key)[rows]]
    judged = {"status": "done", "reason": None, **columns, "ms_per_network": 1e3 * seconds / len(columns["runs"])}
    if embeddings:
        judged |= {**map_labels, "embeddings": _reduced(np.concatenate(embeddings)).round(4).tolist()}
    return judged


def _labelled(shelved: ShelvedZoo, part: HeldOut, target: str) -> tuple[Zoo, np.ndarray, np.ndarray]:
    """Returns a zoo, the rows of a held-out set whose label is known, and the labels."""
    zoo, rows = shelved.zoo, shelved.split.rows(shelved.zoo.runs, part.piece)
    if part.where is not None:
        column, text = part.where
        rows = rows[[text in str(value) for value in zoo.column(column)[rows]]]
    labels = target_column(zoo, target)[rows]
    known = np.array([label is not None and label == label for label in labels], dtype=bool)
    if not known.any():
        raise StudyError(f"{part.name}: none of the {len(rows)} networks of {zoo.path.name} has a label for {target}")
    return zoo, rows[known], labels[known]


def _plain(values: np.ndarray) -> list[Any]:
    """Returns names as they are, and numbers with seven digits."""
    if values.dtype == object:
        return [str(value) for value in values]
    return [float(f"{value:.7g}") for value in values.tolist()]


def _reduced(embeddings: np.ndarray, most: int = 50) -> np.ndarray:
    """Returns standardised embeddings on their first principal axes, for t-SNE."""
    centred = (embeddings - embeddings.mean(0)) / (embeddings.std(0) + 1e-8)
    left, sizes, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    kept = min(most, len(sizes))
    return left[:, :kept] * sizes[:kept]
