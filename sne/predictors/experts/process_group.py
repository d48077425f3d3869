"""Training in several processes: who takes part, what each of them computes, and how results are added up."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sne.errors import Remedy, TrainingError

Item = TypeVar("Item")
Value = TypeVar("Value")

NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that torchrun sets next to WORLD_SIZE."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one predictor together; by default this process alone.

    Every process has all networks in memory and the same parameters. Each computes the gradient of its share of a
    batch, and all of them make the same step with the sum.

    Args:
        rank: Number of this process, from 0. The first one writes and prints.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Returns every `count`-th item from number `rank` on; each item belongs to exactly one process."""
        return items[self.rank :: self.count]

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replaces a tensor by its sum over all processes, in place, and returns it."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces the gradients of parameters by their sums over all processes.

        A missing gradient counts as 0, and stays missing where no process has one: an optimizer then leaves the
        parameter alone, as it does in a single process.
        """
        if self.count == 1:
            return
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        has_one = gradients[0].new_tensor([parameter.grad is not None for parameter in parameters])
        joined = self.add_up(torch.cat([*(gradient.flatten() for gradient in gradients), has_one]))
        *parts, counts = joined.split([*(gradient.numel() for gradient in gradients), len(gradients)])
        for parameter, part, count in zip(parameters, parts, counts.tolist(), strict=True):
            parameter.grad = part.view_as(parameter) if count else None

    def from_first(self, make: Callable[[], Value]) -> Value:
        """Calls a function in the first process, and returns its result in all of them."""
        if self.count == 1:
            return make()
        found: list[Any] = [make() if self.is_first else None]
        torch.distributed.broadcast_object_list(found)
        return found[0]

    def check_equal(self, value: Any) -> None:
        """Checks that all processes were started alike.

        Args:
            value: Plain values that identify the training run.

        Raises:
            TrainingError: A process has another value.
        """
        if self.count == 1:
            return
        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        others = [rank for rank, other in enumerate(values) if other != values[0]]
        if others:
            names = sorted(name for name in value if any(other.get(name) != values[0].get(name) for other in values))
            raise TrainingError(
                f"process {others[0]} of {self.count} is started with another {' and '.join(names)} than process 0; "
                "all need the same arguments and the same zoo"
            )


def is_first_process() -> bool:
    """Whether this process was started alone, or as the first of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def joined_processes(device: torch.device) -> Iterator[tuple[ProcessGroup, torch.device]]:
    """Joins the processes that torchrun has started, while the block of code runs.

    Args:
        device: The CPU, or any CUDA device.

    Yields:
        The processes, and the device of this one. Each process of a machine has a CUDA device of its own.

    Raises:
        TrainingError: The processes were not started by torchrun, outnumber the CUDA devices of the machine, or cannot
            reach each other.
    """
    if torch.distributed.is_initialized():
        yield ProcessGroup(torch.distributed.get_rank(), torch.distributed.get_world_size()), device
        return
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        yield ProcessGroup(), device
        return
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        raise TrainingError(
            f"WORLD_SIZE is {count}, but {' and '.join(missing)} are not set: start the processes with torchrun"
        )
    rank, local = _number("RANK", 0), _number("LOCAL_RANK", 0)
    if rank >= count:
        raise TrainingError(f"RANK is {rank}, expected less than WORLD_SIZE, {count}")
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"process {local + 1} of this machine has no CUDA device, there are {torch.cuda.device_count()}: "
                f"give torchrun --nproc-per-node {torch.cuda.device_count()}",
                Remedy("device", "cpu", "trains without any"),
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        torch.distributed.init_process_group(backend, rank=rank, world_size=count)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise TrainingError(f"process {rank} of {count} cannot join the others at {where}: {error}") from None
    try:
        yield ProcessGroup(rank, count), device
    finally:
        torch.distributed.destroy_process_group()


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    least = 1 if name == "WORLD_SIZE" else 0
    if not text.isdecimal() or int(text) < least:
        raise TrainingError(f"environment variable {name} is {text!r}, expected a number from {least}")
    return int(text)
