import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.encoders.quantiles import NumberCounts, ascending, sorted_quantiles

AT = (0.0, 0.01, 0.4, 0.5, 0.99, 1.0)


def test_sorted_quantiles_are_those_of_numpy():
    values = torch.randn(2, 13, generator=torch.Generator().manual_seed(0))
    got = sorted_quantiles(ascending(values), AT)
    np.testing.assert_allclose(got, np.quantile(values.numpy(), AT, axis=1).T, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e9, 1e9, width=32), min_size=1, max_size=40))
def test_counts_give_the_quantiles_of_the_nearest_bfloat16_numbers(values):
    given_values = torch.tensor(values, dtype=torch.float32)
    counts = NumberCounts()
    for piece in given_values.split(7):
        counts.add(piece)
    rounded = given_values.bfloat16().double().numpy()
    found = counts.counted()
    np.testing.assert_allclose(found.quantiles(AT), np.quantile(rounded, AT), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        counts.counted().moment(3, centre=0.5), ((rounded - 0.5) ** 3).mean(), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(found.moment(1, is_absolute=True), abs(rounded).mean(), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e9])
def test_counts_are_right_to_two_to_the_minus_eight_in_any_order(scale):
    generator = torch.Generator().manual_seed(1)
    values = scale * (torch.randn(20_011, generator=generator) + 0.2)
    counts, shuffled = NumberCounts(), NumberCounts()
    counts.add(values)
    shuffled.add(values[torch.randperm(len(values), generator=generator)])
    got = counts.counted().quantiles(AT)
    np.testing.assert_allclose(got, np.quantile(values.double().numpy(), AT), rtol=2**-8)
    assert (shuffled.counted().quantiles(AT) == got).all()


def test_signs_zeros_and_equal_values():
    counts = NumberCounts()
    counts.add(torch.tensor([0.0, -0.0, -1.0, -2.0, 3.0, 3.0, 3.0]))
    assert counts.counted().quantiles([rank / 6 for rank in (6, 0, 2, 1, 4)]).tolist() == [3.0, -2.0, 0.0, -1.0, 3.0]
