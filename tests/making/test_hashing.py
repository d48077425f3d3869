import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from sne.making.hashing import batch_rows, bytes_of, key_of, mask_keys, mix, permute


def keys(count, start=0):
    return torch.cat([key_of(seed, "cpu") for seed in range(start, start + count)])


def test_mix_is_one_to_one_and_even():
    words = torch.arange(-50_000, 50_000, dtype=torch.int32)
    mixed = mix(words)
    assert len(mixed.unique()) == 100_000
    assert kstest(mixed.double().numpy() / 2**32 + 0.5, "uniform").pvalue > 1e-3
    flips = mix(words) ^ mix(words ^ 1024)
    assert abs(np.mean([int(((flips >> bit) & 1).sum()) for bit in range(32)]) / 100_000 - 0.5) < 0.01


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_permute_is_a_permutation(count):
    places = torch.arange(count)[None].repeat(5, 1)
    orders = permute(keys(5), places, torch.full((5,), count))
    assert torch.equal(orders.sort(1).values, places)
    if count > 10:
        assert len({tuple(order.tolist()) for order in orders}) == 5


def test_permute_is_even():
    """Where a position lands, and where two neighbours land, over many keys."""
    count = 10
    orders = permute(keys(20_000), torch.arange(count)[None].repeat(20_000, 1), torch.full((20_000,), count))
    for place in range(count):
        assert chisquare(torch.bincount(orders[:, place], minlength=count).numpy()).pvalue > 1e-4
    pairs = torch.bincount(orders[:, 3] * count + orders[:, 4], minlength=count**2).view(count, count)
    assert int(pairs.diagonal().sum()) == 0
    assert chisquare(pairs[~torch.eye(count, dtype=torch.bool)].numpy()).pvalue > 1e-4


def test_batches_cover_an_epoch_once_for_each_network():
    counts = torch.tensor([20, 41, 8])
    rows = batch_rows(keys(3), counts, 8, 1, 5)
    assert (rows < counts[:, None, None]).all()
    assert len(rows[0, :2].unique()) == 16 and len(rows[0, 2:4].unique()) == 16
    assert len(rows[1, :5].unique()) == 40
    assert torch.equal(rows[2].sort(-1).values, torch.arange(8).repeat(5, 1))
    assert not torch.equal(rows[2, 0], rows[2, 1])
    assert torch.equal(batch_rows(keys(3), counts, 8, 4)[:, 0], rows[:, 3])


def test_rows_do_not_depend_on_company():
    together = batch_rows(keys(4), torch.tensor([30, 40, 50, 60]), 16, 9)
    for row in range(4):
        alone = batch_rows(keys(1, row), torch.tensor([30 + 10 * row]), 16, 9)
        assert torch.equal(alone[0], together[row])


def test_bytes_are_even_and_differ_by_key_step_and_layer():
    one = bytes_of(keys(1)[0], 200_001)
    assert one.dtype == torch.uint8 and len(one) == 200_001
    assert chisquare(torch.bincount(one.int(), minlength=256).numpy()).pvalue > 1e-4
    others = [bytes_of(mask_keys(keys(1), step, salt)[0], 100_000) for step in (1, 2) for salt in (0, 1)]
    for i in range(4):
        for j in range(i):
            assert abs(float((others[i] == others[j]).float().mean()) - 1 / 256) < 0.001
    assert torch.equal(bytes_of(keys(3), 10)[2], bytes_of(keys(1, 2)[0], 10))
