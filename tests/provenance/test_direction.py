"""The direction of a fine-tune: biases and scales move away from where they start."""

import torch

from sne import compare
from sne.provenance.direction import LEAST_CONFIDENCE, MOST_CONFIDENCE, departures


def states(scale):
    torch.manual_seed(0)
    state = {
        "0.weight": torch.randn(32, 16), "0.bias": 0.1 * torch.randn(32),
        "1.weight": 1 + 0.1 * torch.randn(32), "1.bias": torch.zeros(32), "2.weight": torch.randn(4, 32),
    }  # fmt: skip
    other = {name: values + 0.02 * torch.randn_like(values) for name, values in state.items()}
    other["0.bias"] = state["0.bias"] * scale
    other["1.weight"] = 1 + (state["1.weight"] - 1) * scale
    return state, other


def test_the_network_whose_biases_and_scales_moved_further_is_the_child():
    state, other = states(1.5)
    found = compare(state, other)
    assert found.direction == "second from first" and LEAST_CONFIDENCE <= found.confidence <= MOST_CONFIDENCE
    assert min(departures(found.layers)) > 0
    back = compare(other, state)
    assert back.direction == "first from second" and back.confidence == found.confidence


def test_no_direction_where_biases_and_scales_are_alike():
    state, other = states(1.0)
    other["1.bias"] = state["1.bias"]
    assert compare(state, other).direction is None
