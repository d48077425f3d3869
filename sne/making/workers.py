"""The work of one worker, in a process or on a node: training networks and returning each as bytes."""

from collections.abc import Callable, Iterator, Sequence

from sne.errors import SneError, WorkError, ZooError
from sne.making.finished_run import run_to_bytes
from sne.making.images import ImageSet
from sne.making.recipe import Recipe, RunId
from sne.making.running import TrainedRun, train_run
from sne.work import Answer

RunGroup = tuple[RunId, ...]
"""Training runs that one worker carries out, one after another or together."""

Trainer = Callable[[Recipe, Sequence[RunId], ImageSet], Iterator[tuple[RunId, TrainedRun]]]
"""Trains the networks of a group. It has to be a function of a module, or a partial of one: workers import it."""


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
