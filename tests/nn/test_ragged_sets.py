import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.nn import InducedSetAttentionBlock, PoolingByAttention, SetAttentionBlock, bucket_sets

LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=30)


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.sampled_from([0.0, 0.125, 0.5]), st.sampled_from([0, 16]), st.sampled_from([50, 1 << 62]))
def test_buckets_hold_every_token_once(lengths, max_waste, boundary, max_tokens):
    plan = bucket_sets(torch.tensor(lengths), max_waste=max_waste, boundary=boundary, max_tokens=max_tokens)
    seen = []
    for bucket in plan.buckets:
        num_sets, longest = bucket.tokens.shape
        mask = torch.ones_like(bucket.tokens, dtype=torch.bool) if bucket.mask is None else bucket.mask
        sizes = mask.sum(1)
        assert sizes.tolist() == [lengths[s] for s in bucket.sets.tolist()]
        assert longest == sizes.max() <= (1 + max_waste) * sizes.min()
        assert (sizes <= boundary).all() or (sizes > boundary).all()
        assert num_sets == 1 or num_sets * longest <= max_tokens
        seen += bucket.tokens[mask].tolist()
    assert sorted(seen) == list(range(sum(lengths)))
    order = torch.cat([bucket.sets for bucket in plan.buckets])
    assert order[plan.position].tolist() == list(range(len(lengths)))


def test_equal_sizes_need_no_mask():
    plan = bucket_sets(torch.tensor([9, 3, 9, 3, 5]), max_waste=0.0)
    assert [tuple(b.tokens.shape) for b in plan.buckets] == [(2, 3), (1, 5), (2, 9)]
    assert all(bucket.mask is None for bucket in plan.buckets)


def test_gather_and_rows():
    lengths = torch.tensor([3, 1, 3])
    flat = torch.arange(7.0)[:, None]
    plan = bucket_sets(lengths)
    dense = plan.gather(flat)
    assert [x.squeeze(-1).tolist() for x in dense] == [[[3]], [[0, 1, 2], [4, 5, 6]]]
    assert [x.squeeze(-1).tolist() for x in plan.rows(torch.tensor([[7.0], [8], [9]]))] == [[8], [7, 9]]
    shuffle = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    again = plan.gather(flat[shuffle], shuffle.argsort())
    assert all(torch.equal(a, b) for a, b in zip(again, dense, strict=True))


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="set 1 has none"):
        bucket_sets(torch.tensor([2, 0]))


@pytest.mark.parametrize("max_waste", [0.0, 0.5])
def test_a_set_gives_the_same_alone_and_among_others(max_waste):
    torch.manual_seed(0)
    isab = InducedSetAttentionBlock(8, heads=2, inducing_points=3, full_up_to=12)
    sab, pma = SetAttentionBlock(8, heads=2), PoolingByAttention(8, heads=2)
    lengths = [13, 1, 40, 12, 9, 14, 10, 45, 2]
    sets = [torch.randn(n, 8) for n in lengths]
    plan = bucket_sets(torch.tensor(lengths), max_waste=max_waste, boundary=12)
    pooled = torch.cat(
        [
            pma(sab(isab(x, b.mask), b.mask), b.mask)
            for x, b in zip(plan.gather(torch.cat(sets)), plan.buckets, strict=True)
        ]
    )[plan.position]
    for row, alone in zip(pooled, sets, strict=True):
        torch.testing.assert_close(row, pma(sab(isab(alone[None])))[0], rtol=0, atol=1e-6)
