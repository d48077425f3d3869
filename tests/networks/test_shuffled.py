import torch

from sne import read_network
from sne.networks.shuffled import shuffled


def test_entries_stay_and_places_change():
    generator = torch.Generator().manual_seed(0)
    state = {"0.weight": torch.randn(8, 5, generator=generator), "1.weight": torch.randn(8, 8, generator=generator)}
    network = read_network(state)
    copy = shuffled(network, 3)
    assert copy.layers == network.layers and copy.name == network.name
    for part in (part for _, part in network.parts()):
        before, after = network.read(part), copy.read(part)
        assert before.shape == after.shape and not torch.equal(before, after)
        assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
        assert torch.equal(after, copy.read(part)) and not torch.equal(after, shuffled(network, 4).read(part))


def test_tensors_are_shuffled_independently():
    same = torch.arange(40.0).reshape(8, 5)
    copy = shuffled(read_network({"0.weight": same, "1.weight": same.clone().T.contiguous().T}), 0)
    first, second = (copy.read(part) for _, part in copy.parts())
    assert not torch.equal(first, second)
