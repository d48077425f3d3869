"""What the chain of a network does not depend on, and what it does."""

import numpy as np
import pytest
import torch
from provenance.descendants import cnn, copy_of, noisy, perceptron, vision_transformer
from torch import nn

from sne import read_network, symmetry
from sne.provenance.assumed import assumed_symmetry
from sne.provenance.chain import CHAIN
from sne.provenance.fingerprint import fingerprint


def chain(state):
    return fingerprint(read_network(state)).chain


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(6, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def odd_perceptron():
    return nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, 3))


@pytest.mark.parametrize(
    ("make", "inputs", "kinds"),
    [
        (lambda: perceptron(0), torch.zeros(2, 16), ("permutation", "scaling")),
        (odd_perceptron, torch.zeros(2, 12), ("permutation", "sign")),
        (lambda: cnn(0), torch.zeros(1, 3, 9, 9), ("permutation", "scaling", "sign")),
        (Recurrent, torch.zeros(2, 5, 6), ("permutation", "sign")),
    ],
    ids=["rectified", "odd", "batch norm", "recurrent"],
)
def test_order_scales_and_signs_of_units_do_not_matter(make, inputs, kinds):
    torch.manual_seed(0)
    module = make()
    copied = copy_of(module, inputs, kinds=kinds)
    assert any(not torch.equal(values, module.state_dict()[name]) for name, values in copied.items())
    assert chain(copied) == pytest.approx(chain(module.state_dict()), abs=1e-3)


def test_heads_channels_and_norms_of_transformers_do_not_matter():
    state = vision_transformer(0)
    moves = assumed_symmetry(read_network(state))
    copied = symmetry.apply(symmetry.sample(moves, seed=1, kinds=("permutation", "scaling", "sign")), state)
    assert chain(copied) == pytest.approx(chain(state), abs=1e-3)


def test_descendants_are_nearer_than_strangers():
    module = perceptron(0)
    mine = chain(module.state_dict())
    descendant = chain(noisy(copy_of(module, torch.zeros(2, 16)), 0.5))
    strangers = [chain(perceptron(seed).state_dict()) for seed in range(1, 20)]
    assert np.linalg.norm(descendant - mine) < 0.8 * min(np.linalg.norm(other - mine) for other in strangers)


def test_odd_values_give_numbers():
    for state in (
        {"0.weight": torch.zeros(4, 5), "1.weight": torch.zeros(2, 4)},
        {"0.weight": torch.ones(3, 3) * 1e30},
    ):
        found = chain(state)
        assert found.shape == (CHAIN,) and np.isfinite(found).all()
