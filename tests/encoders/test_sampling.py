"""Samples of chunks under a budget."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import handmade
from oracles.pad_and_chunk import chunks_of

from sne.encoders import Limits, SetEncoder, set_encoder
from sne.encoders.chunk_stream import StreamedNetwork
from sne.encoders.sampling import sample_part, share_budget
from sne.errors import SneError
from sne.networks import Part, Role

SHAPES = [(400,), (3, 500), (500, 3), (64, 64), (1, 900), (900, 1), (16, 24, 3, 3), (50, 1, 5, 5)]


def encoder(**settings) -> SetEncoder:
    torch.manual_seed(0)
    module = SetEncoder(**{"dim": 16, "heads": 2, "inducing_points": 4, "full_up_to": 24, **settings}).eval()
    module.input_std.fill_(0.3)
    return module


def network():
    return handmade.network(handmade.resnet((8, 16), 10), std=0.3)


def encode(module: SetEncoder, **limits) -> torch.Tensor:
    with torch.no_grad():
        return module(module.collate(module.prepare([network()], limits=Limits(**limits))))[0]


def part_of(shape) -> Part:
    return Part("w", Role.WEIGHT, shape, 0, 1 if len(shape) > 1 else None)


def test_few_of_the_lines_that_are_stored_together_are_read():
    generator = torch.Generator().manual_seed(0)
    as_rows = sample_part(part_of((400, 600)), 4, 1000, generator)
    as_columns = sample_part(Part("w", Role.WEIGHT, (600, 400), 1, 0), 4, 1000, generator)
    assert len(as_rows.rows) * 600 < 4.5 * 1000 and len(as_columns.columns) * 400 < 4.5 * 1000


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=9), st.integers(1, 4000))
def test_the_share_is_the_largest_that_keeps_the_budget(sizes, budget):
    share = share_budget(sizes, budget)
    assert sum(min(size, share) for size in sizes) <= budget
    assert share >= max(sizes) or sum(min(size, share + 1) for size in sizes) > budget


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("chunk_size", [4, 32])
def test_samples_keep_their_share_and_use_most_of_it(shape, chunk_size):
    part = part_of(shape)
    num_out, num_in, _ = part.arranged_shape
    for share in (chunk_size, 100, 333, part.num_entries - 1):
        if not 32 <= share < part.num_entries:
            continue
        sample = sample_part(part, chunk_size, share, torch.Generator().manual_seed(share))
        assert share / 3 < sample.num_weights(part) <= share, (share, sample)
        for numbers, count in ((sample.rows, num_out), (sample.columns, num_in)):
            assert (numbers.diff() > 0).all() and 0 <= int(numbers[0]) and int(numbers[-1]) < count


def test_every_chunk_has_the_same_chance():
    part, generator = part_of((10, 44)), torch.Generator().manual_seed(0)
    counts = torch.zeros(10, 11)
    for _ in range(4000):
        sample = sample_part(part, 4, 70, generator)
        assert len(sample.rows) * len(sample.columns) == 5 * 12
        counts[sample.rows[:, None], sample.columns[::4] // 4] += 1
    expected = 4000 * 15 / 110
    assert (counts - expected).abs().max() < 6 * expected**0.5


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_is_read_are_chunks_of_the_part(shape):
    some = handmade.network((handmade.layer(handmade.LayerType.OTHER, "x", 0, *shape, bias=False),))
    ((_, part),) = some.parts()
    stream = StreamedNetwork(some, 8, Limits(budget=part.num_entries // 2))
    chunks = [row for piece in stream.read_chunks(0) for row in piece.tolist()]
    known = chunks_of(some.read(part), 8)
    assert 0 < len(chunks) < len(known) and all(chunk in known for chunk in chunks)
    assert len({tuple(chunk) for chunk in chunks}) == len(chunks)
    assert sum(map(len, chunks)) == stream.num_read <= part.num_entries // 2


def test_small_parts_are_whole_and_large_ones_share_alike():
    stream = StreamedNetwork(network(), 8, Limits(budget=1500))
    sizes = [part.num_entries for _, part in stream.parts]
    read = [sum(chunks.numel() for chunks in stream.read_chunks(place)) for place in range(len(sizes))]
    share = share_budget(sizes, 1500)
    assert sum(read) == stream.num_read <= 1500
    for size, got in zip(sizes, read, strict=True):
        assert got == size if size <= share else share / 3 < got <= share


def test_a_budget_above_the_size_reads_everything(monkeypatch):
    expected, module = encode(encoder()), encoder()
    assert torch.equal(encode(module, budget=network().num_weights), expected)
    assert module.num_read(network(), Limits(budget=10**9)) == network().num_weights
    monkeypatch.setattr(set_encoder, "RESIDENT_CHUNKS", 0)
    torch.testing.assert_close(encode(module, budget=10**9), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"is_hierarchical": False}, {"set_functions": "mean"}], ids=str)
def test_the_seed_alone_decides_which_sample_is_read(settings):
    module = encoder(**settings)
    one = encode(module, budget=1500)
    assert torch.equal(encode(module, budget=1500, memory=10**12), one)
    assert not torch.allclose(encode(module, budget=1500, seed=1), one, rtol=1e-5)


def test_larger_samples_are_nearer_to_the_whole():
    module = encoder()
    whole = encode(module)
    errors = [
        torch.stack([encode(module, budget=budget, seed=seed) - whole for seed in range(12)]).square().mean().sqrt()
        for budget in (600, 4000)
    ]
    assert 2 * errors[1] < errors[0] < whole.abs().max()


def test_every_part_gives_a_chunk_whatever_the_budget():
    stream = StreamedNetwork(network(), 8, Limits(budget=1))
    for place, (_, part) in enumerate(stream.parts):
        in_a_kernel = -(-part.arranged_shape[2] // 8)
        assert sum(map(len, stream.read_chunks(place))) == in_a_kernel
    assert encode(encoder(), budget=1).isfinite().all()


def test_samples_have_no_gradients():
    module = encoder()
    with pytest.raises(SneError, match="a budget leaves no gradients"):
        module(module.collate(module.prepare([network()], limits=Limits(budget=1500))))
