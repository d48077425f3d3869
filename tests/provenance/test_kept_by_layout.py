"""What is kept by layout."""

import torch

from sne import read_network
from sne.provenance.layouts import MOST_KEPT, kept_by_layout


def network(width, name="fc"):
    return read_network({f"{name}.weight": torch.randn(width, 4)})


def test_networks_of_one_layout_share_a_result_and_others_do_not():
    calls = []

    @kept_by_layout
    def width(network):
        calls.append(network)
        return next(network.parts())[1].arranged_shape[0]

    assert [width(network(size)) for size in (3, 3, 5, 3)] == [3, 3, 5, 3]
    assert len(calls) == 2
    width(network(3, name="other"))
    assert len(calls) == 3


def test_the_oldest_layout_is_forgotten():
    calls = []
    count = kept_by_layout(lambda network: calls.append(network))
    for size in (*range(1, MOST_KEPT + 2), 1):
        count(network(size))
    assert len(calls) == MOST_KEPT + 2


def test_classes_of_modules_count():
    """A module tells what its layers are; a state dict of the same names and shapes does not."""
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    types = kept_by_layout(lambda network: [layer.type for layer in network.layers])
    for network in (read_network(module), read_network(module.state_dict())):
        assert types(network) == [layer.type for layer in network.layers]
