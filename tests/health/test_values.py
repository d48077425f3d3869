"""Findings that follow from the values of single tensors."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import sne


def state():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5))
    with torch.no_grad():
        for values in network.state_dict().values():
            if values.is_floating_point():
                values.copy_(torch.rand_like(values) + 0.1)
    return network.state_dict()


def found(state, **kwargs):
    return {(one.code, one.location, one.severity.value) for one in sne.check(state, **kwargs).findings}


def test_nothing_is_found_in_plain_values():
    report = sne.check(state())
    assert report.findings == () and report.verdict == "good" and report.summary == "nothing found"
    assert [one.tensor for one in report.tensors][:2] == ["0.weight", "0.bias"]


def test_nan_are_counted_in_every_tensor(tmp_path):
    broken = state()
    broken["0.weight"][0, 0, 0, :2] = torch.nan
    broken["0.weight"][1, 0, 0, 0] = -torch.inf
    broken["4.bias"][:] = torch.inf
    save_file(broken, tmp_path / "a.safetensors")
    report = sne.check(tmp_path / "a.safetensors")
    assert [(one.location, one.message) for one in report.findings] == [
        ("0.weight", "2 NaN and 1 infinite of 216 values"),
        ("4.bias", "5 infinite of 5 values"),
    ]
    assert report.verdict == "broken"
    weight = report.tensors[0]
    assert (weight.num_nan, weight.num_infinite, weight.num_finite) == (2, 1, 213)
    kept = broken["0.weight"][torch.isfinite(broken["0.weight"])].double()
    assert weight.mean == pytest.approx(float(kept.mean()), rel=1e-5)
    assert weight.rms == pytest.approx(float(kept.square().mean().sqrt()), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("1.running_var", lambda values: values.sub_(2), "negative-variance"),
        ("4.weight", lambda values: values.zero_(), "zero"),
        ("4.weight", lambda values: values.fill_(0.25), "constant"),
        ("4.weight", lambda values: values.mul_(1e12), "scale"),
        ("1.weight", lambda values: values.mul_(-1e12), "scale"),
    ],
)
def test_one_fault_is_one_error(name, change, code):
    broken = state()
    change(broken[name])
    assert found(broken) == {(code, name, "error")}


def test_values_are_measured(tmp_path):
    values = torch.tensor([[3.0, 0.0, -1.0], [0.0, 2.0, 0.5]])
    (tensor,) = sne.check({"fc.weight": values}).tensors
    assert (tensor.smallest, tensor.largest, tensor.num_zeros) == (-1.0, 3.0, 2)
    assert tensor.mean == pytest.approx(float(values.mean()))
    squares = values.double().square()
    assert tensor.rms == pytest.approx(float(squares.mean().sqrt()))
    assert tensor.kurtosis == pytest.approx(float(squares.square().mean() / squares.mean() ** 2))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_moments_neither_overflow_nor_vanish(scale):
    values = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    tensor = sne.check({"fc.weight": values * scale}).tensors[0]
    assert tensor.rms == pytest.approx(scale * float(values.square().mean().sqrt()), rel=1e-4)
    squares = values.double().square()
    assert tensor.kurtosis == pytest.approx(float(squares.square().mean() / squares.mean() ** 2), rel=1e-4)


def test_pieces_give_the_same_as_the_whole(tmp_path, monkeypatch):
    import sne.health.tensors as tensors

    big = {"a.weight": torch.randn(300, 40), "b.weight": torch.randn(7, 300)}
    save_file(big, tmp_path / "a.safetensors")
    whole = sne.check(tmp_path / "a.safetensors").tensors
    monkeypatch.setattr(tensors, "PIECE", 100)
    for one, other in zip(sne.check(tmp_path / "a.safetensors").tensors, whole, strict=True):
        assert (one.tensor, one.smallest, one.largest) == (other.tensor, other.smallest, other.largest)
        assert one.mean == pytest.approx(other.mean, rel=1e-4)
        assert one.rms == pytest.approx(other.rms, rel=1e-5)
        assert one.kurtosis == pytest.approx(other.kurtosis, rel=1e-5)


def test_a_network_that_is_read_already(tmp_path):
    network = sne.read_network(state())
    assert sne.check(network) == sne.check(state())
