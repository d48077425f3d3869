import pytest
import torch

from sne.making.optimisers import OPTIMISERS, StackedOptimiser, make_optimiser


@pytest.mark.parametrize("name", OPTIMISERS)
def test_step_for_step_as_torch_optim(name):
    """Networks with rates and decays of their own, one of which stands still from the sixth step on."""
    generator = torch.Generator().manual_seed(0)
    networks, size, steps = 4, 50, 25
    rates = torch.tensor([[1e-3], [2e-2], [0.1], [5e-3]], dtype=torch.float64)
    decays = torch.tensor([[0.0], [1e-2], [1e-4], [0.3]], dtype=torch.float64)
    flat = torch.randn(networks, size, dtype=torch.float64, generator=generator)
    gradients = torch.randn(steps, networks, size, dtype=torch.float64, generator=generator)
    modules = []
    for row in range(networks):
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(flat[row].clone())
        modules.append(module)
    alone = [
        make_optimiser(module, {"optimizer": name, "learning_rate": float(rate), "weight_decay": float(decay)})
        for module, rate, decay in zip(modules, rates, decays, strict=True)
    ]
    stack = StackedOptimiser(name, flat, rates, decays)
    for step in range(steps):
        moving = torch.ones(networks, 1)
        moving[2] = step < 5
        given = gradients[step].clone()
        if step >= 5:
            given[2] = torch.nan
        stack.step(given, moving)
        for row in range(networks):
            if row != 2 or step < 5:
                modules[row].weight.grad = gradients[step, row].clone()
                alone[row].step()
            torch.testing.assert_close(flat[row], modules[row].weight.detach(), rtol=1e-12, atol=1e-12)
