import pytest
import torch
from oracles.set_blocks import tilted_mean

from sne.nn import attend, softmax_over_set, tilted_means


def random(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("num_tokens", [1, 3, 9])
def test_small_form_equals_torch(num_tokens):
    q, k, v = (random(5, num_tokens, 12, seed=s).requires_grad_() for s in range(3))
    got = attend(q, k, v, heads=3)
    mask = torch.ones(5, num_tokens, dtype=torch.bool)  # a mask takes the other way
    expected = attend(q, k, v, heads=3, mask=mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    weight = random(*got.shape, seed=9)
    for a, b in zip(
        torch.autograd.grad(got, (q, k, v), weight),
        torch.autograd.grad(expected, (q, k, v), weight),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_small_form_gradcheck():
    q, k, v = random(2, 2, 4).requires_grad_(), *(random(2, 3, 4, seed=s).requires_grad_() for s in (1, 2))
    assert torch.autograd.gradcheck(lambda *x: attend(*x, heads=2), (q, k, v))


def test_attention_survives_huge_logits():
    q, k, v = random(2, 3, 4) * 1e3, random(2, 3, 4, seed=1) * 1e3, random(2, 3, 4, seed=2)
    assert attend(q, k, v, heads=1).isfinite().all()


@pytest.mark.parametrize("num_tokens", [1, 7, 50])
def test_softmax_over_set(num_tokens):
    logits = random(3, 2, num_tokens).requires_grad_()
    torch.testing.assert_close(softmax_over_set(logits), logits.softmax(-1), rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(softmax_over_set, (logits,))


def test_softmax_is_zero_on_padding():
    mask = torch.tensor([[True, True, False]])
    weights = softmax_over_set(random(1, 4, 3), mask)
    assert (weights[..., 2] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 4, dtype=torch.float64))


@pytest.mark.parametrize("tilt", [0.0, -3.0, 2.5, 1e4, -1e4])
def test_tilted_means_equal_loop(tilt):
    x = random(3, 6)
    got = tilted_means(x, torch.full((3, 1), tilt, dtype=torch.float64))
    for s in range(3):
        assert abs(float(got[s, 0]) - tilted_mean(x[s].tolist(), tilt)) < 1e-9


def test_tilted_means_gradcheck():
    x, tilts = random(2, 4).requires_grad_(), random(2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(tilted_means, (x, tilts))
    assert torch.autograd.gradcheck(lambda t: tilted_means(x.detach(), t), (tilts,))


def test_tilted_variance_does_not_cancel_around_a_large_mean():
    small = random(1, 8, dtype=torch.float32) * 1e-2
    tilts = torch.tensor([[2.0]], requires_grad=True)
    (exact,) = torch.autograd.grad(tilted_means(small, tilts).sum(), tilts)
    (shifted,) = torch.autograd.grad(tilted_means(small + 100, tilts).sum(), tilts)
    torch.testing.assert_close(shifted, exact, rtol=1e-2, atol=0)


def test_heads_must_divide_width():
    with pytest.raises(ValueError, match="dim 5 is not a multiple of heads 2"):
        attend(random(1, 2, 5), random(1, 2, 5), random(1, 2, 5), heads=2)
