"""The p-values of independent networks, and the distribution of fixed points."""

import sys
from dataclasses import replace

import pytest
import torch
from provenance.descendants import noisy, perceptron
from scipy.optimize import linear_sum_assignment

from sne import compare, read_network
from sne.provenance import independence, two_matchings
from sne.provenance.fixed_points import Agreement, fixed_points_p_value
from sne.provenance.independence import FAVOUR, judge_independence
from sne.provenance.units import SHARED_DIRECTIONS, Block, Units, best_match, own_features
from sne.symmetry import apply, sample, symmetry_of


def units_of(state):
    network = read_network(state)
    return Units(symmetry_of(network), network, state)


def test_units_of_the_same_types_are_weaker_evidence_in_any_order():
    """Agreement of two independent CNNs that learned the same images: the stored order says .37."""
    agreements = [Agreement("a", 8, 5), Agreement("b", 6, 3), Agreement("c", 4, 4), Agreement("d", 20, 7)]
    assert fixed_points_p_value(agreements) < 1e-7
    assert fixed_points_p_value(agreements, favour=FAVOUR) > 1e-6


def test_p_values_of_independent_networks_are_no_smaller_than_uniform():
    states = [perceptron(seed, (12, 20, 16, 4)).state_dict() for seed in range(40)]
    units = units_of(states[0])
    found = torch.tensor(
        [
            judge_independence(states[i], states[j], units, seed=40 * i + j).p_value
            for i in range(0, 40, 2)
            for j in range(1, 40, 2)
        ]
    )
    for level in (0.5, 0.2, 0.05, 0.01):
        share = float((found <= level).double().mean())
        assert share <= level + 3 * (level * (1 - level) / len(found)) ** 0.5
    assert float(found.min()) > 1e-6


def test_dead_units_are_no_evidence():
    """Units with equal weights are matched in random order, not in that of storage."""
    one, other = perceptron(0).state_dict(), perceptron(1).state_dict()
    for state in (one, other):
        for name in state:
            state[name] = torch.zeros_like(state[name])
    found = judge_independence(one, other, units_of(one))
    assert found.p_value is not None and found.p_value > 1e-4


def test_many_units_are_matched_by_mutual_nearest_neighbours(monkeypatch):
    similar = torch.eye(6)[torch.tensor([2, 0, 1, 5, 3, 4])]
    assert best_match(similar, 0).tolist() == [2, 0, 1, 5, 3, 4]
    monkeypatch.setattr("sne.provenance.units.MOST_ASSIGNED", 3)
    assert best_match(similar, 0).tolist() == [2, 0, 1, 5, 3, 4]
    crowded = torch.zeros(4, 4)
    crowded[:, 1] = torch.tensor([0.1, 0.9, 0.2, 0.3])
    found = best_match(crowded, 0)
    assert found[1] == 1 and len(set(found[found >= 0].tolist())) == int((found >= 0).sum())


def test_equal_units_are_no_mutual_nearest_neighbours_in_stored_order(monkeypatch):
    monkeypatch.setattr("sne.provenance.units.MOST_ASSIGNED", 3)
    assert best_match(torch.diag(torch.ones(4)) + torch.eye(4).roll(1, 0) / 2, 0).tolist() == [0, 1, 2, 3]
    fixed = [int((best_match(torch.ones(40, 40), seed) == torch.arange(40)).sum()) for seed in range(20)]
    assert max(fixed) <= 1 and sum(fixed) < 5


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3, 3.0])
def test_the_best_match_is_the_best_assignment(noise):
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 30):
        order = torch.randperm(size, generator=generator)
        similar = torch.eye(size)[order] + noise * torch.randn(size, size, generator=generator)
        assert best_match(similar, 0).tolist() == linear_sum_assignment(similar.numpy(), maximize=True)[1].tolist()


def test_equal_units_are_not_matched_in_stored_order():
    similar = torch.eye(40)
    similar[:20, :20] = 1.0
    found = best_match(similar, 0)
    assert int((found == torch.arange(40))[:20].sum()) < 10 and found[20:].tolist() == list(range(20, 40))


def test_relatives_in_stored_order_need_no_slow_imports(monkeypatch):
    for name in ("scipy.optimize", "scipy.linalg"):
        monkeypatch.setitem(sys.modules, name, None)  # an import is an error
    state = perceptron(0).state_dict()
    assert compare(state, noisy(state, 0.05)).relation.value == "fine-tune"


@pytest.mark.parametrize(("units", "columns"), [(30, 20), (12, 200), (4, 3)])
def test_own_features_against_all_principal_directions(units, columns):
    """Products of what is left are those without the largest principal directions, by a full decomposition."""
    generator = torch.Generator().manual_seed(units)
    scales = torch.linspace(3, 1, columns)
    block = Block(*(torch.randn(units, columns, generator=generator) * scales for _ in range(2)), can_flip=False)
    both = torch.cat([block.first, block.second]).double()
    both = both / both.norm(dim=1, keepdim=True)
    both = both - both.mean(0)
    left, sizes, right = torch.linalg.svd(both, full_matrices=False)
    rank = int((sizes > 1e-6 * sizes[0]).sum())
    sizes[: int(SHARED_DIRECTIONS * rank)] = 0
    expected = left * sizes @ right
    found = own_features(block)
    torch.testing.assert_close(torch.cat([found.first, found.second]).double(), expected, atol=1e-5, rtol=1e-4)


