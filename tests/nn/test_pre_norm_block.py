import pytest
import torch

from sne.nn import PreNormBlock, attend
from sne.nn.attention import attend_within


def block(dropout: float = 0.0) -> PreNormBlock:
    torch.manual_seed(0)
    return PreNormBlock(8, heads=2, dropout=dropout).double().eval()


def tokens(sets: int = 2, size: int = 5) -> torch.Tensor:
    return torch.randn(sets, size, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_loop(module: PreNormBlock, given: torch.Tensor) -> torch.Tensor:
    """One set, token by token and head by head."""
    asked = module.projection(module.before_attention(given))
    rows = []
    for query in asked:
        heads = []
        for head in range(2):
            at = slice(4 * head, 4 * head + 4)
            logits = torch.stack([query[:8][at] @ other[8:16][at] / 2.0 for other in asked])
            shares = logits.exp() / logits.exp().sum()
            heads.append(sum(share * other[16:][at] for share, other in zip(shares, asked, strict=True)))
        rows.append(torch.cat(heads))
    given = given + module.out(torch.stack(rows))
    return given + module.feed_forward(module.before_feed_forward(given))


def test_equals_loops():
    module, given = block(), tokens()
    expected = torch.stack([by_loop(module, some) for some in given])
    torch.testing.assert_close(module(given), expected)


def test_order_of_tokens_goes_through():
    module, given = block(), tokens()
    order = torch.tensor([4, 0, 3, 1, 2])
    torch.testing.assert_close(module(given[:, order]), module(given)[:, order])


@pytest.mark.parametrize("filler", [0.0, 1e3])
def test_padding_does_not_matter(filler):
    module, given = block(), tokens()
    padded = torch.cat([given, torch.full((2, 3, 8), filler, dtype=torch.float64)], 1)
    mask = (torch.arange(8) < 5).expand(2, -1)
    torch.testing.assert_close(module(padded, mask)[:, :5], module(given))


def test_large_sets_agree_with_small_ones():
    module, given = block(), tokens(1, 40)
    torch.testing.assert_close(module(given)[0], by_loop(module, given[0]))


def test_gradients():
    module = block()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert torch.autograd.gradcheck(lambda x: module(x, mask)[mask], tokens(2, 3).requires_grad_())
    assert torch.autograd.gradcheck(module, tokens(2, 3).requires_grad_())


def test_dropout_works_in_training_alone():
    module, given = block(0.5), tokens()
    assert torch.equal(module(given), module(given))
    module.train()
    assert (module(given) - module(given)).abs().max() > 0.01


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="dim 8 is not a multiple of heads 3"):
        PreNormBlock(8, heads=3)(tokens().float())


@pytest.mark.parametrize("size", [3, 40])
def test_attention_within_sets_is_attention_from_sets_to_themselves(size):
    projected = torch.randn(2, size, 24, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found, expected = attend_within(projected, heads=2), attend(*projected.chunk(3, -1), heads=2)
    torch.testing.assert_close(found, expected)
    wanted, got = (torch.autograd.grad(some.square().sum(), projected)[0] for some in (expected, found))
    torch.testing.assert_close(got, wanted)
    with torch.no_grad():
        torch.testing.assert_close(attend_within(projected, heads=2), expected)
