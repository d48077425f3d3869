"""What a family of architectures is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sne.zoo.errors import ZooError
from sne.zoo.families.initialising import initialise
from sne.zoo.families.space import Space, sample

ImageShape = tuple[int, int, int]  # channels, height, width

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


@dataclass(frozen=True)
class Family:
    """Networks of one kind of architecture, and the hyper-parameters they are trained with.

    Args:
        name: what the column `family` says.
        space: what hyper-parameters are drawn from. Every space has `optimizer`, `learning_rate`,
            `weight_decay`, `dropout`, `init`, `init_std`, `train_fraction` and `batch_size`.
        module: makes the untrained module from hyper-parameters, image shape and number of classes.
        smallest: the smallest height and width it takes.
        multiple: height and width must be a multiple of this.
    """

    name: str
    space: Space
    module: Callable[[Mapping[str, Any], ImageShape, int], nn.Module]
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
        return sample(self.space, rng)

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
        initialise(module, hyperparameters["init"], hyperparameters["init_std"], generator)
        return module
