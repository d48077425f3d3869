"""One network as a module and as ONNX, from both of torch's exporters: the same layers, values and embedding."""

import pytest
import torch
import transformers
from checkpoint_files import layout, values
from safetensors.torch import save_file
from torch import nn

import sne
from sne.checkpoints import read_network
from sne.encoders.set_encoder import SetEncoder
from sne.networks import LayerType, Network
from sne.predictors.sources import read_sources


class Recurrent(nn.Module):
    def __init__(self, cell, **settings):
        super().__init__()
        self.rnn = cell(4, 6, batch_first=True, **settings)
        self.fc = nn.Linear(12 if settings.get("bidirectional") else 6, 3)

    def forward(self, x):
        return self.fc(self.rnn(x)[0][:, -1])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 8, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.downsample = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))

    def forward(self, x):
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block())
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.layer1(torch.relu(self.bn1(self.conv1(x)))).mean((2, 3)))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.encoder(self.emb(x)).mean(1))


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.gn = nn.GroupNorm(2, 8)
        self.act = nn.PReLU(8)
        self.inorm = nn.InstanceNorm2d(8, affine=True)
        self.up = nn.ConvTranspose2d(8, 4, 2)
        self.ln = nn.LayerNorm(4)
        self.fc = nn.Linear(4, 2, bias=False)

    def forward(self, x):
        x = self.up(self.inorm(self.act(self.gn(self.conv(x)))))
        return self.fc(self.ln(x.mean((2, 3)).unsqueeze(1)))


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.LSTMCell(4, 6)
        self.second = nn.GRUCell(6, 5)

    def forward(self, x):
        return self.second(self.first(x)[0])


class Cross(nn.Module):
    """An attention that reads something else than it asks with, so that exporters cut its matrix."""

    def __init__(self):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.self_attn(x, 2 * x, 3 * x)[0]
        memory = torch.sin(x)
        return self.multihead_attn(x, memory, memory)[0]


