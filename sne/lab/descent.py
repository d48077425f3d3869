"""Gradient descent of baselines that are no encoders with heads, and so train themselves."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

WARMUP = 0.1


def descend(
    parameters: Sequence[nn.Parameter],
    loss: Callable[[NDArray[np.int64]], Float[Tensor, ""]],
    count: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator | None = None,
) -> None:
    """Minimises a loss by AdamW, gradients clipped at norm 1, batches in random order.

    Args:
        parameters: what is learned.
        loss: of one batch, given the places of its examples.
        count: number of examples.
        epochs: passes over them.
        batch_size: examples a step.
        learning_rate: the highest; it rises over the first tenth of the steps and falls like a cosine.
        generator: of the order; None: torch's own.
    """
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-2)
    schedule = one_cycle(optimiser, learning_rate, epochs * -(-count // batch_size))
    for _ in range(epochs):
        for places in torch.randperm(count, generator=generator).split(batch_size):
            optimiser.zero_grad()
            loss(places.numpy()).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()


def one_cycle(optimiser: torch.optim.Optimizer, peak: float, steps: int) -> OneCycleLR:
    """A rise over a tenth of the steps, then a fall to almost nothing.

    Args:
        optimiser: whose learning rate changes.
        peak: the highest rate.
        steps: optimiser steps of the run.
    """
    # torch divides by WARMUP * total - 1, which is zero for a total of ten
    total = steps + 1 if steps + 1 != round(1 / WARMUP) else steps + 2
    return OneCycleLR(optimiser, peak, total_steps=total, pct_start=WARMUP, cycle_momentum=False)
