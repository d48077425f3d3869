"""The tasks of a stack of networks: batches for all, and measuring all."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from sne.errors import ZooError
from sne.making.hashing import batch_rows
from sne.making.tasks import Classification, SignalFit, Task, classification_properties, signal_properties
from sne.zoo.store.columns import Value

_IMAGES_AT_ONCE = 65_536
_STEPS_AHEAD = 16

Forward = Callable[[Tensor, int | None], Tensor]
"""Maps inputs to outputs [networks, batch, ...]. The second argument is the dimension of the networks in the inputs, or
None if all networks read the same inputs."""


@runtime_checkable
class StackedTask(Protocol):
    """The tasks of the networks of a stack."""

    def batch(self, keys: Int32[Tensor, " networks"], batch_size: int, step: int) -> tuple[Tensor, Tensor]:
        """Returns inputs and targets of a step for all networks: [networks, batch, ...]."""
        ...

    def measure(self, forward: Forward) -> list[dict[str, Value]]:
        """Returns the properties of each network."""
        ...


def stack_tasks(tasks: Sequence[Task], device: torch.device | str) -> StackedTask:
    """Joins the tasks of the networks of a stack, which are all of one kind.

    Raises:
        ZooError: Networks with this task are trained one by one only.
    """
    if isinstance(tasks[0], Classification):
        return StackedClassification([task for task in tasks if isinstance(task, Classification)], device)
    if not isinstance(tasks[0], SignalFit):
        raise ZooError(f"the task {type(tasks[0]).__name__} is trained on the CPU only; set device to cpu")
    return StackedSignalFit([task for task in tasks if isinstance(task, SignalFit)], device)


class StackedClassification:
    """Classification of one image set by networks with different training images.

    Args:
        tasks: Tasks of the networks.
        device: Device of the images.
    """

    def __init__(self, tasks: Sequence[Classification], device: torch.device | str) -> None:
        self._images = tasks[0].images.to(device)
        self._limit = tasks[0].limit
        self._counts = torch.tensor([len(task.rows) for task in tasks], device=device)
        self._rows = torch.zeros(len(tasks), int(self._counts.max()), dtype=torch.int32)
        for row, task in zip(self._rows, tasks, strict=True):
            row[: len(task.rows)] = task.rows
        self._rows = self._rows.to(device)
        self._places: Int64[Tensor, "networks steps batch"] | None = None

    def batch(self, keys: Int32[Tensor, " networks"], batch_size: int, step: int) -> tuple[Tensor, Tensor]:
        """Returns scaled images and their classes."""
        ahead = (step - 1) % _STEPS_AHEAD
        if ahead == 0 or self._places is None:
            self._places = batch_rows(keys, self._counts, batch_size, step - ahead, _STEPS_AHEAD)
        own = self._image_rows(self._places[:, ahead])
        return self._images.scale(self._images.x_train[own]), self._images.y_train[own]

    def measure(self, forward: Forward) -> list[dict[str, Value]]:
        """Returns the properties of each network, as `Classification.measure`."""
        train, test = self._evaluate_train(forward), self._evaluate_test(forward)
        return [
            classification_properties(*train_scores, *test_scores)
            for train_scores, test_scores in zip(train.tolist(), test.tolist(), strict=True)
        ]

    def _image_rows(self, places: Int64[Tensor, "networks batch"]) -> Int64[Tensor, "networks batch"]:
        return self._rows.gather(1, places).long()

    def _evaluate_train(self, forward: Forward) -> Float[Tensor, "networks 2"]:
        counts = self._counts.clamp_max(self._limit)
        last, chunk = int(counts.max()), self._chunk
        sums = torch.zeros(len(counts), 2, dtype=torch.float64, device=counts.device)
        for start in range(0, last, chunk):
            places = torch.arange(start, min(start + chunk, last), device=counts.device).expand(len(counts), -1)
            own = self._image_rows(places)
            scores = _scores(forward(self._images.scale(self._images.x_train[own]), 0), self._images.y_train[own])
            sums += torch.where((places < counts[:, None])[..., None], scores, 0.0).sum(1)
        return sums / counts[:, None]

    def _evaluate_test(self, forward: Forward) -> Float[Tensor, "networks 2"]:
        x, y = self._images.x_test[: self._limit], self._images.y_test[: self._limit]
        sums = torch.zeros(len(self._counts), 2, dtype=torch.float64, device=x.device)
        for images, classes in zip(x.split(self._chunk), y.split(self._chunk), strict=True):
            logits = forward(self._images.scale(images), None)
            sums += _scores(logits, classes.expand(len(logits), -1)).sum(1)
        return sums / len(x)

    @property
    def _chunk(self) -> int:
        return max(_IMAGES_AT_ONCE // len(self._counts), 1)


def _scores(
    logits: Float[Tensor, "networks batch classes"], classes: Int64[Tensor, "networks batch"]
) -> Float[Tensor, "networks batch 2"]:
    """Returns whether each prediction is right, and its cross-entropy, in float64."""
    right = (logits.argmax(2) == classes).double()
    losses = cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").double()
    return torch.stack([right, losses.view_as(right)], dim=2)


class StackedSignalFit:
    """Regression of one signal per network, on equally many points.

    Args:
        tasks: Tasks of the networks.
        device: Device of the signals.
    """

    def __init__(self, tasks: Sequence[SignalFit], device: torch.device | str) -> None:
        self._inputs, self._targets, self._between, self._between_targets = (
            torch.stack([getattr(task, name) for task in tasks]).to(device)
            for name in ("inputs", "targets", "between", "between_targets")
        )
        self._peaks = [task.peak for task in tasks]

    def batch(self, keys: Int32[Tensor, " networks"], batch_size: int, step: int) -> tuple[Tensor, Tensor]:
        """Returns coordinates and values; all of them without a copy."""
        networks, points = self._inputs.shape[:2]
        if batch_size == points:
            return self._inputs, self._targets
        counts = torch.full((networks,), points, device=self._inputs.device)
        rows = batch_rows(keys, counts, batch_size, step)[:, 0]
        which = torch.arange(networks, device=rows.device)[:, None]
        return self._inputs[which, rows], self._targets[which, rows]

    def measure(self, forward: Forward) -> list[dict[str, Value]]:
        """Returns the properties of each network, as `SignalFit.measure`."""
        errors = [
            (forward(inputs, 0) - targets).square().flatten(1).mean(1).tolist()
            for inputs, targets in ((self._inputs, self._targets), (self._between, self._between_targets))
        ]
        return [signal_properties(*figures) for figures in zip(*errors, self._peaks, strict=True)]
