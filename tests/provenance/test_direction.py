"""The direction of a fine-tune: biases and scales move away from where they start."""

import pytest
import torch

from sne import Relation, compare, read_network
from sne.provenance.direction import LEAST_CONFIDENCE, MOST_CONFIDENCE, are_even, departures, growth
from sne.provenance.evidence import compare_pair
from sne.provenance.matching import match


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


def test_the_norm_grows_by_the_distance_from_a_parent_and_not_between_siblings():
    torch.manual_seed(0)
    parent = {"0.weight": torch.randn(64, 64), "1.weight": torch.randn(64, 64)}
    one, other = ({name: values + 0.3 * torch.randn(64, 64) for name, values in parent.items()} for _ in range(2))
    to_child, between = compare(parent, one).layers, compare(one, other).layers
    assert growth(to_child) == pytest.approx(1, abs=0.2) and not are_even(to_child)
    assert growth(between) < 0.2 and are_even(between)
    assert compare(parent, one).relation is Relation.FINE_TUNE
    siblings = compare(one, other)
    assert (siblings.relation, siblings.direction) == (Relation.SAME_START, None)
    assert siblings.why.startswith("neither network looks trained further")


def test_a_matrix_whose_units_have_another_order_makes_no_siblings():
    torch.manual_seed(0)
    parent = {f"{number}.weight": torch.randn(64, 64) for number in range(4)}
    child = {name: 1.01 * values + 0.1 * torch.randn(64, 64) for name, values in parent.items()}
    child["1.weight"] = parent["1.weight"].flip(0)
    one, other = read_network(parent), read_network(child)
    stored = [compare_pair(one, other, pair) for pair in match(one, other).pairs]
    assert stored[1].norms[0] == pytest.approx(stored[1].norms[1])
    assert not are_even(stored)


def test_networks_in_different_orders_are_not_siblings():
    torch.manual_seed(0)
    parent = {f"{number}.weight": torch.randn(64, 64) for number in range(3)}
    child = {name: 1.001 * values[torch.randperm(64)] for name, values in parent.items()}
    one, other = read_network(parent), read_network(child)
    stored = [compare_pair(one, other, pair) for pair in match(one, other).pairs]
    assert growth(stored) < 0.25 and not are_even(stored)


def test_a_likely_direction_makes_no_siblings():
    torch.manual_seed(0)
    start = {"0.weight": torch.randn(64, 64), "0.bias": 0.1 * torch.randn(64), "1.weight": torch.randn(64, 64)}
    one, other = ({name: values + 0.2 * torch.randn_like(values) for name, values in start.items()} for _ in range(2))
    one["0.bias"], other["0.bias"] = start["0.bias"], 2 * start["0.bias"]
    found = compare(one, other)
    assert growth(found.layers) < 0.25
    assert (found.relation, found.direction) == (Relation.FINE_TUNE, "second from first")


def test_signs_of_scales_say_nothing_of_the_direction():
    state, other = states(1.5)
    flipped = {**other, "1.weight": -other["1.weight"]}
    assert departures(compare(state, flipped).layers) == departures(compare(state, other).layers)
