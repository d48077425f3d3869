"""Tests of dropout and initialisers."""

import math

import pytest
import torch
from torch import nn

from sne.making.families.blocks import INITIALISERS, ByteDropout, initialise
from sne.zoo import ZooError


def test_rate_mean_and_independence():
    torch.manual_seed(0)
    x = torch.ones(400, 501)
    for probability in (0.1, 0.5, 0.7):
        y = ByteDropout(probability)(x)
        exact = round(probability * 256) / 256
        assert abs(float((y == 0).float().mean()) - exact) < 0.005
        assert abs(float(y.mean()) - 1) < 0.01
        assert set(y.unique().tolist()) == {0.0, y.max().item()}
        left, right = (y[:, :-1] == 0).float(), (y[:, 1:] == 0).float()
        assert abs(float((left * right).mean()) - exact**2) < 0.005


def test_off():
    x = torch.randn(3, 5)
    assert torch.equal(ByteDropout(0.5).eval()(x), x) and torch.equal(ByteDropout(0.0)(x), x)


def test_gradient_goes_through_the_kept():
    x = torch.randn(40, requires_grad=True)
    y = ByteDropout(0.5)(x)
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad == 0, y == 0)


FAN_IN, FAN_OUT = 300, 200
STD = {
    "glorot_normal": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "he_normal": math.sqrt(2 / FAN_IN),
    "he_uniform": math.sqrt(2 / FAN_IN),
    "orthogonal": math.sqrt(1 / FAN_IN),
    "normal": 0.07,
    "uniform": 0.07,
    "truncated_normal": 0.07 * 0.8796,  # of a normal cut at two standard deviations
    "torch": math.sqrt(1 / (3 * FAN_IN)),
}


@pytest.mark.parametrize("kind", INITIALISERS)
def test_spread(kind):
    module = nn.Sequential(nn.Linear(FAN_IN, FAN_OUT), nn.LayerNorm(FAN_OUT))
    initialise(module, kind, 0.07, torch.Generator().manual_seed(0))
    linear, norm = module
    assert float(linear.weight.detach().std()) == pytest.approx(STD[kind], rel=0.02)
    assert abs(float(linear.weight.detach().mean())) < 0.01 * 0.07 + 1e-3
    assert bool(linear.bias.any()) is (kind == "torch")
    assert not norm.bias.any() and bool((norm.weight == 1).all())


def test_layers_as_torch_builds_them():
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.GRU(4, 5), nn.Linear(5, 2))

    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(3)))
    torch.manual_seed(seed)
    expected = build().state_dict()
    torch.manual_seed(0)
    module, before = build(), torch.get_rng_state()
    initialise(module, "torch", 0.07, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in module.state_dict().items())


def test_unknown():
    with pytest.raises(ZooError, match="'zeros'"):
        initialise(nn.Linear(2, 2), "zeros", 0.1, torch.Generator())
