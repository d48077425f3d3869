"""Networks whose chunks are read while they are encoded: the same embeddings as with all chunks in memory."""

import pytest
import torch
from oracles import handmade, sne_by_loop

import sne
from sne.encoders import Limits, SetEncoder, chunk_stream, limits, set_encoder, vector_store
from sne.encoders.chunk_stream import MixedNetworks, StreamedNetwork
from sne.encoders.limits import LEAST_SPARE
from sne.errors import SneError

LAYOUTS = [handmade.mlp(), handmade.cnn(), handmade.small_cnn(), handmade.resnet(), handmade.gru()]
SWITCHES = [
    {},
    {"has_norm": True},
    {"chunk_size": 7},
    {"has_levels": False, "has_types": False},
    {"set_functions": "mean"},
    {"is_hierarchical": False},
    {"set_functions": "mean", "is_hierarchical": False},
]


def encoder(**settings) -> SetEncoder:
    torch.manual_seed(0)
    module = SetEncoder(**{"dim": 16, "heads": 2, "inducing_points": 4, "full_up_to": 24, **settings}).eval()
    module.input_std.fill_(0.3)
    return module


def networks():
    return [handmade.network(layers, seed=seed) for seed, layers in enumerate(LAYOUTS)]


def encode(module: SetEncoder, items) -> torch.Tensor:
    with torch.no_grad():
        return module(module.collate(items))


@pytest.fixture
def tiny_limits(monkeypatch):
    """Every network is streamed, in small pieces, with a few vectors in memory."""
    monkeypatch.setattr(set_encoder, "RESIDENT_CHUNKS", 0)
    monkeypatch.setattr(set_encoder, "CHUNK_TOKENS", 40)
    monkeypatch.setattr(chunk_stream, "READ_ENTRIES", 100)
    monkeypatch.setattr(vector_store, "SLICE_VECTORS", 5)
    monkeypatch.setattr(limits, "resident_size", lambda: 0)
    monkeypatch.setattr(set_encoder, "THREAD_MEMORY", 0)
    return Limits(memory=LEAST_SPARE + 16 * 4 * 10)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_streamed_equals_resident(switches, request):
    module, some = encoder(**switches), networks()
    resident = encode(module, module.prepare(some))
    items = module.prepare(some, limits=request.getfixturevalue("tiny_limits"))
    assert all(isinstance(item, StreamedNetwork) for item in items)
    torch.testing.assert_close(encode(module, items), resident, rtol=1e-5, atol=1e-5)


def test_streamed_equals_nested_loops(tiny_limits):
    # One part of 9 chunks is above full_up_to, the others are below.
    network = handmade.network((*handmade.cnn((1, 3, 3), 2)[:2], *handmade.gru(5, 2)))
    module = encoder(dim=8, full_up_to=6, chunk_size=4).double()
    (item,) = module.prepare([network], limits=tiny_limits)
    torch.testing.assert_close(encode(module, [item])[0], sne_by_loop.embedding(module, network), rtol=1e-6, atol=1e-6)


def test_the_limit_of_memory_changes_nothing(tiny_limits):
    module, some = encoder(), networks()
    rows = [
        encode(module, module.prepare(some, limits=Limits(memory=LEAST_SPARE + spare)))
        for spare in (0, 500, 999, 10**9)
    ]
    assert all(torch.equal(row, rows[0]) for row in rows)


def test_large_networks_are_streamed_and_small_ones_are_not(monkeypatch):
    module, some = encoder(), networks()
    expected = encode(module, module.prepare(some))
    monkeypatch.setattr(set_encoder, "RESIDENT_CHUNKS", 200)
    items = module.prepare(some)
    is_streamed = [isinstance(item, StreamedNetwork) for item in items]
    assert any(is_streamed) and not all(is_streamed)
    batch = module.collate(items)
    assert isinstance(batch, MixedNetworks) and batch.num_networks == batch.to("cpu").num_networks == len(some)
    torch.testing.assert_close(encode(module, items), expected, rtol=1e-5, atol=1e-5)


def test_gradients_pass_through_the_resident_form(tiny_limits):
    module, some = encoder(), networks()[:2]
    module(module.collate(module.prepare(some, limits=tiny_limits))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_scale_is_the_same(request):
    module, some = encoder(), networks()
    module.fit_scale(module.prepare(some))
    expected = module.input_std.clone()
    module.fit_scale(module.prepare(some, limits=request.getfixturevalue("tiny_limits")))
    torch.testing.assert_close(module.input_std, expected)


def test_running_variances_enter_as_deviations(request):
    norm = torch.nn.BatchNorm2d(4)
    norm.running_var = torch.tensor([0.0, 0.5, 4.0, 150.0])
    network = sne.read_network(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), norm))
    module = encoder()
    expected = encode(module, module.prepare([network]))
    items = module.prepare([network], limits=request.getfixturevalue("tiny_limits"))
    torch.testing.assert_close(encode(module, items), expected, rtol=1e-5, atol=1e-5)


def test_a_limit_below_the_process_is_refused(tiny_limits):
    module = encoder()
    for memory in (1000, LEAST_SPARE - 1):
        with pytest.raises(SneError, match=r"the memory limit is .* MB or more"):
            encode(module, module.prepare(networks()[:1], limits=Limits(memory=memory)))
