"""The work of one worker, in a process or on a node: training networks and returning each as bytes."""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from sne.errors import SneError, WorkError, ZooError
from sne.making.images import ImageSet
from sne.making.recipe import Recipe, RunId
from sne.making.running import Kept, TrainedRun, train_run
from sne.symmetry import Symmetry, symmetry_from_json, symmetry_to_json
from sne.work import Answer
from sne.zoo.store.layout import Layout

_LENGTH = struct.Struct("<Q")


def run_to_bytes(run: TrainedRun) -> bytes:
    """Returns a training run as bytes: the length of a JSON text, the text, and the weights in float32, little-endian.

    Inverse: `run_from_bytes`.
    """
    described: dict[str, Any] = {
        "layout": run.layout.to_json(),
        "hyperparameters": run.hyperparameters,
        "dataset": run.dataset,
        "symmetry": None if run.symmetry is None else symmetry_to_json(run.symmetry),
        "kept": [{"step": kept.step, "properties": kept.properties} for kept in run.kept],
    }
    text = json.dumps(described, separators=(",", ":")).encode()
    weights = [kept.vector.detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes() for kept in run.kept]
    return b"".join((_LENGTH.pack(len(text)), text, *weights))


def run_from_bytes(data: bytes, where: str) -> TrainedRun:
    """Rebuilds a training run. Inverse of `run_to_bytes`.

    Args:
        data: Result of `run_to_bytes`.
        where: Name of the run in error messages.

    Raises:
        ZooError: The bytes are not a run.
    """
    try:
        start = _LENGTH.size
        (length,) = _LENGTH.unpack_from(data)
        described = json.loads(data[start : start + length])
        layout = Layout.from_json(described["layout"], where)
        rows = described["kept"]
        weights = np.frombuffer(data, dtype="<f4", offset=start + length).astype(np.float32)
        vectors = torch.from_numpy(weights.reshape(len(rows), layout.num_entries))
        kept = tuple(
            Kept(int(row["step"]), vector, dict(row["properties"])) for row, vector in zip(rows, vectors, strict=True)
        )
        symmetry = None if described["symmetry"] is None else _symmetry(described["symmetry"])
        return TrainedRun(layout, dict(described["hyperparameters"]), kept, described["dataset"], symmetry)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ZooError(f"{where} is not a training run ({error})") from None


@lru_cache(maxsize=256)
def _symmetry(text: str) -> Symmetry:
    """Returns one object for all runs of one architecture."""
    return symmetry_from_json(text)


RunGroup = tuple[RunId, ...]
"""Training runs that one worker carries out, one after another or together."""

Trainer = Callable[[Recipe, Sequence[RunId], ImageSet], Iterator[tuple[RunId, TrainedRun]]]
"""Trains the networks of a group. It must be a function of a module, or a partial of one, because workers import it."""


def train_each(recipe: Recipe, run_ids: Sequence[RunId], images: ImageSet) -> Iterator[tuple[RunId, TrainedRun]]:
    """Trains networks one after another; a `Trainer`."""
    for run_id in run_ids:
        yield run_id, train_run(recipe, run_id, images)


def train_runs(run_ids: RunGroup, recipe: Recipe, images: ImageSet, trainer: Trainer) -> list[tuple[RunId, bytes]]:
    """Trains the networks of a group.

    Returns:
        One pair per network: its identity and the bytes of its run, see `run_to_bytes`.

    Raises:
        ZooError: A network cannot be trained as asked; the message begins with its name.
        RuntimeError: The training failed; the message names the network.
    """
    waiting = list(run_ids)
    finished = []
    try:
        for run_id, run in trainer(recipe, run_ids, images):
            finished.append((run_id, run_to_bytes(run)))
            waiting.remove(run_id)
        if waiting:
            raise RuntimeError(f"the trainer ended without {waiting[0].name}")
    except SneError as error:
        raise ZooError(f"{waiting[0].name}: {error}") from None
    except Exception as error:
        raise RuntimeError(f"training {waiting[0].name} failed") from error
    return finished


def finished_runs(answer: Answer[RunGroup]) -> list[tuple[RunId, bytes]]:
    """Returns the result of `train_runs`, or raises the error for its failure."""
    failure = answer.failure
    if failure is None:
        return answer.result
    if failure.error is not None:
        raise failure.error
    if failure.is_lost:
        raise WorkError(
            f"{answer.item[0].name} was {failure.reason}; finished networks are kept, and the same command continues"
        )
    raise RuntimeError(f"{failure.reason}\n{failure.trace}")
