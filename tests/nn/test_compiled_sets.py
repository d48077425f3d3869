"""The compiled kernel for sets of scalars, next to textbook modules with the same weights."""

import logging
import shutil
from functools import partial

import pytest
import torch
from oracles.textbook_sets import TextbookChunkEncoder
from scalar_set_cases import chunk_encoder, inputs

from sne.nn import compiled_sets, fold_blocks, scalar_sets
from sne.nn.folding import FoldedBlocks
from sne.nn.scalar_sets import encode_scalar_sets

SIZES = [(1, 64, 4), (2, 32, 2), (9, 64, 4), (10, 48, 3), (32, 32, 1)]
has_compiler = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
has_vectors = torch.backends.cpu.get_cpu_capability() in compiled_sets.PROCESSORS
needs_compiler = pytest.mark.skipif(
    not (has_compiler and has_vectors), reason="no C++ compiler, or a processor without AVX2"
)


@pytest.fixture(autouse=True)
def _compile(monkeypatch):
    monkeypatch.setenv("SNE_COMPILE", "1")


def run(module: torch.nn.Module, x: torch.Tensor, added: torch.Tensor) -> list[torch.Tensor]:
    """The result, the gradient of what is added, and those of the parameters."""
    added = added.clone().requires_grad_()
    out = module(x, added)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), (added, *module.parameters()))]


@needs_compiler
@pytest.mark.parametrize(("tokens", "dim", "heads"), SIZES)
@pytest.mark.parametrize("scale", [1, 40])  # of some logits: exponentials of the large ones are out of range
def test_equals_textbook(tokens, dim, heads, scale):
    module, (x, added) = chunk_encoder(dim, heads), inputs(100, tokens, dim)
    with torch.no_grad():
        module.second.block.query.weight.mul_(scale)
    assert compiled_sets.compiled_kernel(x, added, heads=heads)
    found = run(module, x, added)
    expected = run(TextbookChunkEncoder(module.double()), x.double(), added.double())
    tolerance = 1e-5 if scale == 1 else 1e-4  # float32 of logits of a hundred
    least = 1e-2 * max(float(value.abs().max()) for value in expected)  # where exact gradients are zero
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max()) <= tolerance * max(float(b.abs().max()), least)


@needs_compiler
def test_the_kernel_is_called_and_only_where_wanted(monkeypatch):
    module, (x, added) = chunk_encoder(64, 4), inputs(50, 9, 64)
    module(x, added)  # compiled and checked by now, with the usual operations as the reference
    called = []
    monkeypatch.setattr(scalar_sets._Slice, "forward", lambda *given, **options: called.append(1))
    module(x, added).sum().backward()
    assert not called
    with torch.no_grad():
        monkeypatch.setenv("SNE_COMPILE", "0")
        module(x, added)
    assert called


@needs_compiler
def test_what_is_not_finite_stays_in_its_set():
    module, (x, added) = chunk_encoder(64, 4), inputs(50, 9, 64)
    with torch.no_grad():
        expected = module(x, added)
        x[3, 4], x[20, 0] = float("nan"), float("inf")
        out = module(x, added)
    others = torch.tensor([index not in (3, 20) for index in range(50)])
    assert not out[~others].isfinite().any()
    assert torch.equal(out[others], expected[others])


@needs_compiler
def test_threads_and_batches_change_no_bit(monkeypatch):
    """Of the kernel: the matrix products that fold the blocks depend on the threads on some processors."""
    monkeypatch.setattr(scalar_sets, "SLICE_TOKENS", 18)
    module, (x, added) = chunk_encoder(64, 4), inputs(101, 9, 64)
    folded = fold_blocks(module.first, module.second, module.pool)
    blocks = FoldedBlocks(*(values.detach().requires_grad_() for values in folded))
    encode = partial(encode_scalar_sets, blocks=blocks, kernel=compiled_sets.compiled_kernel(x, added, heads=4))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            given = added.clone().requires_grad_()
            out = encode(x, given)
            results.append([out.detach(), *torch.autograd.grad(out.square().sum(), (given, *blocks))])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    with torch.no_grad():
        assert torch.equal(encode(x[40:77], added[40:77]), results[0][0][40:77])


def replaced(failure: str) -> scalar_sets.SetKernel:
    """A kernel with a wrong result or gradient."""
    kernel, value = compiled_sets._compile(64, 4), float("nan") if failure.endswith("NaN") else 1.0
    if failure.startswith("result"):
        return kernel._replace(forward=lambda *given: given[3].fill_(value))
    return kernel._replace(backward=lambda *given: given[4].fill_(value))


@pytest.mark.parametrize(
    "failure",
    [
        "compiler",
        "source",
        *(pytest.param(name, marks=needs_compiler) for name in ("result", "result NaN", "gradient", "gradient NaN")),
    ],
)
def test_a_kernel_that_fails_is_reported_once_and_not_used(failure, monkeypatch, caplog, tmp_path):
    module, (x, added) = chunk_encoder(64, 4), inputs(50, 9, 64)
    monkeypatch.setenv("SNE_COMPILE", "0")
    with torch.no_grad():
        expected = module(x, added)
    monkeypatch.setenv("SNE_COMPILE", "1")
    (tmp_path / "wrong.cpp").write_text("not C++")
    if failure == "compiler":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif failure == "source":
        monkeypatch.setattr(compiled_sets, "SOURCE", tmp_path / "wrong.cpp")
    else:
        kernel = replaced(failure)
        monkeypatch.setattr(compiled_sets, "_compile", lambda dim, heads: kernel)
    compiled_sets._kernel.cache_clear()
    try:
        with caplog.at_level(logging.WARNING), torch.no_grad():
            for _ in range(2):
                assert torch.equal(module(x, added), expected)
    finally:
        compiled_sets._kernel.cache_clear()
    assert [record.message.split(":")[0] for record in caplog.records] == ["the compiled kernel is not used at dim 64"]


def test_other_types_do_not_reach_the_kernel():
    x, added = inputs(5, 9, 64)
    assert not compiled_sets.compiled_kernel(x.double(), added.double(), heads=4)
    assert not compiled_sets.compiled_kernel(x, added[:, :20], heads=4)
    assert not compiled_sets.compiled_kernel(torch.randn(5, 33), added, heads=4)


@needs_compiler
def test_parameters_of_another_type_are_refused():
    x, added = inputs(5, 9, 64)
    with pytest.raises(TypeError, match="float32 only"):
        chunk_encoder(64, 4).double()(x, added)
