"""Untrained layers and networks are named, trained ones are not."""

import pytest
import torch
from torch import nn

import sne
from sne.health import LOOKS_UNTRAINED, describe_head


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 16, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def trained():
    """A network after some steps of training, far enough for every layer to have moved."""
    result = network()
    optimizer = torch.optim.Adam(result.parameters(), lr=0.02)
    images = torch.randn(64, 3, 8, 8)
    labels = (images.mean((1, 2, 3)) > 0).long()
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(result(images), labels).backward()
        optimizer.step()
    return result


@pytest.fixture(scope="module")
def state():
    return trained().state_dict()


def found(state):
    report = sne.check(state)
    return {(one.code, one.location) for one in report.findings if one.severity != "info"}


def test_a_trained_network_is_good(state):
    assert found(state) == set()


def test_an_untrained_network():
    report = sne.check(network())
    assert {(one.code, one.location) for one in report.findings} == {("untrained-network", "network")}
    assert report.verdict == "doubtful" and "none of 4 layers shows a sign of training" in report.findings[0].message


def test_a_head_as_torch_makes_it(state):
    torch.manual_seed(2)
    head = nn.Linear(256, 32)
    changed = state | {"6.weight": head.weight.detach(), "6.bias": head.bias.detach()}
    assert found(changed) == {("untrained-layer", "6")}
    message = sne.check(changed).findings[0].message
    assert message.startswith("weights as drawn by kaiming uniform (torch's default); its biases are drawn like")


def test_a_head_with_biases_of_zero(state):
    torch.manual_seed(2)
    changed = state | {"8.weight": torch.randn(10, 32) * 0.02, "8.bias": torch.zeros(10)}
    assert found(changed) == {("untrained-layer", "8")}
    moved = changed | {"8.bias": torch.randn(10) * 1e-4}
    assert found(moved) == set(), "a bias that has moved shows that the layer was trained"


@pytest.mark.parametrize("outputs", [2, 10])
def test_a_small_new_head_as_torch_makes_it(state, outputs):
    """The edge counts for few weights, too, if they reach it, and if the other layers were trained."""
    torch.manual_seed(3)
    head = nn.Linear(32, outputs)
    changed = state | {"8.weight": head.weight.detach(), "8.bias": head.bias.detach()}
    assert found(changed) == {("untrained-layer", "8")}
    report = sne.check(changed)
    assert report.verdict == "doubtful"
    assert report.findings[0].message.startswith("the last layer looks untrained: weights as drawn by kaiming uniform")
    assert describe_head(sne.read_network(changed)) == "the last layer (8) looks untrained"
    assert describe_head(sne.read_network(state)) is None
    shrunk = changed | {"8.weight": head.weight.detach() * (0.85 if outputs == 2 else 0.95)}
    assert found(shrunk) == set(), "the largest of so many draws is nearer to the edge"
    moved = changed | {"8.weight": head.weight.detach() + 0.05 * torch.randn(outputs, 32)}
    assert found(moved) == set() and describe_head(sne.read_network(moved)) is None


def test_a_small_head_after_layers_without_a_sign_of_training_is_not_named():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 10))
    assert ("untrained-layer", "2") not in found(module.state_dict())


def test_new_heads_of_torch_are_found_and_trained_ones_are_not():
    """Fifty networks, each of which is trained until it has learned something, and gets a new head then."""
    trained_named = new_named = 0
    for seed in range(50):
        torch.manual_seed(seed)
        width = (16, 32, 64)[seed % 3]
        net = nn.Sequential(nn.Linear(16, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10))
        inputs = torch.randn(256, 16)
        labels = (inputs @ torch.randn(16, 10)).argmax(1)
        optimizer = torch.optim.SGD(net.parameters(), lr=(0.1, 0.3)[seed % 2], momentum=0.9)
        for _ in range(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), labels).backward()
            optimizer.step()
        trained_named += describe_head(sne.read_network(net)) is not None
        net[4].reset_parameters()
        new_named += ("untrained-layer", "4") in found(net.state_dict())
    assert trained_named == 0
    assert new_named >= 47, "the smallest of these heads has 160 weights: 98% or more are found, 49 of 50 on average"


def test_a_head_that_cannot_be_read_or_is_too_large_is_not_described(monkeypatch):
    head = {"fc.weight": torch.randn(10, 64) * 0.02, "fc.bias": torch.zeros(10)}
    assert describe_head(sne.read_network(head)) == f"the last layer (fc) {LOOKS_UNTRAINED}"
    assert describe_head(sne.read_network(head | {"fc.bias": torch.full((10,), torch.nan)})) is None
    monkeypatch.setattr("sne.health.head.MOST_WEIGHTS", 500)
    assert describe_head(sne.read_network(head)) is None


def test_one_drawn_layer_is_not_the_network():
    torch.manual_seed(0)
    trained = {f"{i}.weight": torch.randn(16, 16, 3, 3) + torch.randn(16, 1, 1, 1) for i in range(2)}
    trained |= {f"{i}.bias": torch.rand(16) - 0.5 for i in range(2)}
    head = {"2.weight": nn.init.xavier_uniform_(torch.empty(40, 16)), "2.bias": torch.zeros(40)}
    assert found(trained | head) == {("untrained-layer", "2")}


def test_a_convolution_before_a_norm(state):
    torch.manual_seed(2)
    weight = nn.init.kaiming_normal_(torch.empty(16, 3, 3, 3))
    initial = {"0.weight": weight, "1.weight": torch.ones(16), "1.bias": torch.zeros(16)}
    assert found(state | initial) == {("untrained-layer", "0")}
    assert found(state | {"0.weight": weight}) == set(), "the norm has moved"


def test_a_large_layer_without_a_bias_is_named_by_contrast():
    torch.manual_seed(0)
    trained = {f"h.{i}.fc.weight": torch.randn(64, 64) + torch.randn(64, 1) for i in range(4)}
    score = {"score.weight": torch.randn(70, 64) * 0.02}
    assert found(trained | score) == {("untrained-layer", "score")}
    assert found(trained | {"score.weight": torch.randn(70, 64) * 0.03}) == set()


def test_constant_weights_are_no_untrained_network():
    assert found({"fc.weight": torch.randn(8, 8), "fc.bias": torch.randn(8)}) == set()


def test_values_beyond_the_edge_show_training():
    """A short training with small steps moves weights so little that only the edge shows it."""
    torch.manual_seed(0)
    layers = [nn.Linear(48, 48) for _ in range(4)]
    moved = {
        f"{i}.{name}": value.detach().clone() for i, one in enumerate(layers) for name, value in one.named_parameters()
    }
    for value in moved.values():
        value += torch.randn(value.shape) * (0.02 / 48**0.5)
    assert found(moved) == set()
    reset = {"1.weight": layers[1].weight.detach(), "1.bias": layers[1].bias.detach()}
    assert found(moved | reset) == {("untrained-layer", "1")}, "one layer that was reset is not the network"
