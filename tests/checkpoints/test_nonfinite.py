"""NaN and infinite values: refused in weights, left out on request."""

import pytest
import torch
from torch import nn

from sne.checkpoints import CheckpointError, read_network


def with_nan():
    torch.manual_seed(0)
    state = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).state_dict()
    state["2.weight"][1, :2] = torch.tensor([float("nan"), float("-inf")])
    return state


def test_the_error_names_tensor_layer_and_count():
    network = read_network(with_nan())
    with pytest.raises(CheckpointError, match=r"'2.weight' has 2 NaN or infinite values of 16, in layer '2'; .*allow"):
        network.read(network.layers[1].parts[0])


def test_on_request_the_layer_is_left_out_with_all_of_its_tensors():
    network = read_network(with_nan(), allow_nonfinite=True)
    assert [(layer.name, layer.level) for layer in network.layers] == [("0", 0), ("4", 2)]
    for _, part in network.parts():
        assert network.read(part).isfinite().all()
    reasons = {note.tensor: note.reason for note in network.notes}
    assert reasons["2.weight"] == "2 of 16 values are NaN or infinite; the layer is left out"
    assert "left out" in reasons["2.bias"] and len(reasons) == 2


def test_one_bad_value_of_a_fused_tensor_takes_its_pieces_along():
    state = nn.MultiheadAttention(4, 2).state_dict()
    state["in_proj_weight"][0, 0] = float("nan")
    network = read_network({f"attn.{name}": tensor for name, tensor in state.items()}, allow_nonfinite=True)
    assert [layer.type.value for layer in network.layers] == ["attention_out"]
    assert {note.tensor for note in network.notes} == {"attn.in_proj_weight", "attn.in_proj_bias"}


def test_finite_networks_are_unchanged_and_empty_ones_refused():
    state = nn.Linear(3, 2).state_dict()
    assert read_network(state, allow_nonfinite=True).layers == read_network(state).layers
    state["weight"][0] = float("nan")
    with pytest.raises(CheckpointError, match="every layer"):
        read_network(state, allow_nonfinite=True)


def test_constants_and_masks_with_infinity_are_set_aside():
    state = {"fc.weight": torch.ones(3, 3), "fc.bias": torch.ones(3), "floor": torch.tensor([float("-inf"), 1.0]),
             "odd.table": torch.full((2, 3, 4), float("nan")), "fine": torch.ones(2)}  # fmt: skip
    network = read_network(state)
    assert {part.tensor for _, part in network.parts()} == {"fc.weight", "fc.bias", "fine"}
    reasons = {note.tensor: note.reason for note in network.notes}
    assert "no weight; set aside" in reasons["floor"] and "no weight; set aside" in reasons["odd.table"]
    state["odd.weight"] = torch.full((2, 2, 2, 2, 2, 2), float("nan"))
    assert "odd.weight" in {part.tensor for _, part in read_network(state).parts()}
    state["fc.weight"][0, 0] = float("inf")
    with pytest.raises(CheckpointError, match=r"'fc.weight' has 1 NaN"):
        read_network(state).source.load("fc.weight")
