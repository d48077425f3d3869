"""The descent reaches a known minimum, and the schedule has a learning rate for every step of runs of any length."""

import pytest
import torch
from torch import nn

from sne.lab.descent import descend, one_cycle


def test_finds_the_mean_of_the_examples():
    examples = torch.tensor([[1.0, 2.0], [3.0, 0.0], [2.0, 4.0]])
    guess = nn.Parameter(torch.zeros(2))
    seen = []

    def loss(places):
        seen.append(sorted(places.tolist()))
        return (guess - examples[places]).square().sum(1).mean()

    generator = torch.Generator().manual_seed(0)
    descend([nn.ParameterList([guess])], loss, 3, epochs=300, batch_size=3, learning_rate=0.05, generator=generator)
    torch.testing.assert_close(guess.detach(), examples.mean(0), rtol=0, atol=0.02)
    assert seen == [[0, 1, 2]] * 300


@pytest.mark.parametrize("steps", range(1, 40))
def test_rate_rises_and_falls(steps):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, rates = one_cycle(optimiser, 0.5, steps), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert all(0 < rate <= 0.5 for rate in rates)
    assert steps < 12 or (max(rates) > 0.45 and rates[-1] < 0.05)
