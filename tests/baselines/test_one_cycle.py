"""Every run has a learning rate for every step, however short it is."""

import pytest
import torch

from sne.baselines.one_cycle import one_cycle


@pytest.mark.parametrize("steps", range(1, 40))
def test_rises_and_falls(steps):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, rates = one_cycle(optimiser, 0.5, steps), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert all(0 < rate <= 0.5 for rate in rates)
    assert steps < 12 or (max(rates) > 0.45 and rates[-1] < 0.05)
