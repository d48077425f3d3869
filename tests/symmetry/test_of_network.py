"""The symmetry of a network comes from its source, or from its names."""

import torch
from torch import nn

from sne import read_network
from sne.symmetry import Group, Span, Symmetry, symmetry_by_name, symmetry_of
from sne.zoo import Zoo, ZooWriter

STATE = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).state_dict()
SPANS = (Span("0.weight", 0, power=1), Span("0.bias", 0, power=1), Span("2.weight", 1, power=-1))
KEPT = Symmetry(
    (Group("hidden", 4, SPANS, ("permutation", "scaling")),), (), {n: tuple(t.shape) for n, t in STATE.items()}
)


def write(path, symmetry):
    with ZooWriter(path) as writer:
        for name, known in (("known", symmetry), ("unknown", None)):
            writer.add(
                id=name, run=name, family="mlp", dataset="toy", step=0,
                state=STATE, properties={}, hyperparameters={}, symmetry=known,
            )  # fmt: skip
    return Zoo.open(path)


def test_a_zoo_that_keeps_it(tmp_path):
    zoo = write(tmp_path / "zoo", KEPT)
    assert symmetry_of(zoo.network(0)) == KEPT
    unknown = zoo.network(1)
    assert symmetry_of(unknown) == symmetry_by_name(unknown) and symmetry_of(unknown).groups[0].kinds == (
        "permutation",
    )


def test_a_state_dict_by_its_names():
    network = read_network(STATE)
    found = symmetry_of(network)
    assert found == symmetry_by_name(network) and found.groups[0].size == 4


def test_copies_of_rows_keep_it(tmp_path):
    zoo = write(tmp_path / "zoo", KEPT)
    other = zoo.with_weights({0: torch.zeros(zoo.num_weights(0))})
    assert symmetry_of(other.network(0)) == KEPT
