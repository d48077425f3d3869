"""Layouts and plain stacks: reading without loss, and refusals."""

import json

import pytest
import torch
from neural_cases import Known, traced
from oracles import handmade
from torch import nn

from sne import read_network
from sne.lab.neural import NEURAL_BASELINES, CannotTakeError
from sne.lab.neural.fixed_layout import FixedLayout
from sne.lab.neural.plain_stack import LINEAR_AND_CONV, check_not_joined, plain_stack
from sne.networks import LayerType, Network
from sne.symmetry import trace


class Skip(nn.Module):
    """Convolutions without norms, with a skip connection around one of them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x).relu()
        return self.head((x + self.second(x)).relu().mean((2, 3)))


def stack_of(network: Network):
    return plain_stack(FixedLayout.of(network), types=LINEAR_AND_CONV, method="nfn_np", name=network.name)


def test_layouts_come_back_from_json():
    for layers in (handmade.cnn(), handmade.gru(), handmade.transformer(), handmade.resnet()):
        layout = FixedLayout.of(handmade.network(layers))
        assert FixedLayout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
        assert layout.num_entries == handmade.network(layers).num_weights


@pytest.mark.parametrize(
    "row",
    [[], [0, 0, "linear", "weight", "", 2, 3], [0, 0, "linear", "weight", "", 2, 3, -1], [0, 0, "x", "y", "", 1, 1, 1]],
)
def test_damaged_layouts_are_refused(row):
    with pytest.raises(ValueError, match=r"layout contains|not a valid"):
        FixedLayout.from_json([row])


def test_flattened_channels_stand_as_kernel_positions():
    state, _, make = traced("cnn_s")
    network = make(state)
    stack = stack_of(network)
    weights, biases = stack.split(FixedLayout.of(network).read(network, "test").values)
    stored = [tensor for tensor in state.values() if tensor.ndim > 1]
    for layer, (weight, tensor) in enumerate(zip(weights, stored, strict=True)):
        assert weight.shape[2] == (1 if layer == 0 else stored[layer - 1].shape[0])
        torch.testing.assert_close(weight[0].flatten(), tensor.flatten())
    for bias, tensor in zip(biases, [tensor for tensor in state.values() if tensor.ndim == 1], strict=True):
        torch.testing.assert_close(bias[0], tensor)
    flat = state[[name for name, tensor in state.items() if tensor.ndim > 1][3]]
    channel = flat.unflatten(1, (weights[3].shape[2], -1))[:, 1]
    assert torch.equal(weights[3][0, :, 1], channel)


def test_a_missing_bias_is_zero():
    layers = (
        handmade.layer(LayerType.LINEAR, "a", 0, 4, 3, bias=False),
        handmade.layer(LayerType.LINEAR, "b", 1, 2, 4),
    )
    network = handmade.network(layers)
    stack = stack_of(network)
    assert stack.has_bias == (False, True)
    _, biases = stack.split(FixedLayout.of(network).read(network, "test").values)
    assert not biases[0].any() and torch.equal(biases[1][0], network.source.load("b.bias"))
    for method in ("nfn_np", "nfn_hnp", "nft", "dwsnet"):
        encoder = NEURAL_BASELINES[method]([network]).eval()
        assert encoder(encoder.collate(encoder.prepare([network]))).isfinite().all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (handmade.mlp((3, 4)), "number of layers is 1, expected at least 2"),
        (handmade.mlp((3, 4, 5))[:1] + handmade.mlp((3, 6, 5))[1:], "linear weight .5, 6, 1. at level 1 does not read"),
        (handmade.mlp((3, 4, 5))[1:], "expected one weight and at most one bias at each level"),
        (
            handmade.mlp((3, 4, 4))[:1] + handmade.mlp((4, 4))[:1],
            "expected one weight and at most one bias at each level",
        ),
        (handmade.transformer(), "layer 0 is embedding"),
    ],
)
def test_what_is_no_plain_stack_is_refused(layers, message):
    with pytest.raises(CannotTakeError, match=f"nfn_np takes plain stacks of .* layers; odd: .*{message}"):
        stack_of(handmade.network(layers, name="odd"))


def test_a_skip_shows_in_the_traced_symmetry():
    module = Skip().eval()
    read = read_network(module)
    known = Known(module.state_dict(), trace(module, (torch.zeros(2, 1, 5, 5),)))
    network = Network("skipped", read.layers, known)
    stack_of(network)
    with pytest.raises(CannotTakeError, match=r"skipped: neurons of .* occur in 4 weights, expected 2"):
        check_not_joined(network, method="nfn_np")
    with pytest.raises(CannotTakeError, match="a skip connection joins layers"):
        NEURAL_BASELINES["nfn_np"]([network])
    state, _, make = traced("small_cnn")
    check_not_joined(make(state), method="nfn_np")


def test_scales_are_those_of_a_loop():
    some = [handmade.network(handmade.mlp(), seed=seed, std=0.1 + seed) for seed in range(4)]
    still = [handmade.with_tensors(network, fc0__bias=torch.full((40,), 2.0)) for network in some]
    for method in ("flat_mlp", "dwsnet"):
        encoder = NEURAL_BASELINES[method](still)
        encoder.fit_scale(encoder.prepare(still))
        values = torch.stack([torch.cat([n.read(part).flatten() for _, part in n.parts()]) for n in still]).double()
        start = 0
        for _, part in still[0].parts():
            mine = values[:, start : start + part.num_entries]
            places = encoder.scale_of[start : start + part.num_entries]
            over = 0 if method == "flat_mlp" else (0, 1)
            mean, std = mine.mean(over), mine.std(over, unbiased=False)
            std = torch.where(std < 1e-9, torch.ones_like(std), std)
            torch.testing.assert_close(
                encoder.mean[places].double(), mean.expand(part.num_entries), rtol=1e-5, atol=1e-6
            )
            torch.testing.assert_close(encoder.std[places].double(), std.expand(part.num_entries), rtol=1e-5, atol=1e-6)
            start += part.num_entries
