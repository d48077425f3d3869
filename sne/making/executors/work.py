"""What a worker does, wherever it runs: train networks, and hand each back as bytes."""

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from sne.errors import ZooError
from sne.making.finished_run import run_to_bytes
from sne.making.images import ImageSet
from sne.making.recipe import Recipe, Unit
from sne.making.running import TrainedRun, train_run

WorkUnit = tuple[Unit, ...]
"""Networks that one worker trains, one after another or together."""

Trainer = Callable[[Recipe, Sequence[Unit], ImageSet], Iterator[tuple[Unit, TrainedRun]]]
"""Trains the networks of a work unit; a function of a module (or a partial of one), so that workers can import it."""


def train_each(recipe: Recipe, units: Sequence[Unit], images: ImageSet) -> Iterator[tuple[Unit, TrainedRun]]:
    """Trains networks one after another; a `Trainer`."""
    for unit in units:
        yield unit, train_run(recipe, unit, images)


@dataclass(frozen=True)
class Job:
    """What all work units of a zoo share, by value: workers need no file of the maker's.

    Args:
        recipe: of the zoo.
        images: to train on.
        trainer: trains the networks of a work unit.
    """

    recipe: Recipe
    images: ImageSet
    trainer: Trainer = train_each

    def to_bytes(self) -> bytes:
        """The job for a worker process of our own. Inverse: `from_bytes`. Never for files."""
        return pickle.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Job":
        """Inverse of `to_bytes`."""
        return pickle.loads(data)


@dataclass(frozen=True)
class Finished:
    """A trained network, as `run_to_bytes` made it."""

    unit: Unit
    data: bytes


@dataclass(frozen=True)
class Failure:
    """Why a work unit did not end well.

    Args:
        unit: the network that was next.
        message: one line for a user's mistake, a traceback for ours.
        is_refusal: whether it is the former.
    """

    unit: Unit
    message: str
    is_refusal: bool

    def error(self) -> Exception:
        """The error to raise in the maker."""
        if self.is_refusal:
            return ZooError(f"{self.unit.run}: {self.message}")
        return RuntimeError(f"training {self.unit.run} failed\n{self.message}")


def do_work(job: Job, work: WorkUnit) -> Iterator[Finished | Failure]:
    """Trains the networks of a work unit on one thread; errors are told, not raised."""
    torch.set_num_threads(1)
    waiting = list(work)
    try:
        for unit, run in job.trainer(job.recipe, work, job.images):
            yield Finished(unit, run_to_bytes(run))
            waiting.remove(unit)
        if waiting:
            raise RuntimeError(f"the trainer ended without {waiting[0].run}")
    except ZooError as error:
        yield Failure(waiting[0], str(error), is_refusal=True)
    except Exception:
        yield Failure(waiting[0], traceback.format_exc(), is_refusal=False)
