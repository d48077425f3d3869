"""Signals equal what the module itself answers to uniform inputs, and slow loops written from the equations."""

import pytest
import torch
from followed_layers import randomised, values_of
from oracles import handmade
from oracles import signals_by_loop as oracle
from torch import nn

from sne import read_network
from sne.encoders import TensorSetEncoder
from sne.encoders.flow import NUM_PROBES, RELU, TANH
from sne.encoders.images import draw_images
from sne.encoders.layer_signals import SIGNAL_NAMES
from sne.encoders.recurrent_signals import RECURRENT_STEPS
from sne.encoders.signals import OUTPUT_NAMES
from sne.encoders.tensor_tokens import tokenize
from sne.making.families import FAMILIES
from sne.networks import Layer, LayerType, Network, Part, Role

LEVELS = torch.linspace(-1.0, 1.0, NUM_PROBES)
ROWS = {"relu": RELU, "tanh": TANH}


def embed(encoder: TensorSetEncoder, networks: list[Network]) -> torch.Tensor:
    with torch.no_grad():
        return encoder(encoder.collate(encoder.prepare(networks)))


def encoder_for(*networks: Network) -> TensorSetEncoder:
    torch.manual_seed(0)
    encoder = TensorSetEncoder().eval()
    encoder.fit_scale(encoder.prepare(list(networks)))
    return encoder


def mlp(activation: type[nn.Module], seed: int = 0) -> nn.Module:
    layers = [nn.Linear(5, 9), activation(), nn.Linear(9, 7), activation(), nn.Linear(7, 4)]
    return randomised(nn.Sequential(*layers), seed)


def answers(module: nn.Module, *shape: int) -> torch.Tensor:
    inputs = LEVELS.reshape(-1, *[1] * len(shape)).expand(-1, *shape)
    with torch.no_grad():
        return module(inputs)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_mlp_is_followed_exactly(activation):
    module = mlp(activation)
    last = values_of(module)[-1][ROWS[activation.__name__.lower()]]
    torch.testing.assert_close(last, answers(module, 5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_small_cnn_is_followed_exactly_on_uniform_images(activation):
    module = FAMILIES["small_cnn"].module({"activation": activation, "dropout": 0.3}, (1, 28, 28), 10)
    module = randomised(module, std=0.2)
    last = values_of(module)[-1][ROWS[activation]]
    torch.testing.assert_close(last, answers(module, 1, 28, 28), rtol=1e-4, atol=1e-4)


def test_batch_norm_passes_running_statistics():
    layers = [nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=False), nn.BatchNorm2d(5)]
    module = randomised(nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)))
    last = values_of(module)[-1][ROWS["relu"]]
    torch.testing.assert_close(last, answers(module, 2, 9, 9), rtol=1e-4, atol=1e-4)


def test_flatten_after_a_convolution_repeats_channels():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 3))
    last = values_of(randomised(module))[-1][ROWS["relu"]]
    torch.testing.assert_close(last, answers(module, 1, 4, 4), rtol=1e-5, atol=1e-5)


def test_depthwise_convolution_is_followed_channel_by_channel():
    layers = [nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(), nn.Conv2d(6, 3, 1)]
    module = randomised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    last = values_of(module)[-1][ROWS["relu"]]
    torch.testing.assert_close(last, answers(module, 2, 7, 7), rtol=1e-4, atol=1e-4)


class Reader(nn.Module):
    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.rnn = cell(5, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_layers_take_some_steps_from_zero(cell):
    module = randomised(Reader(cell))
    last = values_of(module)[-1]
    expected = answers(module, RECURRENT_STEPS, 5)
    for values in (last[RELU], last[TANH]):  # no activation of its own between state and head
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)


def test_both_directions_of_a_recurrent_layer_are_followed():
    module = nn.Sequential(nn.GRU(5, 8, bidirectional=True, batch_first=True))
    head = nn.Linear(16, 3)
    both = randomised(nn.ModuleDict({"rnn": module[0], "head": head}))
    last = values_of(both)[-1][RELU]
    inputs = LEVELS[:, None, None].expand(-1, RECURRENT_STEPS, 5)
    with torch.no_grad():
        expected = head(both["rnn"](inputs)[1].transpose(0, 1).flatten(1))
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", [nn.LSTM(5, 8, proj_size=3), nn.LSTM(5, 8, 2, bidirectional=True), nn.GRUCell(3, 4)])
def test_other_recurrent_layers_are_finite(module):
    (item,) = tokenize([read_network(randomised(module))])
    assert item.features.isfinite().all()


