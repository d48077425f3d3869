"""Training one network of a zoo: a plain loop, one thread, all examples in memory."""

import copy
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families import Family
from sne.making.families.optimising import make_optimiser
from sne.making.images import ImageSet
from sne.making.randomness import CounterDraws, Draws, Seeds, SequentialDraws
from sne.making.recipe import Recipe, Unit
from sne.making.tasks import Task
from sne.making.tracing import symmetry_of_module
from sne.symmetry import Symmetry
from sne.zoo.store.columns import Value
from sne.zoo.store.layout import Layout, flatten
from sne.zoo.store.writing import LARGEST_WEIGHT


@dataclass(frozen=True)
class Kept:
    """One checkpoint that was kept: steps taken, weights, what was measured."""

    step: int
    vector: Float[Tensor, " entries"]
    properties: dict[str, Value]


@dataclass(frozen=True)
class TrainedRun:
    """A training run.

    Args:
        layout: of its weights.
        hyperparameters: how it was trained.
        kept: its checkpoints in order of step.
        dataset: what it was trained on; None for the images of the recipe.
        symmetry: of the network; None where it is not known.
    """

    layout: Layout
    hyperparameters: dict[str, Any]
    kept: tuple[Kept, ...]
    dataset: str | None = None
    symmetry: Symmetry | None = None


@dataclass(frozen=True)
class Trainee:
    """One network before its first step, with all that it is trained by.

    Args:
        unit: which network.
        family: its family.
        hyperparameters: drawn from the family's space.
        seeds: of the network.
        module: with its first weights.
        task: what it learns.
        batch_size: examples a step.
        last_step: after which it ends.
        keep: the steps after which a checkpoint is kept.
        orders: generator of the orders of its data, for `SequentialDraws`.
    """

    unit: Unit
    family: Family
    hyperparameters: dict[str, Any]
    seeds: Seeds
    module: nn.Module
    task: Task
    batch_size: int
    last_step: int
    keep: frozenset[int]
    orders: torch.Generator

    def finish(self, layout: Layout, kept: list[Kept]) -> TrainedRun:
        """The finished run; what the family calls labels stands with the properties."""
        labels = dict(self.task.labels) | {name: self.hyperparameters[name] for name in self.family.labels}
        others = {name: v for name, v in self.hyperparameters.items() if name not in self.family.labels}
        rows = [Kept(row.step, row.vector, labels | row.properties) for row in kept]
        symmetry = symmetry_of_module(self.module, self.family, self.hyperparameters, self.task)
        return TrainedRun(layout, others, tuple(rows), self.task.dataset, symmetry)


def prepare_unit(recipe: Recipe, unit: Unit, images: ImageSet) -> Trainee:
    """Draws a network's hyper-parameters, its examples and its first weights.

    The result depends on the recipe and the unit alone. Torch's default generator is left as it was.
    """
    family = recipe.family(unit.family)
    seeds = Seeds(unit.seeds(recipe.seed))
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
        unit=unit,
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


def train_run(recipe: Recipe, unit: Unit, images: ImageSet, *, counted: bool = False) -> TrainedRun:
    """Trains one network, on the CPU.

    The result depends on the recipe and the unit alone (and on the machine). A run whose loss stops being finite
    ends there: its last weights are kept if they are finite (else, where nothing else is kept, its first), and all
    its checkpoints carry `diverged`. A run whose loss falls below its family's `stop_loss` ends there too. Torch's
    default generator is left as it was.

    Args:
        recipe: of the zoo.
        unit: which network.
        images: the image set of the recipe.
        counted: draw orders and masks as networks trained in a stack do, in place of torch's generators.
    """
    trainee = prepare_unit(recipe, unit, images)
    draws = CounterDraws(trainee.seeds) if counted else SequentialDraws(trainee.orders)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trainee.seeds.masks)
        return _train(trainee, draws)


def _train(trainee: Trainee, draws: Draws) -> TrainedRun:
    module, task = trainee.module, trainee.task
    optimiser = make_optimiser(module, trainee.hyperparameters)
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
        loss = task.loss(module(inputs), targets)
        value = loss.item()
        diverged = not np.isfinite(value)
        if diverged or (trainee.family.stop_loss is not None and value < trainee.family.stop_loss):
            if not kept or kept[-1].step < step - 1:
                keep(step - 1)
            break
        loss.backward()
        optimiser.step()
        if step in trainee.keep:
            keep(step)
        if step >= trainee.last_step:
            break
    if not kept:  # its weights went beyond all bounds before the first were to be kept
        diverged = True
        module.load_state_dict(untrained)
        keep(0)
    for checkpoint in kept:
        checkpoint.properties["diverged"] = diverged
    return trainee.finish(flatten(module.state_dict())[0], kept)
