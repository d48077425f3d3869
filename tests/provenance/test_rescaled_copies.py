"""Copies whose units were permuted, rescaled and flipped, by symmetries that are stored or have to be assumed."""

from dataclasses import replace

import pytest
import torch
from provenance.descendants import cnn, copy_of, noisy, perceptron, vision_transformer
from torch import nn

from sne import Relation, compare, read_network, symmetry
from sne.provenance.assumed import assumed_symmetry, with_norms
from sne.provenance.states import renamed
from sne.symmetry import symmetry_by_name
from sne.symmetry.symmetry import Group, Span, Symmetry


class Knowing:
    """A source of tensors that stores the symmetry of its network."""

    def __init__(self, source, found):
        self.symmetry, self._source = found, source

    def __getattr__(self, name):
        return getattr(self._source, name)


def knowing(module, inputs):
    network = read_network(module.state_dict())
    return replace(network, source=Knowing(network.source, symmetry.trace(module, (inputs,))))


@pytest.mark.parametrize("prefix", ["", "body."])
def test_the_symmetry_that_either_network_stores_is_used(prefix):
    """The wide layers are equally wide, so that names alone are not certain."""
    module, inputs = perceptron(0, (16, 24, 24, 4)), torch.zeros(2, 16)
    changed = copy_of(module, inputs, kinds=("permutation", "scaling"))
    changed = {prefix + name: values for name, values in changed.items()}
    for pair in ((knowing(module, inputs), changed), (changed, knowing(module, inputs))):
        found = compare(*pair)
        assert found.relation is Relation.SAME_FUNCTION and not found.assumed
        assert found.aligned == ("scales changed", "units moved") and found.p_value is not None


@pytest.mark.parametrize("scale", [3.0, 1e20, 1e-25])
@pytest.mark.parametrize("is_permuted", [False, True])
def test_layers_of_very_different_scales_are_aligned(scale, is_permuted):
    module = perceptron(0)
    state = module.state_dict()
    copied = copy_of(module, torch.zeros(2, 16)) if is_permuted else dict(state)
    copied["0.weight"], copied["0.bias"] = copied["0.weight"] * scale, copied["0.bias"] * scale
    copied["2.weight"] = copied["2.weight"] / scale
    found = compare(state, copied)
    assert found.relation is Relation.SAME_FUNCTION and "scales changed" in found.aligned
    other = perceptron(1).state_dict()
    other["0.weight"], other["2.weight"] = other["0.weight"] * scale, other["2.weight"] / scale
    assert compare(state, other).relation is Relation.INDEPENDENT


def test_signs_that_batch_norms_hide_are_found():
    module = cnn(0)
    copied = copy_of(module, torch.zeros(1, 3, 9, 9), kinds=("permutation", "sign"))
    assert bool((copied["1.weight"] < 0).any())
    found = compare(module.state_dict(), copied)
    assert found.relation is Relation.SAME_FUNCTION and "signs flipped" in found.aligned and found.assumed


@pytest.mark.parametrize("kinds", [("permutation",), ("permutation", "scaling", "sign")])
def test_heads_and_channels_of_transformers_are_found(kinds):
    state = vision_transformer(0)
    moves = assumed_symmetry(read_network(state))
    found = compare(state, symmetry.apply(symmetry.sample(moves, seed=1, kinds=kinds), state))
    assert found.relation is Relation.SAME_FUNCTION and found.assumed == "attentions have one head"
    assert compare(state, vision_transformer(1)).relation is Relation.INDEPENDENT


def test_flipped_recurrent_units_are_found():
    torch.manual_seed(0)
    state = {f"rnn.{name}": values.detach() for name, values in nn.GRU(8, 16).named_parameters()}
    state |= {"head.weight": torch.randn(4, 16), "head.bias": torch.randn(4)}
    moves = assumed_symmetry(read_network(state))
    assert [group.kinds for group in moves.groups] == [("permutation", "sign")]
    copied = symmetry.apply(symmetry.sample(moves, seed=1, kinds=("permutation", "sign")), state)
    found = compare(state, copied)
    assert found.relation is Relation.SAME_FUNCTION and found.aligned == ("units moved", "signs flipped")
    assert compare(state, noisy(copied, 0.05)).related


def test_norms_hide_signs_without_a_change_of_the_function():
    module, inputs = cnn(0), torch.randn(2, 3, 9, 9)
    module[1].running_mean.normal_()
    network = read_network(module.state_dict())
    moves = with_norms(symmetry_by_name(network), network)
    before = module(inputs)
    module.load_state_dict(symmetry.apply(symmetry.sample(moves, seed=0, kinds=("sign",)), module.state_dict()))
    assert bool((module[1].weight < 0).any()) and torch.allclose(module(inputs), before, atol=1e-5)


def test_groups_without_all_their_tensors_are_left_out():
    groups = (
        Group("a", 3, (Span("x", 0, power=1), Span("y", 1, power=-1)), ("permutation", "scaling")),
        Group("b", 2, (Span("y", 0),), ("permutation",)),
    )
    found = renamed(Symmetry(groups, shapes={"x": (3,), "y": (2, 3)}), {"y": "z"})
    assert [(group.name, group.spans) for group in found.groups] == [("b", (Span("z", 0),))]
    assert found.shapes == {"z": (2, 3)}