def transformer(num_blocks: int = 2) -> nn.Module:
    """A pre-norm transformer, as `nn.TransformerEncoder` has it, between an embedding and a head."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=True, batch_first=True)
    blocks = nn.TransformerEncoder(layer, num_blocks, enable_nested_tensor=False)
    module = nn.Sequential()
    for name, child in (("embed", nn.Linear(6, 8)), ("blocks", blocks), ("norm", nn.LayerNorm(8))):
        module.add_module(name, child)
    module.add_module("head", nn.Linear(8, 3))
    return randomised(module)


def tensors_of(network: Network):
    """Weights and biases as nested lists, by "layer.weight" and "layer.bias"; fused tensors cut into their pieces."""
    found = {}
    for layer, part in network.parts():
        kind = "bias" if part.role is Role.BIAS else "weight"
        found[f"{layer.name}.{kind}"] = network.read(part).double().flatten(1).squeeze(1).tolist()
    return found.__getitem__


def signal_rows(network: Network) -> dict[str, torch.Tensor]:
    """Signal features of every layer that has a matrix, by the layer's name."""
    (item,) = tokenize([network])
    weights = [(layer.name, part.role) for layer, part in network.parts()]
    rows = item.features[:, -len(SIGNAL_NAMES) :]
    return {name: row for (name, role), row in zip(weights, rows, strict=True) if role is Role.WEIGHT}


def assert_equals_loop(row: torch.Tensor, record: oracle.Record, layer: str) -> None:
    expected = torch.tensor(oracle.features(record))
    assert len(expected) == len(SIGNAL_NAMES)
    far = [
        f"{name}: {a} != {b}"
        for name, a, b in zip(SIGNAL_NAMES, row.tolist(), expected.tolist(), strict=True)
        if abs(a - b) > 1e-4 + 1e-4 * abs(b)
    ]
    assert not far, f"{layer}: {far}"


BLOCK_LAYERS = {
    "query": "blocks.layers.{}.self_attn.query",
    "key": "blocks.layers.{}.self_attn.key",
    "value": "blocks.layers.{}.self_attn.value",
    "out": "blocks.layers.{}.self_attn.out_proj",
    "norm1": "blocks.layers.{}.norm1",
    "norm2": "blocks.layers.{}.norm2",
    "up": "blocks.layers.{}.linear1",
    "down": "blocks.layers.{}.linear2",
}


def test_transformer_signals_equal_loops():
    network = read_network(transformer())
    rows = signal_rows(network)
    records = oracle.transformer(tensors_of(network), BLOCK_LAYERS, 2)
    assert set(records) == set(rows) and len(records) == 2 * 6 + 2
    for layer, record in records.items():
        assert_equals_loop(rows[layer], record, layer)


def test_a_transformer_is_followed_exactly_on_equal_tokens():
    module = transformer()
    expected = answers(module, 4, 6)  # four equal tokens
    last = values_of(module)[-1][ROWS["relu"]]
    for token in range(4):
        torch.testing.assert_close(last, expected[:, token], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_signals_equal_loops(cell):
    module = randomised(nn.ModuleDict({"rnn": cell(5, 6), "head": nn.Linear(6, 3)}))
    rows = signal_rows(read_network(module))
    state = {name: tensor.double().tolist() for name, tensor in module.state_dict().items()}
    records = oracle.recurrent(cell.__name__, state.__getitem__, draw_images(8, 5).double().tolist())
    assert len(records) == len(rows)
    for name, record in records.items():
        layer = name if name == "head" else f"rnn.l0.{name}".removesuffix(".")
        assert_equals_loop(rows[layer], record, layer)


def test_a_batch_norm_without_running_statistics_takes_those_of_the_probes():
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    module = randomised(nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU(), nn.Linear(6, 3)))
    linear, vectors = handmade.layer(LayerType.LINEAR, "0", 0, 6, 4), (6,)
    batch_norm = Layer(
        "1", LayerType.BATCH_NORM, 1, (Part("1.weight", Role.SCALE, vectors), Part("1.bias", Role.BIAS, vectors))
    )
    layers = (linear, batch_norm, handmade.layer(LayerType.LINEAR, "3", 2, 3, 6))
    last = values_of(Network("n", layers, handmade.TensorsInMemory(module.state_dict())))[-1]
    torch.testing.assert_close(last[RELU], answers(module, 4), rtol=1e-4, atol=1e-4)


