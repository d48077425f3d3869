"""Blocks on sets that arrive in slices equal the blocks on the whole set."""

import pytest
import torch

from sne.errors import SneError
from sne.nn import MultiheadAttentionBlock, PoolingByAttention, RunningMeans, pool_slices, summarize_slices


@pytest.mark.parametrize("sizes", [(7,), (1, 6), (3, 1, 2, 1)])
@pytest.mark.parametrize("has_norm", [False, True])
def test_slices_equal_the_whole_set(sizes, has_norm):
    torch.manual_seed(0)
    tokens, targets = torch.randn(7, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    block = MultiheadAttentionBlock(8, heads=2, has_norm=has_norm).double()
    pool = PoolingByAttention(8, heads=2, has_norm=has_norm).double()
    for parameter in (*block.parameters(), *pool.parameters()):
        torch.nn.init.normal_(parameter)
    slices = tokens.split(sizes)
    torch.testing.assert_close(summarize_slices(block, targets, slices), block(targets[None], tokens[None])[0])
    torch.testing.assert_close(pool_slices(pool, slices), pool(tokens[None])[0])


def test_running_means_survive_huge_logits_in_any_order():
    logits, tokens = torch.tensor([[-1e30, 0.0, 1e30, 1e30]]), torch.tensor([[1.0], [2.0], [3.0], [5.0]])
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        means = RunningMeans()
        for token in order:
            means.add(logits[:, [token]], tokens[[token]])
        assert means.result().item() == pytest.approx(4.0)


def test_running_means_of_many_slices_keep_their_digits():
    generator = torch.Generator().manual_seed(0)
    tokens, logits = torch.randn(20_000, 3, generator=generator) + 5, torch.randn(2, 20_000, generator=generator)
    means = RunningMeans()
    for some, row in zip(tokens.split(7), logits.split(7, 1), strict=True):
        means.add(row, some)
    expected = logits.double().softmax(1) @ tokens.double()
    torch.testing.assert_close(means.result().double(), expected, rtol=1e-6, atol=1e-6)


def test_an_empty_set_is_refused():
    with pytest.raises(SneError, match="expected at least 1 token per set, got none"):
        RunningMeans().result()
