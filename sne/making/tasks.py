"""The tasks that networks of a zoo learn, and how networks are measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, mse_loss

from sne.making.images import ImageSet
from sne.zoo.store.columns import Value


@runtime_checkable
class Task(Protocol):
    """The task of one network: its training examples, its loss, and its measured properties."""

    @property
    def dataset(self) -> str:
        """Value of the column `dataset`."""
        ...

    @property
    def labels(self) -> Mapping[str, Value]:
        """Properties that are known before training."""
        ...

    @property
    def num_examples(self) -> int:
        """Number of training examples of the network."""
        ...

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch ..."], Tensor]:
        """Returns inputs and targets of some training examples, numbered from 0."""
        ...

    def loss(self, outputs: Float[Tensor, "batch outputs"], targets: Tensor) -> Float[Tensor, ""]:
        """Returns the mean loss of a batch."""
        ...

    def measure(self, module: nn.Module) -> dict[str, Value]:
        """Returns the properties of the network, which is left in evaluation mode."""
        ...

    def to(self, device: torch.device | str) -> "Task":
        """Returns the same task with its examples on another device."""
        ...


_EVAL_BATCH = 500


@dataclass(frozen=True)
class _ImageTask:
    """What tasks on images share.

    Args:
        images: Image set of the zoo.
        rows: Rows of the training images that this network sees, in its own order.
        limit: Largest number of training images, and of test images, that are measured on.
    """

    images: ImageSet
    rows: Int[Tensor, " own"]
    limit: int

    @property
    def dataset(self) -> str:
        """Name of the image set."""
        return self.images.name

    @property
    def labels(self) -> Mapping[str, Value]:
        """No properties."""
        return {}

    @property
    def num_examples(self) -> int:
        """Number of training images that the network sees."""
        return len(self.rows)


@dataclass(frozen=True)
class Classification(_ImageTask):
    """Classification of images, by cross-entropy."""

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]:
        """Returns scaled images and their classes."""
        own = self.rows[rows]
        return self.images.scale(self.images.x_train[own]), self.images.y_train[own]

    def loss(self, outputs: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Returns the mean cross-entropy in nats."""
        return cross_entropy(outputs, targets)

    def measure(self, module: nn.Module) -> dict[str, Value]:
        """Returns accuracy and loss on the first training images and the first test images.

        Args:
            module: The network; it is left in evaluation mode.

        Returns:
            Properties by name; None for a loss that is not finite.
        """
        own = self.rows[: self.limit]
        train_accuracy, train_loss = self._evaluate(module, self.images.x_train[own], self.images.y_train[own])
        test_accuracy, test_loss = self._evaluate(
            module, self.images.x_test[: self.limit], self.images.y_test[: self.limit]
        )
        return classification_properties(train_accuracy, train_loss, test_accuracy, test_loss)

    def to(self, device: torch.device | str) -> "Classification":
        """Returns the same task with its images on another device."""
        return replace(self, images=self.images.to(device), rows=self.rows.to(device))

    @torch.inference_mode()
    def _evaluate(self, module: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
        module.eval()
        correct, loss = 0, 0.0
        for images, classes in zip(x.split(_EVAL_BATCH), y.split(_EVAL_BATCH), strict=True):
            logits = module(self.images.scale(images))
            correct += int((logits.argmax(1) == classes).sum())
            loss += float(cross_entropy(logits, classes, reduction="sum"))
        return correct / len(x), loss / len(x)


def classification_properties(
    train_accuracy: float, train_loss: float, test_accuracy: float, test_loss: float
) -> dict[str, Value]:
    """Returns the properties of a classifier by their names in the zoo."""
    return {
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
        "train_loss": train_loss if np.isfinite(train_loss) else None,
        "test_loss": test_loss if np.isfinite(test_loss) else None,
        "generalization_gap": train_accuracy - test_accuracy,
    }


SIDE = 7
"""Height and width to which images are averaged before they are read as sequences of grey levels."""


@dataclass(frozen=True)
class NextLevel(_ImageTask):
    """Prediction of the next grey level of an image from those before it, row by row, by cross-entropy.

    Args:
        images: Image set of the zoo.
        rows: Rows of the training images that this network sees, in its own order.
        limit: Largest number of training images, and of test images, that are measured on.
        levels: Number of grey levels.
    """

    levels: int

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Int[Tensor, "batch tokens"], Int[Tensor, "batch tokens"]]:
        """Returns the grey levels of some images but the last one, and of all but the first one."""
        levels = self._levels(self.images.x_train[self.rows[rows]])
        return levels[:, :-1], levels[:, 1:]

    def loss(
        self, outputs: Float[Tensor, "batch levels tokens"], targets: Int[Tensor, "batch tokens"]
    ) -> Float[Tensor, ""]:
        """Returns the mean cross-entropy in nats."""
        return cross_entropy(outputs, targets)

    @torch.inference_mode()
    def measure(self, module: nn.Module) -> dict[str, Value]:
        """Returns the share of levels predicted right and the loss, on the first training and test images.

        Args:
            module: The network; it is left in evaluation mode.

        Returns:
            Properties by name; None for a loss that is not finite.
        """
        module.eval()
        found = []
        for images in (self.images.x_train[self.rows[: self.limit]], self.images.x_test[: self.limit]):
            levels = self._levels(images)
            logits = module(levels[:, :-1])
            accuracy = float((logits.argmax(1) == levels[:, 1:]).float().mean())
            found += [accuracy, float(cross_entropy(logits, levels[:, 1:]))]
        return classification_properties(*found)

    def to(self, device: torch.device | str) -> "NextLevel":
        """Returns the same task with its images on another device."""
        return replace(self, images=self.images.to(device), rows=self.rows.to(device))

    def _levels(self, images: Tensor) -> Int[Tensor, "batch tokens"]:
        means = adaptive_avg_pool2d(images.float().mean(1, keepdim=True), SIDE).flatten(1)
        return (means * (self.levels / 256)).long().clamp(0, self.levels - 1)


