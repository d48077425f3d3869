"""The contract of a family of architectures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sne.errors import ZooError
from sne.making.families.blocks import initialise
from sne.making.families.space import Space, sample
from sne.making.images import ImageSet
from sne.making.tasks import Classification, Task
from sne.nn import in_float32

ImageShape = tuple[int, int, int]  # channels, height, width


def classify(
    hyperparameters: Mapping[str, Any], images: ImageSet, generator: torch.Generator, limit: int
) -> Classification:
    """Returns the task of a classifier, which sees a random fraction `train_fraction` of the training images.

    Args:
        hyperparameters: Hyper-parameters of the network.
        images: Image set of the zoo.
        generator: Generator that draws the images.
        limit: Largest number of images to measure on.
    """
    order = torch.randperm(len(images.x_train), generator=generator)
    count = max(round(hyperparameters["train_fraction"] * len(order)), 1)
    return Classification(images, order[:count].clone(), limit)


@dataclass(frozen=True)
class Family:
    """Networks of one kind of architecture, and the hyper-parameters that they are trained with.

    Args:
        name: Name of the family, the value of the column `family`.
        space: Space that hyper-parameters are drawn from. Every space has `optimizer`, `learning_rate`, `weight_decay`
            and `init`; spaces of classifiers also have `dropout`, `init_std`, `train_fraction` and `batch_size`.
        module: Function that builds the untrained module from hyper-parameters, image shape and number of classes.
        task: Function that returns the task of a network from hyper-parameters, images, a generator and the largest
            number of images to measure on.
        elaborate: Function that draws hyper-parameters which depend on those of the space.
        labels: Names of the space that become properties of the network, which are to be predicted.
        initialise: Function that draws the initial weights, instead of the initialiser named `init`.
        stop_loss: Loss of a step below which a run ends; None to train for all steps.
        smallest: Smallest height and width in pixels that the networks can read.
        multiple: Number that height and width must be multiples of.
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
        """Raises ZooError if the networks cannot read images of this shape."""
        _, height, width = shape
        if min(height, width) < self.smallest or height % self.multiple or width % self.multiple:
            rule = f"at least {self.smallest}" + (f" and multiples of {self.multiple}" if self.multiple > 1 else "")
            fitting = -(-max(height, width, self.smallest) // self.multiple) * self.multiple
            raise ZooError(
                f"images are {height} x {width} pixels; family {self.name} needs sides of {rule}: "
                f"set image_size, for example to {fitting}"
            )

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draws the hyper-parameters of one network."""
        drawn = sample(self.space, rng)
        return drawn | self.elaborate(drawn, rng) if self.elaborate else drawn

    @in_float32()
    def build(
        self, hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int, generator: torch.Generator
    ) -> nn.Module:
        """Builds one untrained network, in float32 whatever torch's default dtype is.

        Args:
            hyperparameters: Hyper-parameters drawn by `sample`.
            shape: Channels, height and width of the images.
            classes: Number of outputs.
            generator: Generator of the initial weights.
        """
        self.check(shape)
        module = self.module(hyperparameters, shape, classes)
        if self.initialise:
            self.initialise(module, generator)
        else:
            initialise(module, hyperparameters["init"], hyperparameters["init_std"], generator)
        return module
