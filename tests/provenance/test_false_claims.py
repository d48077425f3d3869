"""Independent networks that look alike for other reasons than descent are not called related."""

import json

import pytest
import torch
from provenance.descendants import noisy, perceptron
from torch import nn

from sne import Relation, compare


def state_of(seed, change):
    return {name: change(values) for name, values in perceptron(seed).state_dict().items()}


@pytest.mark.parametrize(
    "change",
    [torch.Tensor.abs, lambda values: 1 + 0.2 * torch.randn_like(values), lambda values: torch.ones_like(values)],
    ids=["positive", "near one", "ones"],
)
def test_common_means_are_no_descent(change):
    one, other = state_of(0, change), state_of(1, lambda values: 2 * change(values))
    found = compare(one, other)
    assert found.relation is Relation.INDEPENDENT and not found.related


def test_models_of_one_layer_that_learned_the_same_are_no_relatives():
    torch.manual_seed(0)
    weight = torch.randn(10, 64)
    found = compare({"0.weight": weight}, {"0.weight": weight + 0.05 * torch.randn(10, 64)})
    assert found.relation is Relation.INDEPENDENT and found.p_value is None
    assert "no evidence of a common origin" in found.why


def recurrent(seed):
    torch.manual_seed(seed)
    module = nn.RNN(12, 32)
    nn.init.eye_(module.weight_hh_l0)
    return {**module.state_dict(), "head.weight": torch.randn(4, 32)}


def with_waves(seed):
    torch.manual_seed(seed)
    places = torch.arange(64)[:, None] / 10_000 ** (torch.arange(0, 32) / 32)
    return {"freq.weight": places.sin(), "mix.weight": torch.randn(48, 32), "out.weight": torch.randn(5, 48)}


@pytest.mark.parametrize("make", [recurrent, with_waves])
def test_equal_matrices_that_follow_a_rule_are_no_descent(make):
    assert compare(make(0), make(1)).relation is Relation.INDEPENDENT


def test_masks_are_no_descent():
    """Units that differ by a common mask are not exchangeable."""
    mask = torch.block_diag(*[torch.ones(8, 4)] * 4)

    def masked(seed):
        state = perceptron(seed, (16, 32, 24, 4)).state_dict()
        return {**state, "0.weight": state["0.weight"] * mask}

    found = compare(masked(0), masked(1))
    assert found.relation is Relation.INDEPENDENT and found.p_value is not None and found.p_value > 1e-3


def test_a_stranger_is_no_merge_of_parents_that_are_almost_equal():
    state = perceptron(0).state_dict()
    other = {**state, "4.bias": state["4.bias"] + 1}
    stranger = {**perceptron(7).state_dict(), "4.bias": state["4.bias"] + 0.5}
    found = compare(stranger, state, other)
    assert found.relation is Relation.INDEPENDENT and found.why.startswith("not a weighted mean")


def test_a_reset_head_is_not_pruned():
    state = perceptron(0).state_dict()
    assert compare(state, {**state, "4.weight": torch.zeros(4, 24)}).relation is Relation.PARTIAL
    empty = {name: torch.zeros_like(values) for name, values in state.items()}
    assert compare(empty, state).relation is Relation.INDEPENDENT


def test_what_was_removed_is_missing_in_the_child():
    state = perceptron(0).state_dict()
    left, sizes, right = torch.linalg.svd(state["2.weight"], full_matrices=False)
    removed = {**state, "2.weight": state["2.weight"] - (left[:, :2] * sizes[:2]) @ right[:2]}
    found = compare(state, removed)
    assert found.relation is Relation.LOW_RANK and found.direction == "second from first"
    rows = state["0.weight"].clone()
    rows[:2] = torch.randn(2, 16) * rows.std()
    assert compare(state, {**state, "0.weight": rows}).direction is None


def test_huge_and_tiny_weights_give_plain_numbers():
    state = perceptron(0).state_dict()
    for scale in (1e25, 1e-30):
        big = {name: values * scale for name, values in state.items()}
        found = compare(big, noisy(big, 0.2))
        assert json.dumps(found.to_json(), allow_nan=False)
        assert found.relation is Relation.FINE_TUNE and found.layers[0].cosine > 0.9


def test_directions_of_fine_tunes_are_never_certain():
    state = perceptron(0).state_dict()
    found = compare(state, noisy(state, 0.3))
    assert found.relation is Relation.FINE_TUNE
    assert found.direction == "second from first" and 0.6 <= found.confidence < 1
    matrices = {name: values for name, values in state.items() if name.endswith("weight")}
    found = compare(matrices, noisy(matrices, 0.3))
    assert found.relation is Relation.FINE_TUNE and found.direction is None and found.confidence == 0
