import pytest
import torch
from oracles import set_blocks as oracle
from torch import nn

from sne.nn import (
    InducedSetAttentionBlock,
    MultiheadAttentionBlock,
    PoolingByAttention,
    ScalarSetAttentionBlock,
    SetAttentionBlock,
)

DIM, HEADS = 8, 2


def awake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Float64, every parameter away from the zeros and ones it may start at."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5
    return module


def tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def block(kind: str, has_norm: bool = False) -> nn.Module:
    if kind == "sab":
        return awake(SetAttentionBlock(DIM, heads=HEADS, has_norm=has_norm))
    if kind == "isab":
        return awake(InducedSetAttentionBlock(DIM, heads=HEADS, inducing_points=3, has_norm=has_norm))
    if kind == "scalar":
        return awake(ScalarSetAttentionBlock(DIM, heads=HEADS, has_norm=has_norm))
    return awake(PoolingByAttention(DIM, heads=HEADS, has_norm=has_norm))


@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 5, 40])  # 40 is beyond the form for small sets
def test_mab_equals_loop(num_tokens, has_norm):
    module = awake(MultiheadAttentionBlock(DIM, heads=HEADS, has_norm=has_norm))
    x, y = tokens(2, 3, DIM), tokens(2, num_tokens, DIM, seed=2)
    for s in range(2):
        expected = torch.stack(oracle.mab(module, list(x[s]), list(y[s])))
        torch.testing.assert_close(module(x, y)[s], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("num_tokens", [6, 40])
def test_shared_targets_equal_mab(num_tokens, is_masked):
    module = awake(MultiheadAttentionBlock(DIM, heads=HEADS))
    x, y = tokens(3, DIM), tokens(2, num_tokens, DIM, seed=2)
    mask = torch.arange(num_tokens) < torch.tensor([[2], [num_tokens]]) if is_masked else None
    expected = module(x.expand(2, -1, -1), y, mask)
    torch.testing.assert_close(module.summarize(x, y, mask), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 4, 35])
def test_sab_isab_pma_equal_loops(num_tokens, has_norm):
    x = tokens(1 if num_tokens > 32 else 2, num_tokens, DIM)
    sab, isab, pma = (block(kind, has_norm) for kind in ("sab", "isab", "pma"))
    for s in range(len(x)):
        expected = torch.stack(oracle.sab(sab.block, list(x[s])))
        torch.testing.assert_close(sab(x)[s], expected, rtol=0, atol=1e-9)
        expected = torch.stack(oracle.isab(isab, list(x[s])))
        torch.testing.assert_close(isab(x)[s], expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(pma(x)[s], oracle.pma(pma, list(x[s])), rtol=0, atol=1e-9)


@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 2, 9])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 10.0])
def test_scalar_sab_equals_loop(scale, num_tokens, has_norm):
    module = block("scalar", has_norm)
    x = tokens(2, num_tokens) * scale
    for s in range(2):
        expected = torch.stack(oracle.scalar_sab(module, list(x[s])))
        torch.testing.assert_close(module(x)[s], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("num_tokens", [4, 40])
@pytest.mark.parametrize("kind", ["sab", "isab", "pma"])
def test_gradcheck(kind, num_tokens):
    module = block(kind)
    names = list(dict(module.named_parameters()))
    num_sets = 2 if num_tokens < 10 else 1

    def run(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))[:, :2]

    x = tokens(num_sets, num_tokens, DIM).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *module.parameters()), fast_mode=True)


def test_gradcheck_scalar():
    module = block("scalar")
    names = list(dict(module.named_parameters()))

    def run(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    x = tokens(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *module.parameters()))


@pytest.mark.parametrize("kind", ["sab", "isab", "pma"])
def test_padding_changes_nothing(kind):
    module = block(kind)
    lengths = torch.tensor([1, 3, 5])
    mask = torch.arange(5) < lengths[:, None]
    x = tokens(3, 5, DIM)
    noisy = torch.where(mask[..., None], x, torch.full_like(x, 1e3))
    for s, length in enumerate(lengths.tolist()):
        alone = module(x[s : s + 1, :length])[0]
        padded = module(noisy, mask)[s]
        torch.testing.assert_close(padded if kind == "pma" else padded[:length], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_tokens", [6, 40])
@pytest.mark.parametrize("kind", ["sab", "isab", "scalar", "pma"])
def test_order(kind, num_tokens):
    module = block(kind)
    x = tokens(2, num_tokens) if kind == "scalar" else tokens(2, num_tokens, DIM)
    order = torch.randperm(num_tokens, generator=torch.Generator().manual_seed(3))
    expected = module(x) if kind == "pma" else module(x)[:, order]
    torch.testing.assert_close(module(x[:, order]), expected, rtol=0, atol=1e-9)


def test_induced_block_shares_its_outer_block_with_small_sets():
    module = awake(InducedSetAttentionBlock(DIM, heads=HEADS, inducing_points=3, full_up_to=4))
    small, large = tokens(1, 4, DIM), tokens(1, 5, DIM)
    torch.testing.assert_close(module(small), module.outer(small, small))
    expected = torch.stack(oracle.isab(module, list(large[0])))
    torch.testing.assert_close(module(large)[0], expected, rtol=0, atol=1e-9)


def test_slices_without_gradients_change_nothing():
    module = awake(InducedSetAttentionBlock(DIM, heads=HEADS, inducing_points=3, slice_tokens=7))
    x = tokens(2, 20, DIM)
    expected = module(x)
    with torch.no_grad():
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [SetAttentionBlock, PoolingByAttention, ScalarSetAttentionBlock])
def test_heads_must_divide_dim(kind):
    with pytest.raises(ValueError, match="dim 8 is not a multiple of heads 3"):
        kind(8, heads=3)
