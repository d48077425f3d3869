"""Training one network of a zoo: a plain loop, one thread, all images in memory."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sne.zoo.errors import ZooError
from sne.zoo.families import FAMILIES
from sne.zoo.images import ImageSet
from sne.zoo.layout import Layout, flatten
from sne.zoo.recipe import Recipe, Unit
from sne.zoo.writing import LARGEST_WEIGHT, Value

_EVAL_BATCH = 500


@dataclass(frozen=True)
class Kept:
    """One checkpoint that was kept: steps taken, weights, what was measured."""

    step: int
    vector: Float[Tensor, " entries"]
    properties: dict[str, Value]


@dataclass(frozen=True)
class TrainedRun:
    """A training run: how it was trained, the layout of its weights, and its checkpoints in order of step."""

    layout: Layout
    hyperparameters: dict[str, Any]
    kept: tuple[Kept, ...]


def train_run(recipe: Recipe, unit: Unit, images: ImageSet) -> TrainedRun:
    """Trains one network.

    The result depends on the recipe's seed and the unit alone (and on the machine). A run whose loss stops
    being finite ends there: its last weights are kept if they are finite, and all its checkpoints carry
    `diverged`. Torch's default generator is left as it was.

    Args:
        recipe: of the zoo.
        unit: which network.
        images: the image set of the recipe.
    """
    family = FAMILIES[unit.family]
    seeds = unit.seeds(recipe.seed)
    hyperparameters = family.sample(np.random.default_rng(seeds.spawn(1)[0]))
    init_seed, data_seed, mask_seed = (int(n) for n in seeds.generate_state(3, np.uint64) >> np.uint64(1))
    generator = torch.Generator().manual_seed(data_seed)
    chosen = torch.randperm(len(images.x_train), generator=generator)
    chosen = chosen[: max(round(hyperparameters["train_fraction"] * len(chosen)), 1)]
    x, y = images.x_train[chosen], images.y_train[chosen]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mask_seed)
        init = torch.Generator().manual_seed(init_seed)
        module = family.build(hyperparameters, images.shape, images.num_classes, init)
        optimiser = make_optimiser(module, hyperparameters)
        batch_size = min(int(hyperparameters["batch_size"]), len(x))
        to_steps = 1 if recipe.unit == "steps" else len(x) // batch_size
        keep = {point * to_steps for point in recipe.keep}
        kept: list[Kept] = []
        started, diverged = time.perf_counter(), False

        def keep_now(step: int) -> None:
            seconds = time.perf_counter() - started
            layout_vector = flatten(module.state_dict())[1]
            if bool((layout_vector.abs() <= LARGEST_WEIGHT).all()):
                measured = measure(module, x, y, images, recipe.eval_images)
                kept.append(Kept(step, layout_vector, {**measured, "wall_time": seconds}))

        if 0 in keep:
            keep_now(0)
        module.train()
        for step, rows in enumerate(_batches(len(x), batch_size, generator), 1):
            optimiser.zero_grad()
            loss = cross_entropy(module(images.scale(x[rows])), y[rows])
            if not np.isfinite(loss.item()):
                diverged = True
                if not kept or kept[-1].step < step - 1:
                    keep_now(step - 1)
                break
            loss.backward()
            optimiser.step()
            if step in keep:
                keep_now(step)
                module.train()
            if step >= recipe.length * to_steps:
                break
        layout = flatten(module.state_dict())[0]

    for checkpoint in kept:
        checkpoint.properties["diverged"] = diverged
    return TrainedRun(layout, hyperparameters, tuple(kept))


def make_optimiser(module: nn.Module, hyperparameters: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimiser that the hyper-parameters name; weight decay is added to the gradient (L2)."""
    parameters = list(module.parameters())
    rate, decay = hyperparameters["learning_rate"], hyperparameters["weight_decay"]
    match hyperparameters["optimizer"]:
        case "adam":
            return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, rate, weight_decay=decay, fused=True)
        case "momentum":
            return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, rate, alpha=0.9, weight_decay=decay, foreach=True)
        case other:
            raise ZooError(f"optimizer {other!r} is not known, expected adam, sgd, momentum or rmsprop")


def measure(
    module: nn.Module,
    x: UInt8[Tensor, "train channels height width"],
    y: Int[Tensor, " train"],
    images: ImageSet,
    limit: int,
) -> dict[str, Value]:
    """Accuracy and loss on the first images of the network's own training part and of the test images.

    Args:
        module: the network; left in evaluation mode.
        x: its training images.
        y: their classes.
        images: the image set, for the test images.
        limit: the most images to use of either.

    Returns:
        Properties by name; a loss that is not finite is None.
    """
    train_accuracy, train_loss = _evaluate(module, x[:limit], y[:limit], images)
    test_accuracy, test_loss = _evaluate(module, images.x_test[:limit], images.y_test[:limit], images)
    return {
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
        "train_loss": train_loss if np.isfinite(train_loss) else None,
        "test_loss": test_loss if np.isfinite(test_loss) else None,
        "generalization_gap": train_accuracy - test_accuracy,
    }


@torch.inference_mode()
def _evaluate(module: nn.Module, x: Tensor, y: Tensor, images: ImageSet) -> tuple[float, float]:
    module.eval()
    batches = zip(x.split(_EVAL_BATCH), y.split(_EVAL_BATCH), strict=True)
    correct, loss = 0, 0.0
    for pixels, labels in batches:
        logits = module(images.scale(pixels))
        correct += int((logits.argmax(1) == labels).sum())
        loss += float(cross_entropy(logits, labels, reduction="sum"))
    return correct / len(x), loss / len(x)


def _batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of one batch after another, without end; each epoch a new order, its last short batch left out."""
    while True:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - batch_size + 1, batch_size):
            yield order[start : start + batch_size]
