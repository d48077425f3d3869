"""Images to classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sne.making.images import ImageSet
from sne.zoo.store.columns import Value

_EVAL_BATCH = 500


@dataclass(frozen=True)
class Classification:
    """Tells the classes of images apart, by cross-entropy.

    Args:
        images: the image set of the zoo.
        rows: the training images that are this network's own, in its own order.
        limit: the most images to measure on, of its own and of the test images.
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
        """None."""
        return {}

    @property
    def num_examples(self) -> int:
        """Number of its own training images."""
        return len(self.rows)

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]:
        """Images as the networks see them, and their classes."""
        own = self.rows[rows]
        return self.images.scale(self.images.x_train[own]), self.images.y_train[own]

    def loss(self, outputs: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Mean cross-entropy, in nats."""
        return cross_entropy(outputs, targets)

    def measure(self, module: nn.Module) -> dict[str, Value]:
        """Accuracy and loss on the first of its own training images and of the test images.

        Args:
            module: the network; left in evaluation mode.

        Returns:
            Properties by name; a loss that is not finite is None.
        """
        own = self.rows[: self.limit]
        train_accuracy, train_loss = self._evaluate(module, self.images.x_train[own], self.images.y_train[own])
        test_accuracy, test_loss = self._evaluate(
            module, self.images.x_test[: self.limit], self.images.y_test[: self.limit]
        )
        return classification_properties(train_accuracy, train_loss, test_accuracy, test_loss)

    def to(self, device: torch.device | str) -> "Classification":
        """The same task with its images on another device."""
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
    """The properties of a classifier, by their names in the zoo."""
    return {
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
        "train_loss": train_loss if np.isfinite(train_loss) else None,
        "test_loss": test_loss if np.isfinite(test_loss) else None,
        "generalization_gap": train_accuracy - test_accuracy,
    }
