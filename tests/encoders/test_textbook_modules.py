"""The fast forms of the paper's encoder, next to textbook modules with the same weights."""

import copy
from dataclasses import replace

import pytest
import torch
from oracles import handmade
from oracles.textbook_sets import TextbookChunkEncoder, textbook

from sne.encoders.set_encoder import SetEncoder
from sne.encoders.set_functions import ChunkEncoder
from sne.nn import scalar_sets


def awake(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter away from the zeros it may start at."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module


def chunk_encoder(dtype: torch.dtype, dim: int = 16, heads: int = 2) -> ChunkEncoder:
    torch.manual_seed(0)
    return awake(ChunkEncoder(dim, heads=heads, has_norm=False)).to(dtype)


def run(module: torch.nn.Module, x: torch.Tensor, added: torch.Tensor) -> list[torch.Tensor]:
    """The result, the gradient of what is added, and those of the parameters."""
    added = added.clone().requires_grad_()
    out = module(x, added)
    parameters = list(module.parameters())
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out.dtype)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), (added, *parameters))]


def inputs(tokens: int, dtype: torch.dtype, sets: int = 50, dim: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = (sets, tokens), (sets, dim)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)


def assert_near(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    """Relative to the largest entry of each tensor, and to a millionth of the largest gradient."""
    least = 1e-6 * max(float(value.abs().max()) for value in expected)
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max()) <= tolerance * max(float(b.abs().max()), least)


@pytest.mark.parametrize("tokens", [1, 2, 9, 32])
def test_chunks_equal_textbook(tokens, monkeypatch):
    monkeypatch.setattr(scalar_sets, "SLICE_TOKENS", 7 * tokens)  # 7 slices and a rest
    module = chunk_encoder(torch.float64)
    x, added = inputs(tokens, torch.float64)
    assert_near(run(module, x, added), run(TextbookChunkEncoder(module), x, added), 1e-9)


def test_single_precision():
    module = chunk_encoder(torch.float32, dim=64, heads=4)
    x, added = inputs(9, torch.float32, sets=600, dim=64)
    expected = run(TextbookChunkEncoder(module.double()), x.double(), added.double())
    found = run(module.float(), x, added)
    assert_near(found, [value.float() for value in expected], 1e-5)


@pytest.mark.parametrize("scale", [40.0, 4000.0])
def test_large_logits_equal_textbook(scale):
    """Exponentials of some logits are outside the range of numbers."""
    module = chunk_encoder(torch.float64)
    with torch.no_grad():
        module.second.block.query.weight.mul_(scale)
    x, added = inputs(9, torch.float64)
    assert_near(run(module, 3 * x, added), run(TextbookChunkEncoder(module), 3 * x, added), 1e-9)


def test_what_is_not_finite_stays_so():
    module = chunk_encoder(torch.float32)
    x, added = inputs(9, torch.float32)
    expected = module(x, added)
    x[3, 4] = float("nan")
    out = module(x, added)
    assert out[3].isnan().all()
    others = torch.arange(len(x)) != 3
    torch.testing.assert_close(out[others], expected[others])


@pytest.mark.parametrize("tokens", [1, 5])
def test_gradcheck_of_chunks(tokens, monkeypatch):
    monkeypatch.setattr(scalar_sets, "SLICE_TOKENS", 2 * tokens)
    torch.manual_seed(0)
    module = awake(ChunkEncoder(4, heads=2, has_norm=False)).double()
    names = [name for name, _ in module.named_parameters()]
    x, added = inputs(tokens, torch.float64, sets=3, dim=4)

    def encode(added, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x, added))

    assert torch.autograd.gradcheck(encode, (added.requires_grad_(), *module.parameters()), fast_mode=True)


def test_gradients_of_the_weights_that_are_read():
    """They take the form in single operations."""
    module = chunk_encoder(torch.float64)
    x, added = inputs(9, torch.float64)
    x.requires_grad_()
    for each in (module, TextbookChunkEncoder(module)):
        each(x, added).square().sum().backward()
        if each is module:
            first, x.grad = x.grad, None
    torch.testing.assert_close(first, x.grad, rtol=0, atol=1e-9 * float(first.abs().max()))


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(scalar_sets, "SLICE_TOKENS", 18)
    module, (x, added) = chunk_encoder(torch.float32), inputs(9, torch.float32, sets=101)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(module, x, added))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("switches", [{}, {"has_norm": True}, {"is_hierarchical": False}], ids=str)
def test_encoder_equals_textbook(switches):
    torch.manual_seed(0)
    module = awake(SetEncoder(dim=32, heads=4, inducing_points=4, full_up_to=24, **switches)).eval()
    layouts = (handmade.small_cnn(), handmade.small_cnn(), handmade.mlp(), handmade.gru())
    prepared = module.prepare([handmade.network(layers, seed=i) for i, layers in enumerate(layouts)])
    module.fit_scale(prepared)
    batch = module.collate(prepared)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        exact, slow = copy.deepcopy(module).to(dtype), textbook(module).to(dtype)
        item = replace(batch, chunks=batch.chunks.to(dtype))
        found, expected = exact(item), slow(item)
        assert_near([found.detach()], [expected.detach()], tolerance)
    for out in (found, expected):  # in float32, a ReLU on the edge makes other gradients
        out.square().mean().backward()
    gradients = ([p.grad for p in each.parameters() if p.grad is not None] for each in (exact, slow))
    assert_near(*gradients, 1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_threads_work_without_gradients(mode, monkeypatch):
    monkeypatch.setattr(scalar_sets, "SLICE_TOKENS", 18)
    module, (x, added) = chunk_encoder(torch.float32), inputs(9, torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with mode():
                results.append(module(x, added))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)