def test_outputs_answer_for_each_class():
    module = mlp(nn.ReLU)
    (item,) = tokenize([read_network(module)])
    shares = answers(module, 5).softmax(-1)
    assert len(item.outputs) == 4
    named = dict(zip(OUTPUT_NAMES, item.outputs.T, strict=True))
    for name, probe in (("lowest", 0), ("middle", NUM_PROBES // 2), ("highest", -1)):
        torch.testing.assert_close(named[f"output_relu/share_of_{name}_probe"], shares[probe], rtol=0, atol=1e-5)
    torch.testing.assert_close(named["output_relu/mean_share"], shares.mean(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(named["output_bias/share"], module[-1].bias.detach().softmax(0), rtol=0, atol=1e-5)


def test_order_of_hidden_neurons_does_not_matter():
    module = mlp(nn.ReLU)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = read_network(state)
    first, second = torch.tensor([3, 1, 8, 0, 2, 7, 5, 4, 6]), torch.tensor([6, 0, 3, 1, 5, 2, 4])
    moved = {
        "0.weight": state["0.weight"][first],
        "0.bias": state["0.bias"][first],
        "2.weight": state["2.weight"][second][:, first],
        "2.bias": state["2.bias"][second],
        "4.weight": state["4.weight"][:, second],
        "4.bias": state["4.bias"],
    }
    assert_same_then_not(before, read_network(moved), read_network(moved | {"0.weight": state["0.weight"]}))


def test_order_of_channels_does_not_matter():
    layers = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten()]
    module = randomised(nn.Sequential(*layers, nn.Linear(5 * 4, 3)))
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    first, second = torch.tensor([3, 1, 0, 2, 5, 4]), torch.tensor([4, 0, 3, 1, 2])
    moved = {name: tensor[first] if name.startswith(("0.", "1.")) and tensor.ndim else tensor
             for name, tensor in state.items()}  # fmt: skip
    moved["3.weight"] = state["3.weight"][second][:, first]
    moved["3.bias"] = state["3.bias"][second]
    moved["6.weight"] = state["6.weight"].reshape(3, 5, 4)[:, second].reshape(3, 20)
    wrong = moved | {"3.weight": state["3.weight"][second]}
    assert_same_then_not(read_network(state), read_network(moved), read_network(wrong))


def assert_same_then_not(before: Network, moved: Network, wrong: Network) -> None:
    items = tokenize([before, moved, wrong])
    torch.testing.assert_close(items[1].features, items[0].features, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(items[1].outputs, items[0].outputs, rtol=1e-5, atol=1e-5)
    encoder = encoder_for(*(read_network(mlp(nn.ReLU, seed)) for seed in range(8)), before, wrong)
    rows = embed(encoder, [before, moved, wrong])
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-5, atol=1e-5)
    assert (rows[2] - rows[0]).abs().max() > 1e-3


def test_outputs_have_identity():
    module = mlp(nn.ReLU)
    state = module.state_dict()
    swap = torch.tensor([1, 0, 2, 3])
    swapped = read_network({**state, "4.weight": state["4.weight"][swap], "4.bias": state["4.bias"][swap]})
    others = [read_network(mlp(nn.ReLU, seed)) for seed in range(8)]
    encoder = encoder_for(*others)
    nn.init.normal_(encoder.output_gain.weight)  # zero before training: identity is learned
    rows = embed(encoder, [read_network(module), swapped])
    assert (rows[1] - rows[0]).abs().max() > 1e-3


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e4])
def test_extreme_weights_stay_finite(scale):
    for module in (mlp(nn.ReLU), randomised(Reader(nn.GRU)), randomised(Reader(nn.LSTM))):
        state = {name: scale * tensor for name, tensor in module.state_dict().items()}
        (item,) = tokenize([read_network(state)])
        assert item.features.isfinite().all() and item.outputs.isfinite().all()
