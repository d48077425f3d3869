"""The learning rate of baselines that train themselves."""

import torch
from torch.optim.lr_scheduler import OneCycleLR

WARMUP = 0.1


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
