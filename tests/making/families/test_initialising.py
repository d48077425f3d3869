import math

import pytest
import torch
from torch import nn

from sne.making.families.initialising import INITIALISERS, initialise
from sne.zoo import ZooError

FAN_IN, FAN_OUT = 300, 200
STD = {
    "glorot_normal": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "he_normal": math.sqrt(2 / FAN_IN),
    "he_uniform": math.sqrt(2 / FAN_IN),
    "orthogonal": math.sqrt(1 / FAN_IN),
    "normal": 0.07,
    "uniform": 0.07,
    "truncated_normal": 0.07 * 0.8796,  # of a normal cut at two standard deviations
}


@pytest.mark.parametrize("kind", INITIALISERS)
def test_spread(kind):
    module = nn.Sequential(nn.Linear(FAN_IN, FAN_OUT), nn.LayerNorm(FAN_OUT))
    initialise(module, kind, 0.07, torch.Generator().manual_seed(0))
    linear, norm = module
    assert float(linear.weight.detach().std()) == pytest.approx(STD[kind], rel=0.02)
    assert abs(float(linear.weight.detach().mean())) < 0.01 * 0.07 + 1e-3
    assert not linear.bias.any() and not norm.bias.any() and bool((norm.weight == 1).all())


def test_unknown():
    with pytest.raises(ZooError, match="'zeros'"):
        initialise(nn.Linear(2, 2), "zeros", 0.1, torch.Generator())