class Tied(nn.Module):
    """An output layer tied to the embedding, and a layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(11, 8)
        self.inner = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, x):
        return self.head(self.inner(torch.relu(self.inner(self.emb(x)))))


MAKERS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), (3, 6)),
    "mlp on sequences": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8)), (3, 5, 6)),
    "cnn": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Flatten(1)),
        (2, 3, 12, 12),
    ),
    "gru": (lambda: Recurrent(nn.GRU), (2, 5, 4)),
    "lstm": (lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), (2, 5, 4)),
    "gru without bias": (lambda: Recurrent(nn.GRU, bias=False), (2, 5, 4)),
    "resnet": (ResNet, (2, 3, 12, 12)),
    "encoder": (Encoder, None),
    "norms": (Norms, (2, 3, 8, 8)),
    "tied": (Tied, None),
    "cells": (Cells, (2, 4)),
    "cross": (Cross, (2, 5, 8)),
}
NOT_FOLDED = {"dynamo": False, "do_constant_folding": False}
EXPORTERS = {
    "old": {"dynamo": False},
    "old without folding": NOT_FOLDED,
    "old in training": NOT_FOLDED | {"training": torch.onnx.TrainingMode.TRAINING},
    "new": {"dynamo": True, "external_data": False, "verbose": False},
}


def make(name):
    """A network whose values differ everywhere, as those of a trained one do."""
    generator = torch.Generator().manual_seed(0)
    module = MAKERS[name][0]()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    for key, buffer in module.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    for inner in module.modules():
        if isinstance(inner, nn.BatchNorm2d):
            inner.momentum = 0.0  # exporting in training runs the network once
    if name == "tied":
        module.head.weight = module.emb.weight
    return module.eval()


def example(name):
    shape = MAKERS[name][1]
    return torch.zeros(2, 5, dtype=torch.long) if shape is None else torch.zeros(shape)


def export(module, name, exporter, file):
    module.train(exporter == "old in training")
    torch.onnx.export(module, (example(name),), str(file), **EXPORTERS[exporter])
    module.eval()


def embedding(network: Network) -> torch.Tensor:
    torch.manual_seed(0)
    encoder = SetEncoder(dim=16, heads=2, inducing_points=4).eval()
    return torch.as_tensor(sne.encode(network, encoder=encoder))


def assert_same(read: Network, expected: Network) -> None:
    assert layout(read) == layout(expected)
    first, second = values(read), values(expected)
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=0, atol=1e-6)


def cases():
    """Each network by each exporter; in training only the one with batch norms, which other exports fold."""
    pairs = [("resnet", exporter) for exporter in ("old without folding", "old in training")]
    for name in MAKERS:
        if name != "resnet":
            # The new exporter folds the products with the first state of a cell.
            exporters = ("old", "old without folding", "new")[: 2 if name == "cells" else 3]
            pairs += [(name, exporter) for exporter in exporters]
    is_slow = [exporter == "new" and name != "lstm" for name, exporter in pairs]  # seconds each
    return [pytest.param(*pair, marks=[pytest.mark.slow] * slow) for pair, slow in zip(pairs, is_slow, strict=True)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "exporter"), cases())
def test_onnx_reads_like_the_module(name, exporter, tmp_path):
    module = make(name)
    export(module, name, exporter, tmp_path / "a.onnx")
    read, expected = read_network(tmp_path / "a.onnx"), read_network(module)
    assert_same(read, expected)
    torch.testing.assert_close(embedding(read), embedding(expected), rtol=1e-4, atol=1e-4)
    assert not [note for note in read.notes if "guess" in note.reason]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exporter", ["old", pytest.param("new", marks=pytest.mark.slow)])
def test_folded_batch_norms_are_said_to_be(exporter, tmp_path, caplog):
    module = make("resnet")
    export(module, "resnet", exporter, tmp_path / "a.onnx")
    network = read_network(tmp_path / "a.onnx")
    assert {layer.type for layer in network.layers} == {LayerType.CONV2D, LayerType.LINEAR}
    noted = {note.tensor for note in network.notes if "batch norm" in note.reason}
    convolutions = [layer for layer in network.layers if layer.type is LayerType.CONV2D]
    assert noted == {layer.parts[0].tensor for layer in convolutions}
    with caplog.at_level("WARNING", "sne"):
        list(read_sources(tmp_path / "a.onnx"))
    own = [record.getMessage() for record in caplog.records if record.name.startswith("sne")]
    assert ["batch norm" in message for message in own] == [True]
    norm, convolution = module.bn1, module.conv1
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = (convolution.weight * factor[:, None, None, None]).flatten(2)
    torch.testing.assert_close(network.read(convolutions[0].parts[0]), folded, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        network.read(convolutions[0].parts[1]).flatten(), norm.bias - norm.running_mean * factor, rtol=1e-5, atol=1e-5
    )


@pytest.mark.filterwarnings("ignore")
def test_equal_layers_that_the_exporter_stores_once_are_read_each(tmp_path):
    torch.manual_seed(0)
    module = Encoder().eval()  # its two layers start as copies
    torch.onnx.export(module, (example("encoder"),), str(tmp_path / "a.onnx"), dynamo=False)
    assert_same(read_network(tmp_path / "a.onnx"), read_network(module))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mlp", "resnet", "gru", "lstm", "encoder"])
def test_one_network_in_every_file(name, tmp_path):
    module = make(name)
    expected = read_network(module)
    torch.save(module.state_dict(), tmp_path / "a.pt")
    save_file(module.state_dict(), tmp_path / "a.safetensors")
    torch.jit.script(module).save(tmp_path / "scripted.pt")
    torch.jit.trace(module, example(name), check_trace=False).save(tmp_path / "traced.pt")
    export(module, name, "old without folding", tmp_path / "a.onnx")
    for file in ("a.pt", "a.safetensors", "scripted.pt", "traced.pt", "a.onnx"):
        read = read_network(tmp_path / file)
        assert_same(read, expected)
        torch.testing.assert_close(embedding(read), embedding(expected), rtol=1e-4, atol=1e-4)


def unread(file, module):
    """Layers of a module that a file does not give with the same values."""
    read, expected = values(read_network(file)), values(read_network(module.state_dict()))
    return {key[0] for key in expected if key not in read or not torch.allclose(read[key], expected[key], atol=1e-6)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exporter", ["old", "new"])
def test_vision_transformer(exporter, tmp_path):
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    module = transformers.ViTForImageClassification(transformers.ViTConfig(image_size=16, patch_size=4, **small)).eval()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape)
    torch.onnx.export(module, (torch.zeros(1, 3, 16, 16),), str(tmp_path / "a.onnx"), **EXPORTERS[exporter])
    lost = unread(tmp_path / "a.onnx", module)
    assert lost == (set() if exporter == "old" else {"vit.embeddings.cls_token"})  # which the new one renames "expand"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_gpt2(tmp_path):
    config = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50, "n_positions": 20}
    config |= {"bos_token_id": 0, "eos_token_id": 0, "use_cache": False}
    module = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config)).eval()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape)
    torch.onnx.export(module, (torch.zeros(2, 5, dtype=torch.long),), str(tmp_path / "a.onnx"), **EXPORTERS["new"])
    lost = unread(tmp_path / "a.onnx", module)
    assert lost == {"transformer.wpe"}  # of which the exporter keeps the rows of the example
