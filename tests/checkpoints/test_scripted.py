"""TorchScript archives of many makes read as the module that they were made from."""

import zipfile

import pytest
import torch
from checkpoint_files import branching, layout, same_values
from torch import nn

from sne.checkpoints import read_network
from sne.checkpoints.formats.pickles.script_code import read_code
from sne.networks import LayerType

pytestmark = pytest.mark.filterwarnings("ignore")


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.out = nn.Embedding(20, 8), nn.Linear(32, 20)
        self.rnn = nn.LSTM(8, 16, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor):
        return self.out(self.rnn(self.emb(x))[0])


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.zeroth, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.first, self.norm = nn.ConvTranspose1d(1, 2, 3), nn.LayerNorm(6)

    def forward(self, x):
        return self.norm(self.first(self.second(torch.relu(self.zeroth(x))).unsqueeze(1)))


def frozen(module: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.freeze(torch.jit.script(module.eval()))


def test_frozen_modules_follow_their_code(tmp_path):
    torch.manual_seed(0)
    module = Plain()
    torch.jit.save(frozen(module), str(tmp_path / "a.pt"))
    network = read_network(tmp_path / "a.pt")
    inner = [module.zeroth, module.second, module.first, module.norm]
    expected = [LayerType.LINEAR, LayerType.LINEAR, LayerType.CONV_TRANSPOSE1D, LayerType.LAYER_NORM]
    assert [layer.type for layer in network.layers] == expected
    for layer, part in zip(network.layers, inner, strict=True):
        assert torch.equal(network.source.load(layer.parts[0].tensor), part.weight)
        assert torch.equal(network.source.load(layer.parts[1].tensor), part.bias)
    assert any("frozen" in note.reason for note in network.notes)


def test_gates_of_frozen_recurrent_layers(tmp_path):
    torch.manual_seed(0)
    module = Recurrent()
    torch.jit.save(frozen(module), str(tmp_path / "a.pt"))
    network = read_network(tmp_path / "a.pt")
    source = network.source
    assert torch.equal(source.load("1.weight_ih_l0_reverse"), module.rnn.weight_ih_l0_reverse)
    assert torch.equal(source.load("1.bias_hh_l0"), module.rnn.bias_hh_l0)
    assert [layer.type for layer in network.layers] == [LayerType.EMBEDDING, *[LayerType.LSTM] * 8, LayerType.LINEAR]


def test_weights_that_optimising_took_out_of_the_file_are_mentioned(tmp_path):
    torch.jit.save(torch.jit.optimize_for_inference(torch.jit.script(branching())), str(tmp_path / "a.pt"))
    network = read_network(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        code = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".py"))
    assert any("not stored in this file" in note.reason for note in network.notes) == ("MKLDNN" in code)


def test_mobile_modules(tmp_path):
    torch.jit.script(branching())._save_for_lite_interpreter(str(tmp_path / "a.ptl"))
    network = read_network(tmp_path / "a.ptl")
    assert layout(network) == layout(read_network(branching()))
    assert same_values(network, read_network(branching()))


@pytest.mark.parametrize(
    "text",
    [
        "no code (",
        "def f(x):\n  return torch.linear(x, CONSTANTS.c0)\ndef g(x):\n  return torch.linear(x, CONSTANTS.c1)",
        "CONSTANTS.c" + "(" * 100_000,
        "def f(x): return " + "-" * 100_000 + "CONSTANTS.c0",
        "def f(x): return " + "+".join(["CONSTANTS.c0"] * 20_000),
        "def f(x): return torch.linear(x, CONSTANTS.c999999999999999999999)",
        "def f(x): return torch.linear(x)(CONSTANTS.c0)[CONSTANTS.c1]",
        "def f(x): return torch.addmm(CONSTANTS.c0)",
        "def f(x): return torch.matmul()",
        "def f(x): return torch.lstm(x, x, [CONSTANTS.c0], True, 1, 0., False, True, True)",
    ],
)
def test_code_that_is_not_understood_gives_no_roles(text):
    names = read_code([text]).names
    assert not [name for name in names.values() if "weight" in name]


def test_order_of_calls_in_calls():
    text = """def f(x):
  a = torch.linear(torch.relu(torch.conv2d(x, CONSTANTS.c3, None)), CONSTANTS.c1, CONSTANTS.c0)
  b = torch.matmul(a, CONSTANTS.c2)
  return torch.add(torch.addmm(CONSTANTS.c4, torch.add(b, CONSTANTS.c5), torch.t(CONSTANTS.c6)), CONSTANTS.c7)
"""
    uses = read_code([text])
    assert uses.names == {
        3: "0.weight", 1: "1.weight", 0: "1.bias", 2: "2.weight", 5: "2.bias", 4: "3.bias", 6: "3.weight",
    }  # fmt: skip
    assert [uses.hints[str(index)].in_first for index in range(4)] == [None, None, True, None]
