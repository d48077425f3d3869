"""What makes predictions warn."""

import gc

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import sne
from sne import read_network
from sne.predictors import Predictor
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


def test_what_was_read_in_part_is_outside_the_known_domain():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10))
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    predictor = Predictor.from_pretrained()
    whole = model.state_dict()
    broken = {**whole, "2.weight": whole["2.weight"].clone().index_fill(0, torch.tensor([3]), torch.nan)}
    assert predictor.predict([whole])[0].in_domain
    (found,) = [
        one
        for one in predictor.predict([read_network(broken, allow_nonfinite=True)])
        if one.property == "test_accuracy"
    ]
    assert found.in_domain is False and found.p_value == 0


def test_doubts_of_a_network_are_found_once(tmp_path, monkeypatch):
    import sne.predictors.doubts as module

    asked, find = [], module._find

    def counting(network):
        asked.append(network.name)
        return find(network)

    monkeypatch.setattr(module, "_find", counting)
    paths = [str(tmp_path / f"{number}.pt") for number in range(3)]
    for path in paths:
        torch.save({"a.lora_A.weight": torch.randn(2, 8), "a.lora_B.weight": torch.randn(8, 2)}, path)
    told = {}
    predictor = sne.Predictor.from_pretrained()
    found = [one for block in predictor.predict_blocks(paths, tell=told.__setitem__) for one in block.names]
    assert found == sorted(asked) == sorted(told) == paths
    network = sne.read_network(paths[0])
    first = doubts(network)
    first.append("changed by its caller")
    assert doubts(network) == first[:-1]
    known = id(network)
    assert known in module._KNOWN
    del network
    gc.collect()
    assert known not in module._KNOWN


def test_a_new_head_is_told_of_whatever_was_read_before_but_not_under_a_budget(caplog):
    torch.manual_seed(0)
    state = {"0.weight": torch.randn(24, 24), "0.bias": torch.randn(24)}
    state |= {f"2.{name}": values for name, values in nn.Linear(24, 10).state_dict().items()}
    predictor = Predictor.from_pretrained()
    for source in (state, read_network(state, name="read"), [read_network(state, name="one of several")]):
        caplog.clear()
        predictor.predict(source)
        (line,) = [record.getMessage() for record in caplog.records if "untrained" in record.getMessage()]
        assert line.endswith(": the last layer (2) looks untrained")
    caplog.clear()
    predictor.predict(read_network(state), budget=500)
    trained = state | {"2.weight": state["2.weight"] * 2}
    predictor.predict(read_network(trained))
    assert "untrained" not in caplog.text
