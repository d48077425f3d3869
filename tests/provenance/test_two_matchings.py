"""The test of units in any order, where incoming weights foretell outgoing ones."""

from itertools import combinations

import numpy as np
import pytest
import torch

from sne import Relation, compare, read_network
from sne.making.families import FAMILIES
from sne.provenance import two_matchings
from sne.provenance.fixed_points import Agreement
from sne.provenance.independence import judge_independence
from sne.provenance.two_matchings import _agreement, _beyond_chance, _with_rows, agreements_in_any_order
from sne.provenance.units import Units, _without
from sne.symmetry import apply, sample, symmetry_by_name, symmetry_of, trace


def units_of(state):
    network = read_network(state)
    return Units(symmetry_of(network), network, state)


def tied_autoencoder(seed, *, is_rotated, inputs=60, units=48):
    """An autoencoder of which the outgoing weights are the incoming ones, perhaps rotated, with noise."""
    generator = torch.Generator().manual_seed(seed)
    incoming, noise = torch.randn(2, units, inputs, generator=generator)
    incoming = torch.linalg.qr(incoming.mT)[0].mT * 8  # units of one network learn different things
    rotation = torch.linalg.qr(torch.randn(inputs, inputs, generator=torch.Generator().manual_seed(9)))[0]
    outgoing = incoming @ rotation if is_rotated else incoming
    state = {"0.weight": incoming, "0.bias": torch.randn(units, generator=generator)}
    return state | {"2.weight": (outgoing + 0.5 * noise).mT.contiguous(), "2.bias": torch.zeros(inputs)}


@pytest.mark.parametrize("is_rotated", [False, True])
def test_independent_networks_whose_incoming_weights_foretell_the_outgoing_ones(is_rotated):
    """As in autoencoders and denoisers: the two matchings agree, although nothing is in common."""
    states = [tied_autoencoder(seed, is_rotated=is_rotated) for seed in range(6)]
    units = units_of(states[0])
    for one, other in combinations(states, 2):
        found = judge_independence(one, other, units)
        assert found.p_value is not None and found.p_value > 1e-3


@pytest.mark.parametrize("is_rotated", [False, True])
def test_permuted_children_whose_incoming_weights_foretell_the_outgoing_ones(is_rotated):
    for seed in range(4):
        state = tied_autoencoder(seed, is_rotated=is_rotated)
        units = units_of(state)
        generator = torch.Generator().manual_seed(seed)
        child = {name: values + 0.5 * torch.randn(values.shape, generator=generator) for name, values in state.items()}
        found = judge_independence(state, apply(sample(units.symmetry, seed=1, kinds=("permutation",)), child), units)
        assert found.p_value is not None and found.p_value < 1e-20


def test_what_incoming_weights_foretell_is_removed(monkeypatch):
    one, other = (tied_autoencoder(seed, is_rotated=True) for seed in range(2))
    units = units_of(one)

    def agreement():
        (found,) = agreements_in_any_order(one, other, units, 0, can_flip=False, has_many=False)
        return found

    left = agreement()
    monkeypatch.setattr(two_matchings, "LEFT_OVER", 0.5)
    left_if_half_counts = agreement()
    monkeypatch.setattr(two_matchings, "CHANCE", 1e9)
    raw = agreement()
    assert raw.fixed > left.fixed + 5 and left.expected < 3
    assert left_if_half_counts.expected == pytest.approx(raw.expected / 2)


def test_near_misses_are_what_agreement_is_measured_against():
    """Six pairs that are not joined are the nearest by both sides; of random groups, about one pair is."""
    similar = torch.eye(6) + 0.5 * torch.eye(6).roll(1, 1)
    side = _with_rows(torch.arange(6), similar)
    assert _agreement("a", side, side) == Agreement("a", 6, 6, 6.0)
    draw = torch.Generator().manual_seed(0)
    found = [
        _agreement("a", _with_rows(torch.randperm(48, generator=draw), one), _with_rows(torch.arange(48), other))
        for one, other in torch.rand(100, 2, 48, 48, generator=draw)
    ]
    assert sum(agreement.expected for agreement in found) / len(found) == pytest.approx(1, abs=0.4)


def test_near_misses_that_chance_explains_do_not_count():
    few = [Agreement("a", 20, 1, 2.0), Agreement("b", 20, 1, 0.0), Agreement("c", 20, 1, 2.0)]
    assert [found.expected for found in _beyond_chance(few)] == [1, 1, 1]
    many = [Agreement("a", 20, 1, 7.0), Agreement("b", 20, 1, 0.0), Agreement("c", 20, 1, 2.0)]
    assert [found.expected for found in _beyond_chance(many)] == [7, 1, 2]


