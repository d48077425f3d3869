import torch

from sne.making.families.dropout import ByteDropout


def test_rate_mean_and_independence():
    torch.manual_seed(0)
    x = torch.ones(400, 501)
    for probability in (0.1, 0.5, 0.7):
        y = ByteDropout(probability)(x)
        exact = round(probability * 256) / 256
        assert abs(float((y == 0).float().mean()) - exact) < 0.005
        assert abs(float(y.mean()) - 1) < 0.01
        assert set(y.unique().tolist()) == {0.0, y.max().item()}
        left, right = (y[:, :-1] == 0).float(), (y[:, 1:] == 0).float()
        assert abs(float((left * right).mean()) - exact**2) < 0.005


def test_off():
    x = torch.randn(3, 5)
    assert torch.equal(ByteDropout(0.5).eval()(x), x) and torch.equal(ByteDropout(0.0)(x), x)


def test_gradient_goes_through_the_kept():
    x = torch.randn(40, requires_grad=True)
    y = ByteDropout(0.5)(x)
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad == 0, y == 0)
