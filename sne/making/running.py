"""Training one network of a zoo: a plain loop on one thread, with all examples in memory."""

import copy
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.making.augmentation import augment
from sne.making.families import Family
from sne.making.hashing import key_of
from sne.making.images import ImageSet
from sne.making.optimisers import make_optimiser, rate_factor
from sne.making.randomness import CounterDraws, Draws, Seeds, SequentialDraws
from sne.making.recipe import Recipe, RunId
from sne.making.tasks import Task
from sne.symmetry import Symmetry, SymmetryError, trace
from sne.zoo.store.columns import Value
from sne.zoo.store.layout import Layout, flatten
from sne.zoo.store.writing import LARGEST_WEIGHT


@dataclass(frozen=True)
class Kept:
    """One kept checkpoint: number of steps, weights and measured properties."""

    step: int
    vector: Float[Tensor, " entries"]
    properties: dict[str, Value]


@dataclass(frozen=True)
class TrainedRun:
    """A finished training run.

    Args:
        layout: Layout of its weights.
        hyperparameters: Hyper-parameters of the architecture and of the training.
        kept: Its checkpoints in the order of steps.
        dataset: Name of the data it was trained on; None for the images of the recipe.
        symmetry: Symmetry of the network; None if it is not known.
    """

    layout: Layout
    hyperparameters: dict[str, Any]
    kept: tuple[Kept, ...]
    dataset: str | None = None
    symmetry: Symmetry | None = None


@dataclass(frozen=True)
class Trainee:
    """One network before its first step, with everything that its training needs.

    Args:
        run_id: Identity of the run.
        family: Family of the network.
        hyperparameters: Hyper-parameters drawn from the space of the family.
        seeds: Seeds of the network.
        module: Module with its initial weights.
        task: Task that it learns.
        batch_size: Number of examples per step.
        last_step: Number of the last step.
        keep: Steps after which a checkpoint is kept.
        orders: Generator of the order of its data, for `SequentialDraws`.
    """

    run_id: RunId
    family: Family
    hyperparameters: dict[str, Any]
    seeds: Seeds
    module: nn.Module
    task: Task
    batch_size: int
    last_step: int
    keep: frozenset[int]
    orders: torch.Generator

    @property
    def augmentation(self) -> str:
        """Kind of augmentation of the training images, see `augment`."""
        return self.hyperparameters.get("augment", "none")

    def rate_factor(self, step: int) -> float:
        """Returns the factor of the learning rate in a step, numbered from 1."""
        return rate_factor(self.hyperparameters.get("schedule", "constant"), step, self.last_step)

    def finish(self, layout: Layout, kept: list[Kept]) -> TrainedRun:
        """Returns the finished run. Hyper-parameters that the family declares as labels become properties."""
        labels = dict(self.task.labels) | {name: self.hyperparameters[name] for name in self.family.labels}
        others = {name: v for name, v in self.hyperparameters.items() if name not in self.family.labels}
        rows = [Kept(row.step, row.vector, labels | row.properties) for row in kept]
        symmetry = symmetry_of_module(self.module, self.family, self.hyperparameters, self.task)
        return TrainedRun(layout, others, tuple(rows), self.task.dataset, symmetry)


def prepare_run(recipe: Recipe, run_id: RunId, images: ImageSet) -> Trainee:
    """Draws the hyper-parameters, the examples and the initial weights of a network.

    The result depends on the recipe and the run only. The state of torch's default generator is restored.
    """
    family = recipe.family(run_id.family)
    seeds = Seeds(run_id.seeds(recipe.seed))
    hyperparameters = family.sample(seeds.hyperparameters())
    orders = torch.Generator().manual_seed(seeds.data)
    task = family.task(hyperparameters, images, orders, recipe.eval_images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.initial)
        init = torch.Generator().manual_seed(seeds.initial)
        module = family.build(hyperparameters, images.shape, images.num_classes, init)
    batch_size = min(int(hyperparameters.get("batch_size", task.num_examples)), task.num_examples)
    to_steps = 1 if recipe.unit == "steps" else task.num_examples // batch_size
    return Trainee(
        run_id=run_id,
        family=family,
        hyperparameters=hyperparameters,
        seeds=seeds,
        module=module,
        task=task,
        batch_size=batch_size,
        last_step=recipe.length * to_steps,
        keep=frozenset(point * to_steps for point in recipe.keep),
        orders=orders,
    )


