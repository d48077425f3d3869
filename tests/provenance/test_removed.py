"""Blocks that were removed and renumbered, and layers with fewer units."""

import re

import pytest
import torch
from provenance.descendants import cnn, noisy, perceptron, pruned
from torch import nn

import sne
from sne.provenance.blocks import renumbered_pairs
from sne.provenance.kept_units import kept_units
from sne.provenance.places import places_of

WIDTH = 32


class Block(nn.Module):
    """Two matrices and a norm."""

    def __init__(self):
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(3 * WIDTH, WIDTH), nn.LayerNorm(WIDTH)


def deep(seed, blocks=6):
    """The state of a network of equal blocks."""
    torch.manual_seed(seed)
    parts = {"inputs": nn.Linear(10, WIDTH), "layers": nn.ModuleList(Block() for _ in range(blocks))}
    return nn.ModuleDict({**parts, "head": nn.Linear(WIDTH, 5)}).state_dict()


def without_blocks(state, gone):
    """The state without some blocks; the others are renumbered."""
    made, left = {}, [number for number in range(6) if number not in gone]
    for name, values in state.items():
        found = re.match(r"layers\.(\d+)\.(.*)", name)
        if found is None:
            made[name] = values
        elif int(found[1]) in left:
            made[f"layers.{left.index(int(found[1]))}.{found[2]}"] = values
    return made


def with_units(state, kept):
    """The state with some of the hidden units of each block."""
    made = dict(state)
    for number in range(6):
        for name in ("up.weight", "up.bias"):
            made[f"layers.{number}.{name}"] = state[f"layers.{number}.{name}"][kept]
        made[f"layers.{number}.down.weight"] = state[f"layers.{number}.down.weight"][:, kept]
    return made


@pytest.mark.parametrize("gone", [(1, 4), (0,), (5,)])
def test_removed_blocks_are_named(gone):
    state = deep(0)
    found = sne.compare(state, without_blocks(state, gone))
    assert (found.relation, found.direction, found.confidence) == (sne.Relation.PRUNED, "second from first", 1)
    assert ", ".join(f"layers.{number}" for number in gone) in found.why
    assert sne.compare(without_blocks(state, gone), state).direction == "first from second"


def test_what_is_left_may_be_rounded_or_trained_further():
    state = deep(0)
    small = without_blocks(state, (1, 4))
    found = sne.compare(state, {name: values.half() for name, values in small.items()})
    assert (found.relation, found.confidence) == (sne.Relation.PRUNED, 1) and "float16" in found.why
    found = sne.compare(state, noisy(small, 0.1))
    assert found.relation is sne.Relation.PRUNED and 0.5 < found.confidence < 1


@pytest.mark.parametrize("share", [0.36, 0.6])
def test_blocks_that_a_further_pruned_copy_lacks_are_named(share):
    state = deep(0)
    parent = {name: pruned(values, 0.3) for name, values in state.items()}
    child = {name: pruned(values, share) for name, values in without_blocks(state, (2,)).items()}
    found = sne.compare(parent, child)
    assert (found.relation, found.direction, found.confidence) == (sne.Relation.PRUNED, "second from first", 0.9)
    assert "1 block removed (layers.2)" in found.why and "set to zero" in found.why and "a third one" in found.why
    assert "trained" not in found.why and "differ" not in found.why
    assert sne.compare(child, parent).direction == "first from second"


def at_random(state, share, seed):
    """A state in which a share of the entries of matrices, drawn at random, is zero."""
    torch.manual_seed(seed)
    return {
        name: values * (torch.rand(values.shape) > share) if values.ndim > 1 else values
        for name, values in state.items()
    }


def other_zeros(state):
    return at_random(state, 0.4, 1), at_random(without_blocks(state, (2,)), 0.4, 2)


def whole_pruned(state):
    return {name: pruned(values, 0.4) for name, values in state.items()}, without_blocks(state, (2,))


def whole_rounded(state):
    return {name: values.half().float() for name, values in state.items()}, without_blocks(state, (2,))


@pytest.mark.parametrize("copies", [other_zeros, whole_pruned, whole_rounded])
def test_a_copy_without_a_block_and_another_changed_copy_have_no_direction(copies):
    one, other = copies(deep(0))
    for found in (sne.compare(one, other), sne.compare(other, one)):
        assert (found.relation, found.direction, found.confidence) == (sne.Relation.PRUNED, None, 0)
        assert found.is_exact and "1 block removed (layers.2)" in found.why and "a third network" in found.why


