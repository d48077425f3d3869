"""The switches that take a part of the paper's encoder away."""

from dataclasses import replace

import pytest
import torch
from oracles import handmade

from sne.encoders.set_encoder import SetEncoder
from sne.encoders.set_functions import MeanChunkEncoder, MeanVectorSetEncoder

SWITCHES = [
    {"has_levels": False},
    {"has_types": False},
    {"set_functions": "mean"},
    {"is_hierarchical": False},
    {"set_functions": "mean", "is_hierarchical": False},
]


def encoder(**settings) -> SetEncoder:
    torch.manual_seed(0)
    return SetEncoder(**{"dim": 16, "heads": 2, "inducing_points": 4, "full_up_to": 24, **settings}).eval()


def networks():
    layouts = (handmade.mlp(), handmade.small_cnn(), handmade.gru())
    return [handmade.network(layers, seed=i) for i, layers in enumerate(layouts)]


@torch.no_grad()
def encode(module, batch):
    return module(batch)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_rebuilt_from_its_settings(switches):
    module = encoder(**switches)
    assert switches.items() <= module.settings().items()
    torch.manual_seed(0)
    again = SetEncoder(**module.settings()).eval()
    batch = module.collate(module.prepare(networks()))
    torch.testing.assert_close(encode(again, batch), encode(module, batch))


def test_the_whole_encoder_says_nothing_of_switches():
    assert set(encoder().settings()) == {"chunk_size", "dim", "heads", "inducing_points", "full_up_to", "has_norm"}


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_same_alone_and_in_a_batch(switches):
    module, some = encoder(**switches), networks()
    together = encode(module, module.collate(module.prepare(some)))
    for row, network in zip(together, some, strict=True):
        alone = encode(module, module.collate(module.prepare([network])))[0]
        torch.testing.assert_close(alone, row, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("switch", "column", "others"),
    [("has_levels", "part_levels", "has_types"), ("has_types", "part_layer_types", "has_levels")],
)
def test_what_is_switched_off_is_not_seen(switch, column, others):
    batch = encoder().collate(encoder().prepare(networks()))
    changed = replace(batch, **{column: getattr(batch, column).flip(0)})
    without, whole, other = encoder(**{switch: False}), encoder(), encoder(**{others: False})
    torch.testing.assert_close(encode(without, changed), encode(without, batch))
    for module in (whole, other):
        assert (encode(module, changed) - encode(module, batch)).abs().max() > 1e-4


def test_flat_networks_are_sets_of_chunks():
    """Chunks of one type and level may change their parts; with the hierarchy they may not."""
    batch = encoder(chunk_size=4).collate(encoder(chunk_size=4).prepare(networks()[:1]))
    parts = [i for i, count in enumerate(batch.part_chunks.tolist()) if count > 1][:2]
    same = {name: getattr(batch, name).clone() for name in ("part_levels", "part_layer_types", "part_roles")}
    for values in same.values():
        values[parts[1]] = values[parts[0]]
    batch = replace(batch, **same)
    ends = batch.part_chunks.cumsum(0)
    one, two = int(ends[parts[0]]) - 1, int(ends[parts[1]]) - 1
    order = torch.arange(len(batch.chunks))
    order[[one, two]] = order[[two, one]]
    changed = replace(batch, chunks=batch.chunks[order], lengths=batch.lengths[order])
    flat, whole = encoder(chunk_size=4, is_hierarchical=False), encoder(chunk_size=4)
    torch.testing.assert_close(encode(flat, changed), encode(flat, batch), rtol=1e-5, atol=1e-5)
    assert (encode(whole, changed) - encode(whole, batch)).abs().max() > 1e-5
    assert not any(name.startswith("layer_encoder") for name, _ in flat.named_parameters())


def test_means_equal_loops():
    torch.manual_seed(1)
    chunks, vectors = MeanChunkEncoder(6), MeanVectorSetEncoder(6)
    x, added = torch.randn(3, 5), torch.randn(3, 6)
    for row in range(3):
        mapped = [chunks.second(chunks.first(w[None]).relu()) + added[row] for w in x[row]]
        slow = chunks.last(sum(m.relu() for m in mapped) / 5)
        torch.testing.assert_close(chunks(x, added)[row], slow)
    tokens, sizes = torch.randn(3, 4, 6), (4, 1, 3)
    mask = torch.tensor([[i < size for i in range(4)] for size in sizes])
    found = vectors(tokens, added[:, None], mask)
    for row, size in enumerate(sizes):
        mapped = [vectors.second(vectors.first(t).relu()) + added[row] for t in tokens[row, :size]]
        torch.testing.assert_close(found[row], vectors.last(sum(m.relu() for m in mapped) / size))


def test_unknown_set_functions_are_refused():
    with pytest.raises(ValueError, match="set_functions is 'median', expected one of attention, mean"):
        SetEncoder(set_functions="median")
