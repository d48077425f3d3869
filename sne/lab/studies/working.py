"""Doing a job: a pure function of the job and its zoos, but for the clock."""

import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
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
from sne.work import write_atomically
from sne.zoo import Split, Zoo


def do_job(job: Job, shelf: Path, results: Path) -> None:
    """Does a job and writes its result, whole or not at all.

    Args:
        job: what to do.
        shelf: the folder of the zoos.
        results: where the result is written, under the job's name.
    """
    write_result(results, job, run_job(job, ZooShelf(shelf)))


def write_result(results: Path, job: Job, result: Mapping[str, Any]) -> None:
    """Writes what a job found, whole or not at all."""
    results.mkdir(parents=True, exist_ok=True)
    write_atomically(results / job.file_name, (json.dumps(result) + "\n").encode())


def run_job(job: Job, shelf: ZooShelf) -> dict[str, Any]:
    """Trains a method and lets it predict the held-out networks.

    Args:
        job: what to do.
        shelf: where its zoos are.

    Returns:
        Plain JSON values: `status` is "done", or with a `reason` "cannot" where the method is not made for the
        training networks, and "failed" where its training did not come to an end; `held_out` holds the same for each
        held-out set, with labels and predictions.
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
    if all(refusals):  # then there is nothing to train for
        return {**result, "status": "cannot", "reason": refusals[0], "held_out": {}}
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        validation = learner.learn(shelved.zoo, split, job.task.target)
    except CannotTakeError as error:
        return {**result, "status": "cannot", "reason": _reason(error, shelf), "held_out": {}}
    except (TrainingError, PredictorError) as error:  # with the same settings it would come to the same
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
    """Why a held-out set cannot be predicted, where that is known without training."""
    for name in part.zoos:
        judged, rows, _ = _labelled(shelf.open((name,)), part, job.task.target)
        try:
            learner.check(zoo, split, judged, int(rows[0]))
        except CannotTakeError as error:
            return _reason(error, shelf)
    return None


def _reason(error: Exception, shelf: ZooShelf) -> str:
    """What a method says, with zoos by name alone: reports are passed on, and the folder means nothing elsewhere."""
    return str(error).replace(f"{shelf.folder}{os.sep}", "")


def _judge(job: Job, learner: Learner, part: HeldOut, shelf: ZooShelf) -> dict[str, Any]:
    """Labels and predictions of one held-out set."""
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
    """A zoo, the rows of a held-out set whose label is known, and the labels."""
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
    """Names as they are, numbers with seven digits."""
    if values.dtype == object:
        return [str(value) for value in values]
    return [float(f"{value:.7g}") for value in values.tolist()]


def _reduced(embeddings: np.ndarray, most: int = 50) -> np.ndarray:
    """Standardised embeddings on their first principal axes, as t-SNE wants them."""
    centred = (embeddings - embeddings.mean(0)) / (embeddings.std(0) + 1e-8)
    left, sizes, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    kept = min(most, len(sizes))
    return left[:, :kept] * sizes[:kept]
