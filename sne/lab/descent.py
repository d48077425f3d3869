"""The training loop of baselines that train themselves: HyperRep and function probing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

WARMUP = 0.1
"""Share of the steps over which the learning rate rises."""


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's random numbers inside a `with` block and restores their state afterwards.

    Args:
        seed: Random seed.
        device: Device of the computation; on a GPU, its generator is seeded and restored as well.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def descend(
    modules: Sequence[nn.Module],
    loss: Callable[[NDArray[np.int64]], Float[Tensor, ""]],
    num_examples: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator | None = None,
) -> None:
    """Minimises a loss with AdamW, in shuffled batches, with gradients clipped at norm 1.

    The modules are in training mode during the descent and in evaluation mode afterwards.

    Args:
        modules: Modules whose parameters are trained.
        loss: Function from the indices of a batch's examples to the loss of the batch.
        num_examples: Number of examples.
        epochs: Passes over the examples.
        batch_size: Examples per step.
        learning_rate: Peak learning rate; see `one_cycle`.
        generator: Random generator that shuffles the examples; torch's global generator if None.
    """
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for module in modules:
        module.train()
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-2)
    schedule = one_cycle(optimiser, learning_rate, epochs * -(-num_examples // batch_size))
    for _ in range(epochs):
        for batch in torch.randperm(num_examples, generator=generator).split(batch_size):
            optimiser.zero_grad()
            loss(batch.numpy()).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
    for module in modules:
        module.eval()


def one_cycle(optimiser: torch.optim.Optimizer, peak: float, steps: int) -> OneCycleLR:
    """Returns a schedule that rises over the first tenth of the steps and then falls along a cosine to almost zero.

    Args:
        optimiser: Optimiser whose learning rate is set.
        peak: Peak learning rate.
        steps: Number of optimiser steps.
    """
    # torch divides by WARMUP * total - 1, which is zero for a total of ten
    total = steps + 1 if steps + 1 != round(1 / WARMUP) else steps + 2
    return OneCycleLR(optimiser, peak, total_steps=total, pct_start=WARMUP, cycle_momentum=False)
