"""The distribution of fixed points, uniform and favoured, against all permutations."""

from itertools import permutations
from math import factorial

import pytest
import torch

from sne.provenance.fixed_points import Agreement, fixed_points_p_value


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_fixed_points_are_counted_exactly(size):
    """Against all permutations."""
    fixed = [sum(i == one for i, one in enumerate(order)) for order in permutations(range(size))]
    for least in range(size + 1):
        expected = sum(count >= least for count in fixed) / factorial(size)
        assert fixed_points_p_value([Agreement("a", size, least)]) == pytest.approx(expected)


def test_fixed_points_of_several_groups_are_added():
    """Against all pairs of permutations of 3 and of 4 units."""
    single = {
        size: [sum(i == one for i, one in enumerate(order)) for order in permutations(range(size))] for size in (3, 4)
    }
    sums = [one + other for one in single[3] for other in single[4]]
    for least in range(8):
        expected = sum(count >= least for count in sums) / len(sums)
        found = fixed_points_p_value([Agreement("a", 3, min(3, least)), Agreement("b", 4, max(0, least - 3))])
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_favoured_agreement_against_all_permutations(size):
    """Each permutation is drawn with a probability that grows by a random factor per fixed point."""
    fixed = torch.tensor([sum(i == one for i, one in enumerate(order)) for order in permutations(range(size))])
    factors = torch.distributions.Gamma(4.0, 4.0).sample((200_000, 1)).double()
    chances = factors**fixed / (factors**fixed).sum(1, keepdim=True)
    for least in range(size + 1):
        expected = float(chances[:, fixed >= least].sum(1).mean())
        found = fixed_points_p_value([Agreement("a", size, least)], favour=4.0)
        assert found == pytest.approx(expected, rel=0.03)
    whole = fixed_points_p_value([Agreement("a", size, size)], favour=4.0)
    assert whole >= 1 / factorial(size), "no rarer than for uniform permutations"


@pytest.mark.parametrize(("units", "mean", "least"), [(5, 2.0, 4), (6, 3.0, 5)])
def test_agreement_that_is_expected_against_all_permutations(units, mean, least):
    fixed = torch.tensor([sum(i == one for i, one in enumerate(order)) for order in permutations(range(units))])
    shape = 3 + mean
    factors = mean * torch.distributions.Gamma(shape, shape).sample((50_000, 1)).double()
    chances = factors**fixed / (factors**fixed).sum(1, keepdim=True)
    found = fixed_points_p_value([Agreement("a", units, least, mean)], favour=4.0)
    assert found == pytest.approx(float(chances[:, fixed >= least].sum(1).mean()), rel=0.03)


def test_agreement_of_many_units_where_much_is_expected():
    p_values = [fixed_points_p_value([Agreement("a", 4096, fixed, 1200.0)], favour=4.0) for fixed in (1200, 1300, 4000)]
    assert p_values[0] > 0.1 and p_values[0] > p_values[1] > p_values[2] and p_values[2] < 1e-30
