"""What makes predictions warn."""

import pytest
import torch
from torch import nn

from sne import read_network
from sne.predictors.doubts import doubts

BASE = {"q.base_layer.weight": torch.ones(8, 8)}
LORA = {"q.lora_A.weight": torch.ones(2, 8), "q.lora_B.weight": torch.ones(8, 2)}


def test_whole_networks_raise_no_doubts():
    for module in (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.LSTM(3, 4),
                   nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))):  # fmt: skip
        assert doubts(read_network(module)) == []
    tied = torch.ones(50, 4)
    assert doubts(read_network({"wte.weight": tied, "fc.weight": torch.ones(4, 4), "lm_head.weight": tied})) == []


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": torch.ones(3, 3, 3), "b": torch.ones(2, 2, 2)}, "no layer was recognised"),
        ({"fc.weight": torch.ones(2, 2), "qweight": torch.ones(4, 4, dtype=torch.int32)}, "80% of the entries"),
        (LORA, "an adapter and no whole network"),
        ({**BASE, **LORA}, "an adapter that is not merged"),
    ],
)
def test_odd_networks_do(state, words):
    assert any(words in doubt for doubt in doubts(read_network(state)))


def test_layers_that_are_left_out_for_nan_are_named():
    state = {f"{n}.weight": torch.ones(2, 2) for n in range(9)} | {"3.bias": torch.ones(2)}
    for n in range(7):
        state[f"{n}.weight"][0, 1] = torch.inf if n % 2 else torch.nan
    (doubt,) = [one for one in doubts(read_network(state, allow_nonfinite=True)) if "NaN" in one]
    names = ", ".join(f"{n}.weight" for n in range(5))
    assert doubt == f"layers were left out for NaN or infinite values in {names} and 2 more"
    sound = {name: torch.ones(2, 2) for name in ("a.weight", "b.weight")}
    assert doubts(read_network(sound, allow_nonfinite=True)) == []


@pytest.mark.filterwarnings("ignore")
def test_folded_batch_norms_do(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    torch.onnx.export(module, (torch.zeros(1, 3, 8, 8),), str(tmp_path / "a.onnx"), dynamo=False)
    assert any("batch norm into" in doubt for doubt in doubts(read_network(tmp_path / "a.onnx")))
