"""Influence is the movement of a prediction, and attention adds up."""

import pytest
import torch
from report.report_checkpoints import classifier, transformer_state
from torch import nn

import sne
from sne.networks.shuffled import shuffled
from sne.predictors import Predictor
from sne.report import influence
from sne.report.influence import find_influence


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_pretrained()


def test_the_change_is_that_of_a_copy_whose_layer_is_shuffled(predictor, monkeypatch):
    monkeypatch.setattr(influence, "MOST_DRAWS", 1)
    net = classifier()
    found = find_influence(predictor, sne.read_network(net), seed=3)
    assert found is not None and [group.layers for group in found.groups] == [("0",), ("2",), ("4",), ("8",)]
    state = net.state_dict()
    for group in found.groups:
        copy = dict(state)
        for name in (f"{group.layers[0]}.weight", f"{group.layers[0]}.bias"):
            seed = 3 + list(state).index(name)
            order = torch.randperm(state[name].numel(), generator=torch.Generator().manual_seed(seed))
            copy[name] = state[name].flatten()[order].reshape(state[name].shape)
        bare = Predictor(predictor.encoder, predictor.properties, predictor.experts, predictor.weights)
        before, after = (bare.values([sne.read_network(s)])["test_accuracy"][0] for s in (state, copy))
        assert group.changes["test_accuracy"] == pytest.approx(after - before, abs=1e-5)
        assert group.movements["test_accuracy"] == pytest.approx(abs(after - before), abs=1e-5)


def test_a_tensor_of_equal_entries_has_no_influence(predictor):
    net = classifier()
    with torch.no_grad():
        net[2].weight.fill_(0.1)
        net[2].bias.zero_()
    found = find_influence(predictor, sne.read_network(net))
    assert found is not None
    by_layer = {group.label: group.movements["test_accuracy"] for group in found.groups}
    assert by_layer["2"] == pytest.approx(0, abs=1e-6) and by_layer["0"] > 1e-4


def test_attention_adds_up_to_one(predictor):
    found = find_influence(predictor, sne.read_network(classifier()))
    assert found is not None and found.attention_to_outputs is not None
    shares = [group.attention for group in found.groups]
    assert sum(shares) + found.attention_to_outputs == pytest.approx(1, abs=1e-5)
    assert all(0 < share < 1 for share in shares)


def test_attention_of_a_batch_is_that_of_each_network(predictor):
    encoder = next(expert.model.encoder for expert in predictor.experts if hasattr(expert, "model"))
    networks = [sne.read_network(source) for source in (classifier(), transformer_state(2), classifier(1))]
    items = predictor.encoder.prepare(networks)
    with torch.inference_mode():
        together = encoder.attention(encoder.collate(items))
        alone = [encoder.attention(encoder.collate([item]))[0] for item in items]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert float(one.sum()) == pytest.approx(1, abs=1e-5)


def test_the_same_seed_gives_the_same_influence(predictor):
    network = sne.read_network(classifier())
    assert find_influence(predictor, network, seed=1) == find_influence(predictor, network, seed=1)
    assert find_influence(predictor, network, seed=1) != find_influence(predictor, network, seed=2)


def test_layers_are_joined_and_large_networks_left_out(predictor, monkeypatch):
    network = sne.read_network(transformer_state(12))
    monkeypatch.setattr(influence, "MOST_DRAWS", 1)
    found = find_influence(predictor, network)
    assert found is not None and len(found.groups) <= influence.MOST_GROUPS
    assert [name for group in found.groups for name in group.layers] == [layer.name for layer in network.layers]
    monkeypatch.setattr(influence, "MOST_READ", 3 * network.num_weights)
    assert find_influence(predictor, network) is None


def test_small_networks_with_norms_are_measured(predictor, monkeypatch):
    """Layers are more than groups, which hold the norms, too: that alone makes no network a large one."""
    monkeypatch.setattr(influence, "MOST_DRAWS", 1)
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.Linear(72, 16)]
    torch.manual_seed(0)
    found = find_influence(predictor, sne.read_network(nn.Sequential(*layers, nn.Linear(16, 10))))
    assert found is not None
    assert [group.layers for group in found.groups] == [("0", "1"), ("2", "3"), ("4",), ("5",)]


def test_no_layer_is_read_beyond_what_is_shuffled(predictor):
    """The copies share the source: what is not shuffled is what the file holds."""
    network = sne.read_network(classifier())
    copy = shuffled(network, 0, network.layers[:1])
    first, rest = network.layers[0], network.layers[1:]
    assert not torch.equal(copy.read(first.parts[0]), network.read(first.parts[0]))
    for layer in rest:
        assert all(torch.equal(copy.read(part), network.read(part)) for part in layer.parts)
