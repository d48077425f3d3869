"""Stacked modules against the modules one by one."""

import pytest
import torch
from torch import nn

from sne.nn import PreNormBlock
from sne.nn.stacked import StackedLinear, StackedPreNormBlocks, StackedTables, normalize


def randomised(module):
    for number, parameter in enumerate(module.parameters()):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number + parameter.numel()))
    return module


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_linear_layers_behind_norms():
    norms = [randomised(nn.LayerNorm(4)) for _ in range(3)]
    layers = [nn.Linear(4, 5) for _ in range(3)]
    rows, target = draw(3, 7, 4), draw(3, 7, 5)
    expected = torch.stack([layer(norm(own)) for layer, norm, own in zip(layers, norms, rows, strict=True)])
    found = StackedLinear(layers, norms)(normalize(rows))
    torch.testing.assert_close(found, expected)
    plain = torch.stack([layer(own) for layer, own in zip(layers, rows, strict=True)])
    with torch.no_grad():
        total = target.clone()
        StackedLinear(layers).add_to(total, rows)
    torch.testing.assert_close(total, target + plain)


def test_tables():
    tables, rows = draw(3, 6, 4), torch.tensor([5, 0, 0, 2])
    assert torch.equal(StackedTables(list(tables))(rows), tables[:, rows])


@pytest.mark.parametrize(("size", "num_real"), [(5, None), (5, 3), (40, None), (40, 33)])
def test_pre_norm_blocks(size, num_real):
    torch.manual_seed(0)
    blocks = [randomised(PreNormBlock(8, heads=2, dropout=0.5)).eval() for _ in range(3)]
    mask = None if num_real is None else torch.stack([torch.arange(size) < num_real, torch.ones(size).bool()])
    tokens = draw(3, 2, size, 8)
    with torch.no_grad():
        expected = torch.stack([block(own, mask) for block, own in zip(blocks, tokens, strict=True)])
        StackedPreNormBlocks(blocks).apply_(tokens, None if mask is None else mask.repeat(3, 1))
    real = torch.ones(2, size).bool() if mask is None else mask
    torch.testing.assert_close(tokens[:, real], expected[:, real], rtol=1e-4, atol=1e-4)