@dataclass(frozen=True)
class SignalFit:
    """Regression from coordinates to the values of one signal, by mean squared error.

    Implicit neural representations learn this task.

    Args:
        dataset: Value of the column `dataset`.
        inputs: Coordinates to train on.
        targets: Values of the signal at these coordinates.
        between: Coordinates that are not trained on.
        between_targets: Values of the signal at these coordinates.
        peak: Range of the values of the signal, for the signal-to-noise ratio.
        labels: Known properties of the signal, which are to be predicted from weights.
    """

    dataset: str
    inputs: Float[Tensor, "points inputs"]
    targets: Float[Tensor, "points outputs"]
    between: Float[Tensor, "others inputs"]
    between_targets: Float[Tensor, "others outputs"]
    peak: float
    labels: Mapping[str, Value] = field(default_factory=dict)

    @property
    def num_examples(self) -> int:
        """Number of coordinates to train on."""
        return len(self.inputs)

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch inputs"], Float[Tensor, "batch outputs"]]:
        """Returns coordinates and values; all of them without a copy."""
        if len(rows) == len(self.inputs):
            return self.inputs, self.targets
        return self.inputs[rows], self.targets[rows]

    def loss(
        self, outputs: Float[Tensor, "batch outputs"], targets: Float[Tensor, "batch outputs"]
    ) -> Float[Tensor, ""]:
        """Returns the mean squared error."""
        return mse_loss(outputs, targets)

    @torch.inference_mode()
    def measure(self, module: nn.Module) -> dict[str, Value]:
        """Returns the errors on and between the training coordinates, and the peak signal-to-noise ratio in decibels.

        Args:
            module: The network; it is left in evaluation mode.

        Returns:
            Properties by name; None for values that are not finite.
        """
        module.eval()
        train = float(mse_loss(module(self.inputs), self.targets))
        test = float(mse_loss(module(self.between), self.between_targets))
        return signal_properties(train, test, self.peak)

    def to(self, device: torch.device | str) -> "SignalFit":
        """Returns the same task with its signal on another device."""
        names = ("inputs", "targets", "between", "between_targets")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def signal_properties(train: float, test: float, peak: float) -> dict[str, Value]:
    """Returns the properties of a fit by their names in the zoo; None for values that are not finite."""
    ratio = 20 * math.log10(peak) - 10 * math.log10(train) if 0 < train < math.inf else math.nan
    found = {"train_loss": train, "test_loss": test, "psnr": ratio}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