def test_own_features_of_low_rank():
    """The directions that are removed are a share of the rank, not of the columns."""
    generator = torch.Generator().manual_seed(0)
    block = Block(*(torch.zeros(40, 40) for _ in range(2)), can_flip=False)
    for values in (block.first, block.second):
        values[:, :15] = torch.randn(40, 15, generator=generator)
    left = own_features(block)
    assert torch.linalg.matrix_rank(torch.cat([left.first, left.second]).double(), rtol=1e-5) == 14


def test_units_without_features_have_none_of_their_own():
    block = Block(torch.zeros(20, 30), torch.zeros(20, 30), can_flip=False)
    assert own_features(block) is block


def test_assumed_units_that_move_as_the_certain_ones_are_tested_once():
    one, other = perceptron(0).state_dict(), perceptron(1).state_dict()
    certain, same, fewer = units_of(one), units_of(one), units_of(one)
    fewer.groups = fewer.groups[:1]
    assert judge_independence(one, other, certain).num_tests == 2
    assert judge_independence(one, other, certain, assumed=same).num_tests == 2
    assert judge_independence(one, other, certain, assumed=fewer).num_tests == 3


def test_networks_of_many_units_are_tested_by_a_part_of_them(monkeypatch):
    sizes = (12, *range(16, 36), 4)
    first, stranger = perceptron(0, sizes).state_dict(), perceptron(1, sizes).state_dict()
    units = units_of(first)
    moved = apply(sample(units.symmetry, seed=1, kinds=("permutation",)), first)
    whole = judge_independence(first, moved, units)
    monkeypatch.setattr(independence, "MANY_UNITS", 100)
    found = judge_independence(first, moved, units)
    assert len(whole.twice) == 20 and len(found.twice) == two_matchings.MOST_GROUPS
    assert len(whole.stored) == 20 and len(found.stored) == independence.MOST_STORED_GROUPS
    names = [agreement.group for agreement in whole.twice]
    tested = [agreement.group for agreement in found.twice]
    assert set(tested) == set(names[-3:])  # the largest ones
    assert all(agreement.fixed == agreement.units for agreement in found.twice)
    assert found.num_tests == 2 and found.p_value is not None and found.p_value < 1e-50
    independent = judge_independence(first, stranger, units).p_value
    assert independent is not None and independent > 1e-3


def test_of_groups_of_one_size_those_next_to_the_outputs_are_tested(monkeypatch):
    first = perceptron(0, (12, *[16] * 8, 4)).state_dict()
    units = units_of(first)
    moved = apply(sample(units.symmetry, seed=1, kinds=("permutation",)), first)
    names = [agreement.group for agreement in judge_independence(first, moved, units).twice]
    monkeypatch.setattr(independence, "MANY_UNITS", 100)
    tested = [agreement.group for agreement in judge_independence(first, moved, units).twice]
    assert set(tested) == set(names[-3:])


def test_large_groups_that_nothing_known_feeds_are_not_tested(monkeypatch):
    first = perceptron(0, (12, 16, 17, 18, 19, 60, 4)).state_dict()
    symmetry = units_of(first).symmetry
    largest = next(group for group in symmetry.groups if group.size == 60)
    read_alone = replace(largest, spans=tuple(span for span in largest.spans if span.tensor == "10.weight"))
    groups = tuple(read_alone if group is largest else group for group in symmetry.groups)
    units = Units(replace(symmetry, groups=groups), read_network(first), first)
    moved = apply(sample(units_of(first).symmetry, seed=1, kinds=("permutation",)), first)
    monkeypatch.setattr(independence, "MANY_UNITS", 100)
    found = judge_independence(first, moved, units)
    assert found.twice and largest.name not in {agreement.group for agreement in found.twice}


def test_many_units_in_stored_order_are_sampled(monkeypatch):
    monkeypatch.setattr(independence, "MOST_IN_ORDER", 10)
    first, stranger = perceptron(0, (12, 64, 4)).state_dict(), perceptron(1, (12, 64, 4)).state_dict()
    near = {name: values + 0.01 * torch.randn_like(values) for name, values in first.items()}
    units = units_of(first)
    (agreement,) = judge_independence(first, near, units).stored
    assert (agreement.units, agreement.fixed) == (10, 10)
    (agreement,) = judge_independence(first, stranger, units).stored
    assert agreement.units == 10 and agreement.fixed < 6


def test_samples_of_units_in_stored_order_with_another_default_dtype(monkeypatch):
    monkeypatch.setattr(independence, "MOST_IN_ORDER", 10)
    state = perceptron(0, (4, 1031, 4)).state_dict()
    units = units_of(state)
    torch.set_default_dtype(torch.bfloat16)  # in which 1030 is 1032
    try:
        (agreement,) = judge_independence(state, state, units, is_in_any_order=False).stored
    finally:
        torch.set_default_dtype(torch.float32)
    assert agreement.units == agreement.fixed == 10