def test_blocks_that_a_pruned_and_trained_copy_lacks_are_named():
    state = deep(0)
    small = without_blocks(state, (2,))

    def pruned_and_trained(some):
        zeros = {name: pruned(values, 0.4) for name, values in some.items()}
        return {name: values * (zeros[name] != 0) for name, values in noisy(zeros, 0.1).items()}

    found = sne.compare(state, pruned_and_trained(small))
    assert (found.relation, found.direction, found.confidence) == (sne.Relation.PRUNED, "second from first", 0.9)
    assert "1 block removed (layers.2); many entries of one network are zero" in found.why
    found = sne.compare(pruned_and_trained(state), small)
    assert (found.relation, found.direction, found.confidence) == (sne.Relation.PRUNED, None, 0)
    assert "1 block removed (layers.2)" in found.why and not found.is_exact


def test_a_shallower_stranger_is_independent():
    found = sne.compare(deep(0), deep(1, blocks=4))
    assert found.relation is sne.Relation.INDEPENDENT
    one, other = sne.read_network(deep(0)), sne.read_network(deep(1, blocks=4))
    assert not list(renumbered_pairs(list(places_of(one)), list(places_of(other)), one, other))


def test_a_network_without_its_head_is_not_pruned():
    state = deep(0)
    found = sne.compare(state, {name: values for name, values in state.items() if "head" not in name})
    assert found.relation is sne.Relation.PARTIAL


@pytest.mark.parametrize("is_in_order", [True, False])
def test_fewer_units_are_found_in_any_order(is_in_order):
    state = deep(0)
    kept = torch.randperm(3 * WIDTH, generator=torch.Generator().manual_seed(0))[:70]
    small = with_units(state, kept.sort().values if is_in_order else kept)
    found = sne.compare(state, small)
    assert (found.relation, found.direction, found.confidence) == (sne.Relation.PRUNED, "second from first", 1)
    assert f"{6 * 26} of {6 * 96} units" in found.why
    assert sne.compare(small, state).direction == "first from second"
    renamed = {name.replace("layers", "h"): values for name, values in small.items()}
    assert sne.compare(state, renamed).relation is sne.Relation.PRUNED
    assert all(layer.equal == 1 for layer in found.layers)


def test_fewer_channels_are_found():
    state, few, some = cnn(0).state_dict(), torch.tensor([0, 2, 3, 7, 9, 15]), torch.arange(0, 24, 2)
    small = {name: values[few] if name[0] in "01" and values.ndim else values for name, values in state.items()}
    small["3.weight"], small["3.bias"] = state["3.weight"][some][:, few], state["3.bias"][some]
    small["7.weight"] = state["7.weight"][:, some]
    found = sne.compare(state, small)
    assert (found.relation, found.related) == (sne.Relation.PRUNED, True) and "22 of 40 units" in found.why


def test_strangers_with_fewer_units_are_not_pruned():
    kept = torch.arange(70)
    for stranger in (with_units(deep(1), kept), noisy(with_units(deep(0), kept), 1e-3)):
        assert kept_units(sne.read_network(deep(0)), sne.read_network(stranger)) is None
    one, other = perceptron(0), perceptron(1, (16, 24, 20, 4))
    assert not sne.compare(one.state_dict(), other.state_dict()).related


def test_a_smaller_vocabulary_is_not_pruned():
    words = {"embed.weight": torch.randn(100, 16), "fc.weight": torch.randn(24, 16), "head.weight": torch.randn(9, 24)}
    found = sne.compare(words, {**words, "embed.weight": words["embed.weight"][:80]})
    assert found.related and found.relation is not sne.Relation.PRUNED


@pytest.mark.parametrize("sizes", [(2, 4, 1), (8, 16, 4)])
@pytest.mark.parametrize("kind", ["constant", "signs"])
def test_equal_values_by_chance_are_no_removed_units(sizes, kind):
    def network(inputs, hidden, outputs):
        generator = torch.Generator().manual_seed(hidden)
        shapes = {"0.weight": (hidden, inputs), "2.weight": (outputs, hidden)}
        signs = {name: torch.randn(shape, generator=generator).sign() for name, shape in shapes.items()}
        values = signs if kind == "signs" else {name: torch.full(shape, 0.1) for name, shape in shapes.items()}
        return values | {"0.bias": torch.zeros(hidden), "2.bias": torch.zeros(outputs)}

    inputs, hidden, outputs = sizes
    small = network(inputs, hidden // 2, outputs)
    assert kept_units(sne.read_network(network(*sizes)), sne.read_network(small)) is None


def test_removed_inputs_are_named():
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).state_dict()
    found = sne.compare(whole, whole | {"0.weight": whole["0.weight"][:, :5].clone()})
    assert (found.relation, found.why) == ("pruned", "some inputs removed; the others are equal")
