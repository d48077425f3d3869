"""Scaled features against the definition, written out for all features at once."""

import pytest
import torch
from torch import Tensor, nn

from sne.encoders.input_scale import LARGEST, SMALLEST_BIN, InputScale


def scaled_by_definition(scale: InputScale, rows: Tensor, groups: Tensor) -> Tensor:
    gain = scale.gain[groups]
    standard = (rows - scale.shift[groups]) * gain
    standard = standard / (1 + (standard / LARGEST).square()).sqrt()
    knots = scale.knots[groups]
    filled = ((rows[:, None] - knots[:, :-1]) / (knots.diff(dim=1) + SMALLEST_BIN)).clamp(0, 1) - 0.5
    return torch.cat([standard, (filled * (gain > 0)[:, None]).flatten(1)], 1)


def read(scale: InputScale, rows: Tensor, groups: Tensor, layer: nn.Linear, **options: float) -> Tensor:
    """Applies the scale to the rows of each group, and puts the outputs in the order of the rows."""
    kinds = range(len(scale.shift))
    outputs = scale([rows[groups == kind] for kind in kinds], layer, **options)
    return outputs[torch.cat([(groups == kind).nonzero()[:, 0] for kind in kinds]).argsort()]


def scaled(scale: InputScale, rows: Tensor, groups: Tensor) -> Tensor:
    layer = nn.Linear(scale.out_size, scale.out_size, bias=False)
    nn.init.eye_(layer.weight)
    with torch.no_grad():
        return read(scale, rows, groups, layer)


def draw(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Draws rows of two groups, with a feature that is constant in one of them, and one of few values."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(count, size, generator=generator).exp() * torch.logspace(-2, 2, size)
    groups = torch.arange(count) % 3 // 2
    rows[:, 1] = rows[:, 1].gt(1.0).float()
    rows[groups == 1, 0] = 3.0
    return rows, groups


@pytest.mark.parametrize("bins", [0, 1, 16])
def test_the_layer_reads_the_scaled_features(bins):
    rows, groups = draw(300, 5)
    scale = InputScale(3, 5, bins=bins)
    scale.fit(rows, groups)
    layer = nn.Linear(scale.out_size, 7)
    expected = layer(scaled_by_definition(scale, rows, groups))
    found = read(scale, rows, groups, layer)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad(expected.square().sum(), [layer.weight, layer.bias])
    for one, other in zip(torch.autograd.grad(found.square().sum(), [layer.weight, layer.bias]), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_no_rows():
    scale = InputScale(2, 5, bins=4)
    assert scale([torch.zeros(0, 5)] * 2, nn.Linear(scale.out_size, 7)).shape == (0, 7)


def test_noise_has_its_deviation_and_spares_features_that_do_not_vary():
    rows, groups = draw(300, 5)
    scale = InputScale(2, 5, bins=0)
    scale.fit(rows, groups)
    layer = nn.Linear(5, 5, bias=False)
    nn.init.eye_(layer.weight)
    torch.manual_seed(0)
    many, kinds = rows.repeat(40, 1), groups.repeat(40)
    with torch.no_grad():
        noise = read(scale, many, kinds, layer, noise=0.1) - read(scale, many, kinds, layer)
    assert abs(float(noise[kinds == 0].std()) - 0.1) < 2e-3
    assert not noise[kinds == 1, 0].any() and noise[kinds == 0, 0].any()


def test_features_are_standardised_in_each_group():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 3, generator=generator) * torch.tensor([1e-2, 1.0, 50.0]) + 7
    rows[:, 2] = 3.0
    groups = torch.arange(200) % 2
    rows[groups == 1] *= 10
    scale = InputScale(3, 3, bins=0)
    scale.fit(rows, groups)
    plain = (rows - scale.shift[groups]) * scale.gain[groups]
    for group in (0, 1):
        some = plain[groups == group]
        torch.testing.assert_close(some.mean(0), torch.zeros(3), rtol=0, atol=1e-3)
        torch.testing.assert_close(some.std(0, unbiased=False), torch.tensor([1.0, 1.0, 0.0]), rtol=1e-3, atol=1e-3)
    assert torch.equal(scale.gain[2], torch.ones(3)) and torch.equal(scale.shift[2], torch.zeros(3))
    beyond = scaled(scale, torch.full((4, 3), 1e30), torch.tensor([0, 1, 2, 2]))
    assert beyond.isfinite().all() and beyond.abs().max() <= 6.0001
    assert (beyond[:, :2] - 6).abs().max() < 1e-3 and not beyond[:2, 2].any()
    torch.testing.assert_close(scaled(scale, rows, groups), plain / (1 + (plain / 6) ** 2).sqrt())


def test_bins_lie_between_quantiles():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 2, generator=generator).exp()
    rows[:, 1] = 3.0
    scale = InputScale(2, 2, bins=4)
    scale.fit(rows, torch.zeros(400, dtype=torch.long))
    knots = rows[:, 0].quantile(torch.linspace(0, 1, 5), interpolation="nearest")
    torch.testing.assert_close(scale.knots[0, :, 0], knots)
    between = (knots[1] + knots[2]) / 2
    some = torch.stack([torch.tensor([0.0, between, 1e9]), torch.full((3,), 5.0)], 1)
    out = scaled(scale, some, torch.zeros(3).long())
    assert out.shape == (3, scale.out_size) == (3, 10)
    bins = out[:, 2:].reshape(3, 4, 2)
    torch.testing.assert_close(
        bins[:, :, 0], torch.tensor([[-0.5] * 4, [0.5, 0.0, -0.5, -0.5], [0.5] * 4]), rtol=0, atol=2e-3
    )
    assert not bins[:, :, 1].any()


def test_equal_scales():
    rows, groups = draw(300, 5)
    one, other = InputScale(2, 5, bins=2), InputScale(2, 5, bins=2)
    one.fit(rows, groups)
    assert one.equals(one) and not one.equals(other)
    other.fit(rows, groups)
    assert one.equals(other)
    other.knots[1, 2, 3] += 1
    assert not one.equals(other)
