import pytest
import torch
from torch import nn

from sne.making.stacked.layers import MatrixConv2d, UnrolledGRU, UnrolledLSTM, use_stackable_layers


@pytest.mark.parametrize(
    "settings", [{}, {"stride": 2}, {"padding": 2, "bias": False}, {"stride": (2, 1), "padding": (0, 3)}]
)
def test_convolutions_as_products(settings):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, (3, 5), **settings).double()
    x = torch.randn(4, 3, 11, 13, dtype=torch.float64, requires_grad=True)
    expected = layer(x)
    (expected_gradient,) = torch.autograd.grad(expected.square().sum(), x)
    use_stackable_layers(layer)
    assert type(layer) is MatrixConv2d
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(torch.autograd.grad(layer(x).square().sum(), x)[0], expected_gradient)


@pytest.mark.parametrize("kind, unrolled", [(nn.GRU, UnrolledGRU), (nn.LSTM, UnrolledLSTM)])
def test_recurrent_layers_step_by_step(kind, unrolled):
    torch.manual_seed(0)
    layer = kind(4, 6, batch_first=True).double()
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    expected, _ = layer(x)
    use_stackable_layers(layer)
    assert type(layer) is unrolled
    torch.testing.assert_close(layer(x)[0], expected)


def test_what_they_cannot_do_is_left_alone():
    module = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.GRU(3, 3, num_layers=2), nn.LSTM(3, 3, bidirectional=True),
    )  # fmt: skip
    use_stackable_layers(module)
    assert [type(layer) for layer in module] == [nn.Conv2d] * 4 + [nn.GRU, nn.LSTM]
