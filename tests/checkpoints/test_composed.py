"""Weights that are stored in another form are read as the weights that the network computes with."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sne.checkpoints import read_network
from sne.checkpoints.composed import PermutedWeight
from sne.networks import TensorInfo

VALUES = torch.tensor([[1, -2, 3], [4, 5, -127]], dtype=torch.int8)
ROWS = torch.tensor([0.5, 2.0])

CASES = {
    "weight_scale": ({"fc.weight": VALUES, "fc.weight_scale": ROWS}, VALUES * ROWS[:, None]),
    "column_scale": ({"fc.weight": VALUES, "fc.weight_scale": ROWS[:, None]}, VALUES * ROWS[:, None]),
    "one_scale": ({"fc.weight": VALUES, "fc.weight.scale": torch.tensor(3.0)}, VALUES * 3.0),
    "bitsandbytes": ({"fc.weight": VALUES, "fc.SCB": ROWS}, VALUES * ROWS[:, None] / 127),
    "zero_point": (
        {"fc.weight": VALUES, "fc.weight_scale": ROWS, "fc.weight_zero_point": torch.tensor([1, 2])},
        (VALUES - torch.tensor([[1], [2]])) * ROWS[:, None],
    ),
    "float8": (
        {"fc.weight": VALUES[:, :2].to(torch.float8_e4m3fn), "fc.weight_scale": torch.tensor([0.25])},
        VALUES[:, :2] * 0.25,
    ),
    "blocks": (
        {"fc.weight": VALUES, "fc.weight_scale_inv": torch.tensor([[2.0, 10.0]])},
        VALUES * torch.tensor([[2.0, 2.0, 10.0]]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_scaled(case, tmp_path):
    state, expected = CASES[case]
    save_file(state, tmp_path / "a.safetensors")
    network = read_network(tmp_path / "a.safetensors")
    (layer,) = network.layers
    assert torch.allclose(network.read(layer.parts[0])[..., 0], expected.float())
    notes = {note.tensor: note.reason for note in network.notes}
    assert set(notes) == set(state) - {"fc.weight"}
    assert all("of a weight, applied" in reason for reason in notes.values())


def test_integers_without_scale_are_noted():
    network = read_network({"fc.weight": VALUES, "x.weight": torch.ones(2, 2)})
    assert [layer.name for layer in network.layers] == ["x"]
    assert network.notes[0].tensor == "fc.weight"


def test_permuted_weight_replaces_its_stored_tensor():
    kernel = torch.randn(16, 3, 5, 7)
    weight = PermutedWeight(TensorInfo("conv.weight", (16, 3, 5, 7), "float32"), "conv.weight", (0, 3, 1, 2))
    values = weight.compose({"conv.weight": kernel.permute(0, 2, 3, 1).contiguous()}.__getitem__)
    assert torch.equal(values, kernel)
    assert not weight.companions
    renamed = PermutedWeight(weight.info, "conv.kernel", (3, 2, 0, 1))
    assert torch.equal(renamed.compose({"conv.kernel": kernel.permute(2, 3, 1, 0)}.__getitem__), kernel)
    assert list(renamed.companions) == ["conv.kernel"]


@pytest.mark.parametrize("dtype", ["float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"])
def test_rare_float8_types(dtype, tmp_path):
    values = torch.tensor([[0.5, 1.0, 4.0]]).to(getattr(torch, dtype))
    save_file({"fc.weight": values}, tmp_path / "a.safetensors")
    network = read_network(tmp_path / "a.safetensors")
    assert network.read(network.layers[0].parts[0])[0, :, 0].tolist() == [0.5, 1.0, 4.0]


NORMALISED = {
    "linear": lambda: (nn.Linear(5, 4), "weight", 0),
    "one output": lambda: (nn.Linear(5, 1), "weight", 0),
    "convolution": lambda: (nn.Conv1d(3, 4, 2), "weight", 0),
    "along the kernel": lambda: (nn.Conv1d(3, 4, 2), "weight", 2),
    "all entries": lambda: (nn.Linear(5, 4), "weight", None),
    "recurrent": lambda: (nn.GRU(3, 4), "weight_hh_l0", 0),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("case", NORMALISED)
def test_weight_norm(case, old, tmp_path):
    torch.manual_seed(0)
    module, name, dim = NORMALISED[case]()
    plain = {f"fc.{key}": value.clone() for key, value in module.state_dict().items()}
    normalise = nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm
    state = normalise(module, name, dim).state_dict()
    for key in state:
        if key.endswith(("_g", "original0")):
            state[key] = state[key] * 3
            plain[f"fc.{name}"] = plain[f"fc.{name}"] * 3
    save_file({f"fc.{key}": value.contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    network, expected = read_network(tmp_path / "a.safetensors"), read_network(plain)
    assert network.layers == expected.layers
    for _, part in expected.parts():
        torch.testing.assert_close(network.read(part), expected.read(part))
    reasons = sorted(note.reason.split(" of ")[0] for note in network.notes)
    assert reasons == ["direction", "length"]


def test_sizes_that_do_not_fit_compose_nothing():
    state = {"fc.weight_v": torch.ones(4, 3), "fc.weight_g": torch.ones(2, 1), "a.weight_v": torch.ones(2, 2)}
    network = read_network(state)
    assert {part.tensor for _, part in network.parts()} == {"a.weight_v"}
    assert {note.tensor for note in network.notes if "does not fit" in note.reason} == {"fc.weight_v", "fc.weight_g"}
