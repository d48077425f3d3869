"""Independent networks that look alike for other reasons than descent are not called related."""

import json

import pytest
import torch
from provenance.descendants import noisy, perceptron, pruned
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


def at_random(state, share, seed):
    """A state in which a share of the entries of matrices, drawn at random, is zero."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: values * (torch.rand(values.shape, generator=generator) > share) if values.ndim > 1 else values
        for name, values in state.items()
    }


def without_rows(state, numbers):
    """A state whose units of the first layer with some numbers are zero."""
    made = {name: values.clone() for name, values in state.items()}
    made["0.weight"][numbers], made["0.bias"][numbers] = 0, 0
    return made


def test_pruned_copies_of_one_network_are_not_made_from_each_other():
    state = perceptron(0, (32, 48, 40, 8)).state_dict()
    by_size = {name: pruned(values, 0.3) for name, values in state.items()}
    first_layer = {**state, "0.weight": pruned(state["0.weight"], 0.5)}
    second_layer = {**state, "2.weight": pruned(state["2.weight"], 0.5)}
    rows = without_rows(state, [1, 5, 7, 20]), without_rows(state, [1, 5, 9, 30, 31, 40])
    copies = [(by_size, at_random(state, 0.9, 1)), (at_random(state, 0.5, 2), at_random(state, 0.5, 3))]
    for one, other in (*copies, (first_layer, second_layer), rows, (by_size, rows[0])):
        found = compare(one, other)
        assert (found.relation, found.direction, found.confidence) == (Relation.PRUNED, None, 0)
        assert "neither was made from the other" in found.why and found.is_exact
        assert compare(state, one).direction == "second from first" and compare(state, one).confidence == 1


def test_rounded_tensors_of_one_copy_and_zeros_of_the_other_have_no_direction():
    state = perceptron(0, (32, 48, 40, 8)).state_dict()
    rounded = {**state, "0.weight": state["0.weight"].half().float()}
    zeros = {**state, "2.weight": pruned(state["2.weight"], 0.5)}
    for found in (compare(rounded, zeros), compare(zeros, rounded)):
        assert (found.relation, found.direction, found.confidence) == (Relation.PRUNED, None, 0)
        assert "rounded in the other one" in found.why and "a third network" in found.why
        assert " 0%" not in found.why and "equal" not in found.why


def test_zeros_of_their_own_beside_rounded_tensors_are_not_called_equal():
    state = perceptron(0, (32, 48, 40, 8)).state_dict()
    one, other = at_random(state, 0.5, 2), at_random(state, 0.5, 3)
    found = compare({**one, "0.bias": state["0.bias"].half().float()}, other)
    assert (found.relation, found.direction) == (Relation.PRUNED, None)
    assert "equal, but for rounding: neither" in found.why
    found = compare(state, {**one, "0.bias": state["0.bias"].half().float()})
    assert found.direction == "second from first" and "equal, but for rounding" in found.why
    assert "rounding" not in compare(one, other).why and "rounding" not in compare(state, one).why


def test_few_zeros_are_not_called_none():
    torch.manual_seed(0)
    state = {"0.weight": torch.randn(400, 200), "2.weight": torch.randn(300, 400), "4.weight": torch.randn(5, 300)}
    few = {**state, "2.weight": state["2.weight"] * (torch.rand(300, 400) > 0.002)}
    found = compare(state, few)
    assert found.relation is Relation.PRUNED and found.why.startswith("less than 1% of the entries")
    assert [layer.detail for layer in found.layers if layer.detail] == ["less than 1% of entries"]


def with_mask(state, size):
    """A state with noise of a size relative to each tensor, in entries that are not zero."""
    return {name: values * (state[name] != 0) for name, values in noisy(state, size).items()}


def test_no_zeros_tell_the_direction_of_pruned_copies_that_were_trained():
    state = perceptron(0, (32, 48, 40, 8)).state_dict()
    one, other = ({name: pruned(values, 0.3) for name, values in state.items()}, at_random(state, 0.9, 1))
    found = compare(one, with_mask(other, 0.02))
    assert found.related and found.direction is None


def test_further_pruning_may_have_been_pruning_of_a_third_network():
    state = perceptron(0).state_dict()
    some, more = ({name: pruned(values, share) for name, values in state.items()} for share in (0.3, 0.6))
    found = compare(some, more)
    assert (found.relation, found.direction) == (Relation.PRUNED, "second from first")
    assert found.confidence < 1 and "a third one" in found.why


def test_pruned_networks_that_were_trained_with_their_mask_are_relatives():
    sparse = {name: pruned(values, 0.5) for name, values in perceptron(0).state_dict().items()}
    assert compare(sparse, with_mask(sparse, 0.1)).relation is Relation.FINE_TUNE
    for kept in (lambda values: values, lambda values: 1 + values.abs()):
        one, other = ({name: kept(values) for name, values in perceptron(seed).state_dict().items()} for seed in (1, 2))
        masked = [{name: values * (sparse[name] != 0) for name, values in some.items()} for some in (one, other)]
        assert compare(*masked).relation is Relation.INDEPENDENT


def with_filters(seed, filters):
    torch.manual_seed(seed)
    return {
        "conv1.weight": filters,
        "conv2.weight": torch.randn(64, len(filters), 3, 3),
        "conv3.weight": torch.randn(128, 64, 3, 3),
        "fc.weight": torch.randn(10, 128),
    }


def log_gabor(size=16):
    """Filters that are smooth, and no table of waves."""
    down, across = torch.meshgrid(*[torch.fft.fftfreq(size)] * 2, indexing="ij")
    radius, angle = (down**2 + across**2).sqrt().clamp_min(1e-3), torch.atan2(down, across)

    def one(scale, turn):
        beside = (angle - turn + torch.pi) % (2 * torch.pi) - torch.pi
        response = torch.exp(-((radius / scale).log() ** 2 + beside**2) / 0.5)
        return torch.fft.fftshift(torch.fft.ifft2(response).real)

    return torch.stack([one(scale, turn * torch.pi / 8) for scale in (0.1, 0.2, 0.3) for turn in range(8)])[:, None]


@pytest.mark.parametrize("filters", [torch.randn(24, 1, 5, 5), log_gabor()], ids=["random", "smooth"])
def test_equal_filters_of_strangers_are_a_constant(filters):
    state = with_filters(1, filters)
    assert compare(state, with_filters(2, filters)).relation is Relation.INDEPENDENT
    assert compare(state, {**noisy(state, 1.0), "conv1.weight": filters}).related


@pytest.mark.parametrize("sizes", [(64, 40, 6), (64, 48, 48, 6)])
def test_a_frozen_head_is_no_constant_where_no_other_units_are_left(sizes):
    """Leaving out the units that the head reads would leave out all: layers of one width are one group."""
    state = perceptron(0, sizes).state_dict()
    head = {name: values for name, values in state.items() if name.startswith(f"{2 * (len(sizes) - 2)}.")}
    tuned = {**noisy(state, 1.2), **head}
    found = compare(state, tuned)
    assert found.related and found.p_value < 1e-12
    assert (
        compare(state, {**perceptron(1, sizes).state_dict(), "0.bias": state["0.bias"]}).relation
        is Relation.INDEPENDENT
    )


def test_zeros_of_their_own_leave_no_direction_beside_equal_layers():
    state = perceptron(0, (32, 48, 40, 8)).state_dict()
    one, other = at_random(state, 0.5, 2), at_random(state, 0.5, 3)
    equal = {name: values for name, values in state.items() if name.startswith("2.")}
    biased = {**with_mask(other, 0.1), **equal, "0.bias": 3 * other["0.bias"]}
    found = compare({**one, **equal}, biased)
    assert (found.relation, found.direction) == (Relation.PARTIAL, None)