def test_what_one_side_foretells_is_removed_from_the_other():
    generator = torch.Generator().manual_seed(0)
    values, other, third = torch.randn(3, 20, 12, generator=generator)
    left = _without(values, [other, third])
    torch.testing.assert_close((left * (other - other.mean(0))).sum(1), torch.zeros(20), atol=1e-5, rtol=0)
    torch.testing.assert_close((left * (third - third.mean(0))).sum(1), torch.zeros(20), atol=1e-5, rtol=0)
    assert _without(values, []) is values


@pytest.mark.parametrize("kind", ["dead", "repeated"])
def test_equal_units_hide_no_permuted_copy(kind):
    torch.manual_seed(0)
    incoming, outgoing = torch.randn(100, 40), torch.randn(10, 100)
    if kind == "dead":
        incoming[:20], outgoing[:, :20] = 0, 0
    else:
        incoming[50:], outgoing[:, 50:] = incoming[:50], outgoing[:, :50]
    state = {"0.weight": incoming, "0.bias": incoming.sum(1), "2.weight": outgoing, "2.bias": torch.randn(10)}
    units = units_of(state)
    copy = apply(sample(units.symmetry, seed=1, kinds=("permutation",)), state)
    p_value = judge_independence(state, copy, units).p_value
    assert p_value is not None and p_value < 1e-20


def language_model(seed):
    """A network whose table of tokens is its last layer, too: nothing else reads the last state of its stream."""
    family = FAMILIES["gpt"]
    hyperparameters = family.sample(np.random.default_rng(0))
    module = family.build(hyperparameters, (1, 20, 20), 5, torch.Generator().manual_seed(seed)).double()
    numbers = torch.randint(1, 16, (2, 5), generator=torch.Generator().manual_seed(5))
    return module.state_dict(), trace(module, (numbers,))


def test_permuted_copies_of_networks_whose_table_of_tokens_is_their_last_layer():
    state, symmetry = language_model(0)
    (stream,) = (one for one in symmetry.groups if one.name.startswith("wte.weight") and "permutation" in one.kinds)
    units = Units(symmetry, read_network(state), state)
    orders = {side: [group.group.name for group, _ in units.in_order(side)] for side in ("feeding", "reading")}
    assert stream.name in orders["feeding"] and orders["reading"][0] == stream.name
    generator = torch.Generator().manual_seed(1)
    child = {
        name: values + 0.3 * values.std() * torch.randn(values.shape, generator=generator, dtype=values.dtype)
        for name, values in state.items()
    }
    permuted = apply(sample(symmetry, seed=1, kinds=("permutation",)), child)
    found = judge_independence(state, permuted, units)
    assert found.p_value is not None and found.p_value < 1e-20
    assert found.twice and stream.name not in [
        one.group for one in found.twice
    ]  # both sides order it by the same table
    for seed in range(1, 6):
        found = judge_independence(state, language_model(seed)[0], units)
        assert found.p_value is not None and found.p_value > 1e-3


def tied_state(seed, width=32):
    """A language model of two blocks without a last layer of its own, by the names of GPT-2."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"wte.weight": (300, width), "wpe.weight": (20, width)}
    for block in ("h.0", "h.1"):
        for name, size in (("attn.c_attn", 3 * width), ("attn.c_proj", width), ("mlp.c_fc", 4 * width)):
            shapes |= {f"{block}.{name}.weight": (width, size), f"{block}.{name}.bias": (size,)}
        shapes |= {f"{block}.mlp.c_proj.weight": (4 * width, width), f"{block}.mlp.c_proj.bias": (width,)}
        shapes |= {f"{block}.{norm}.{part}": (width,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
    shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_a_permuted_stream_is_found_by_the_names_of_a_network_without_a_last_layer():
    state = tied_state(0)
    symmetry = symmetry_by_name(read_network(state), heads=4, config={"tie_word_embeddings": True})
    assert "stream" in [group.name for group in symmetry.groups]
    copy = apply(sample(symmetry, seed=1, kinds=("permutation",)), state)
    assert not torch.equal(copy["wte.weight"], state["wte.weight"])
    found = compare(state, copy)
    assert found.relation is Relation.SAME_FUNCTION and found.p_value < 1e-20
    assert compare(state, tied_state(1)).relation is Relation.INDEPENDENT
