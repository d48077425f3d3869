"""What every task of a zoo promises."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sne.zoo.store.columns import Value


@runtime_checkable
class Task(Protocol):
    """What one network learns: its own examples, its loss, and what is measured of it."""

    @property
    def dataset(self) -> str:
        """What the column `dataset` says."""
        ...

    @property
    def labels(self) -> Mapping[str, Value]:
        """Properties that are known before training."""
        ...

    @property
    def num_examples(self) -> int:
        """Training examples this network has."""
        ...

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch ..."], Tensor]:
        """Inputs and targets of some of its training examples, numbered from 0."""
        ...

    def loss(self, outputs: Float[Tensor, "batch outputs"], targets: Tensor) -> Float[Tensor, ""]:
        """Mean loss of a batch."""
        ...

    def measure(self, module: nn.Module) -> dict[str, Value]:
        """Properties of the network as it is now; leaves it in evaluation mode."""
        ...

    def to(self, device: torch.device | str) -> "Task":
        """The same task with its examples on another device."""
        ...
