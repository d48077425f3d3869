"""Integers and float8 with scales are read as the weights they stand for."""

import pytest
import torch
from safetensors.torch import save_file

from sne.checkpoints import read_network

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
    assert all("of fc.weight, applied" in reason for reason in notes.values())


def test_integers_without_scale_are_noted():
    network = read_network({"fc.weight": VALUES, "x.weight": torch.ones(2, 2)})
    assert [layer.name for layer in network.layers] == ["x"]
    assert network.notes[0].tensor == "fc.weight"
