import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.encoders import quantiles

AT = (0.0, 0.01, 0.4, 0.5, 0.99, 1.0)


def test_sorted_quantiles_are_those_of_numpy():
    values = torch.randn(2, 13, generator=torch.Generator().manual_seed(0)).sort(-1).values
    got = quantiles.sorted_quantiles(values, AT)
    np.testing.assert_allclose(got, np.quantile(values.numpy(), AT, axis=1).T, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_order_statistics_are_those_of_sorting(values):
    given_values = torch.tensor(values, dtype=torch.float32)
    ranks = torch.arange(len(values))
    expected = given_values.sort().values
    assert torch.equal(quantiles.order_statistics(given_values, ranks), expected)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e9])
def test_counted_quantiles_are_exact_across_slices_and_in_any_order(scale, monkeypatch):
    monkeypatch.setattr(quantiles, "SLICE_ENTRIES", 1000)
    generator = torch.Generator().manual_seed(1)
    values = scale * (torch.randn(20_011, generator=generator) + 0.2)
    got = quantiles.counted_quantiles(values, AT)
    expected = np.quantile(values.double().numpy(), AT)
    np.testing.assert_allclose(got.double(), expected, rtol=1e-6, atol=1e-30)
    assert torch.equal(quantiles.counted_quantiles(values[torch.randperm(len(values), generator=generator)], AT), got)


def test_signs_zeros_and_equal_values():
    values = torch.tensor([0.0, -0.0, -1.0, -2.0, 3.0, 3.0, 3.0])
    got = quantiles.order_statistics(values, torch.tensor([6, 0, 2, 1, 4]))
    assert got.tolist() == [3.0, -2.0, 0.0, -1.0, 3.0]
