"""What a family of architectures is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sne.errors import ZooError
from sne.making.families.initialising import initialise
from sne.making.families.space import Space, sample
from sne.making.images import ImageSet
from sne.making.tasks import Classification, Task

ImageShape = tuple[int, int, int]  # channels, height, width

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "none": nn.Identity,
}


def classify(
    hyperparameters: Mapping[str, Any], images: ImageSet, generator: torch.Generator, limit: int
) -> Classification:
    """The task of classifiers: a part of the training images, drawn at random, of the size `train_fraction` says.

    Args:
        hyperparameters: of the network.
        images: the image set of the zoo.
        generator: draws the part.
        limit: the most images to measure on.
    """
    order = torch.randperm(len(images.x_train), generator=generator)
    count = max(round(hyperparameters["train_fraction"] * len(order)), 1)
    return Classification(images, order[:count].clone(), limit)


@dataclass(frozen=True)
class Family:
    """Networks of one kind of architecture, and the hyper-parameters they are trained with.

    Args:
        name: what the column `family` says.
        space: what hyper-parameters are drawn from. Every space has `optimizer`, `learning_rate`, `weight_decay`
            and `init`; those of classifiers also `dropout`, `init_std`, `train_fraction` and `batch_size`.
        module: makes the untrained module from hyper-parameters, image shape and number of classes.
        task: what a network learns, from hyper-parameters, images, a generator and the most images to measure on.
        elaborate: draws hyper-parameters that depend on others, after those of the space.
        labels: names of the space that are properties of the network, to be predicted, rather than of its training.
        initialise: draws the first weights in place of the initialiser named `init`.
        stop_loss: a run ends when the loss of a step is below this; None: after its steps.
        smallest: the smallest height and width it takes.
        multiple: height and width must be a multiple of this.
    """

    name: str
    space: Space
    module: Callable[[Mapping[str, Any], ImageShape, int], nn.Module]
    task: Callable[[Mapping[str, Any], ImageSet, torch.Generator, int], Task] = classify
    elaborate: Callable[[Mapping[str, Any], np.random.Generator], dict[str, Any]] | None = None
    labels: tuple[str, ...] = ()
    initialise: Callable[[nn.Module, torch.Generator], None] | None = None
    stop_loss: float | None = None
    smallest: int = 1
    multiple: int = 1

    def check(self, shape: ImageShape) -> None:
        """Raises ZooError if the family cannot read images of this shape."""
        _, height, width = shape
        if min(height, width) < self.smallest or height % self.multiple or width % self.multiple:
            rule = f"of at least {self.smallest}"
            rule += f", multiples of {self.multiple}" if self.multiple > 1 else ""
            raise ZooError(f"family {self.name} needs sides {rule}; images are {height} x {width}")

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draws the hyper-parameters of one network."""
        drawn = sample(self.space, rng)
        return drawn | self.elaborate(drawn, rng) if self.elaborate else drawn

    def build(
        self, hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int, generator: torch.Generator
    ) -> nn.Module:
        """Makes one untrained network.

        Args:
            hyperparameters: as drawn by `sample`.
            shape: of the images: channels, height, width.
            classes: number of outputs.
            generator: source of the first weights.
        """
        self.check(shape)
        module = self.module(hyperparameters, shape, classes)
        if self.initialise:
            self.initialise(module, generator)
        else:
            initialise(module, hyperparameters["init"], hyperparameters["init_std"], generator)
        return module