def train_run(recipe: Recipe, run_id: RunId, images: ImageSet, *, counted: bool = False) -> TrainedRun:
    """Trains one network on the CPU.

    The result depends on the recipe, the run and the machine only. A run ends early if its loss is not finite: its
    last weights are kept if they are finite (otherwise, if nothing else is kept, the initial weights), and the property
    `diverged` of all its checkpoints is true. A run also ends if its loss falls below `stop_loss` of its family. The
    state of torch's default generator is restored.

    Args:
        recipe: Recipe of the zoo.
        run_id: Identity of the run.
        images: Image set of the recipe.
        counted: Whether data order and masks are drawn as for networks trained in a stack, see `CounterDraws`.
    """
    trainee = prepare_run(recipe, run_id, images)
    draws = CounterDraws(trainee.seeds) if counted else SequentialDraws(trainee.orders)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trainee.seeds.masks)
        return _train(trainee, draws)


def _train(trainee: Trainee, draws: Draws) -> TrainedRun:
    module, task = trainee.module, trainee.task
    optimiser = make_optimiser(module, trainee.hyperparameters)
    rate, key = optimiser.param_groups[0]["lr"], key_of(trainee.seeds.masks, "cpu")
    kept: list[Kept] = []
    untrained = copy.deepcopy(module.state_dict())
    started, diverged = time.perf_counter(), False

    def keep(step: int) -> None:
        seconds = time.perf_counter() - started
        vector = flatten(module.state_dict())[1]
        if bool((vector.abs() <= LARGEST_WEIGHT).all()):
            kept.append(Kept(step, vector, {**task.measure(module), "wall_time": seconds}))
        module.train()

    if 0 in trainee.keep:
        keep(0)
    module.train()
    for step, rows in enumerate(draws.batches(task.num_examples, trainee.batch_size), 1):
        draws.begin_step(module, step)
        optimiser.zero_grad()
        inputs, targets = task.batch(rows)
        if trainee.augmentation != "none":
            inputs = augment(inputs[None], key, trainee.augmentation, step)[0]
        loss = task.loss(module(inputs), targets)
        value = loss.item()
        diverged = not np.isfinite(value)
        if diverged or (trainee.family.stop_loss is not None and value < trainee.family.stop_loss):
            if not kept or kept[-1].step < step - 1:
                keep(step - 1)
            break
        loss.backward()
        optimiser.param_groups[0]["lr"] = rate * trainee.rate_factor(step)
        optimiser.step()
        if step in trainee.keep:
            keep(step)
        if step >= trainee.last_step:
            break
    if not kept:  # its weights were too large before the first checkpoint
        diverged = True
        module.load_state_dict(untrained)
        keep(0)
    for checkpoint in kept:
        checkpoint.properties["diverged"] = diverged
    return trainee.finish(flatten(module.state_dict())[0], kept)


_TRAINING_ONLY = (
    "optimizer", "learning_rate", "weight_decay", "batch_size", "train_fraction", "dropout", "init", "init_std",
    "schedule", "augment",
)  # fmt: skip
"""Hyper-parameters that affect only the weights of a module in evaluation mode."""

_MOST_KNOWN = 4096

_known: dict[object, Symmetry | None] = {}


def symmetry_of_module(
    module: nn.Module, family: Family, hyperparameters: Mapping[str, Any], task: Task
) -> Symmetry | None:
    """Returns the symmetry of a network, found in its module; None if the module cannot be traced.

    Tracing takes about 0.1 s, so networks that differ only in their training are traced once per process.

    Args:
        module: The network; its weights do not matter.
        family: Family of the network.
        hyperparameters: Hyper-parameters; those of the architecture decide what the module computes.
        task: Task of the network, which provides inputs of the right shape.
    """
    inputs, _ = task.batch(torch.arange(min(2, task.num_examples)))
    free = {*_TRAINING_ONLY, *family.labels}
    drawn = sorted((name, repr(value)) for name, value in hyperparameters.items() if name not in free)
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in module.state_dict().items())
    key = family.name, type(module), str(drawn), shapes, tuple(inputs.shape)
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _keep_locks_in_the_process()
        try:
            _known[key] = trace(module, (inputs,))
        except SymmetryError:
            _known[key] = None
    return _known[key]


def _keep_locks_in_the_process() -> None:
    """Gives tqdm, which torch.export uses, a lock of this process.

    tqdm's own lock is a semaphore of the system, which a killed worker would leave behind with a warning on stderr.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return
    if not hasattr(tqdm, "_lock"):
        tqdm.set_lock(threading.RLock())
