"""The canonical presets cannot tell a network from its scaled and flipped copies; the plain ones can."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sne import read_network
from sne.encoders import PRESETS
from sne.symmetry import apply, sample, trace

MODULES = {
    "relu": nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3)),
    "tanh": nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Conv2d(6, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(80, 3)),
}
INPUTS = {"relu": (torch.zeros(2, 6),), "tanh": (torch.zeros(2, 1, 8, 8),)}


class KnownState:
    """A state dict that keeps its symmetry, as a zoo does."""

    def __init__(self, source, symmetry):
        self.name, self.infos, self.load, self.symmetry = source.name, source.infos, source.load, symmetry


def known(state, symmetry):
    network = read_network(state)
    return replace(network, source=KnownState(network.source, symmetry))


def moved(preset, module):
    """How far copies lie from the network, and how far another network does."""
    torch.manual_seed(0)
    symmetry, state = trace(MODULES[module], INPUTS[module]), MODULES[module].state_dict()
    copies = [apply(sample(symmetry, seed, ("scaling", "sign")), state) for seed in range(3)]
    other = {name: tensor + 0.1 * torch.randn(tensor.shape) for name, tensor in state.items()}
    networks = [known(one, symmetry) for one in (state, other, *copies)]
    encoder = PRESETS[preset]().eval()
    prepared = encoder.prepare(networks)
    encoder.fit_scale(prepared)
    with torch.no_grad():
        first, second, *rest = encoder(encoder.collate(prepared))
    return max(float((one - first).norm()) for one in rest), float((second - first).norm())


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("preset", ["paper", "default"])
def test_copies_stand_where_the_network_stands(preset, module):
    copies, other = moved(f"{preset}-canonical", module)
    assert copies < 2e-3 * other
    copies, other = moved(preset, module)
    assert copies > 0.05 * other
