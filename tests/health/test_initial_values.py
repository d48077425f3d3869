"""Initial values are recognised, and what training leaves in them is noticed."""

import math

import pytest
import torch
from torch import nn

import sne
from sne.health.initialisers import is_orthogonal
from sne.health.randomness import CUMULATIVE, KURTOSIS, kolmogorov, randomness, tracy_widom

INITIALISERS = {
    "kaiming uniform (torch's default)": lambda weight: nn.init.kaiming_uniform_(weight, a=math.sqrt(5)),
    "kaiming uniform": nn.init.kaiming_uniform_,
    "kaiming normal": nn.init.kaiming_normal_,
    "xavier uniform": nn.init.xavier_uniform_,
    "xavier normal": nn.init.xavier_normal_,
    "lecun normal": lambda weight: nn.init.normal_(weight, std=weight[0].numel() ** -0.5),
    "normal 0.02": lambda weight: nn.init.trunc_normal_(weight, std=0.02),
    "orthogonal": nn.init.orthogonal_,
}


def draws(kind, shape, count, seed=0):
    """Matrices of independent entries of variance 1."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        uniform = torch.rand(shape, generator=generator)
        if kind == "uniform":
            yield (2 * uniform - 1) * math.sqrt(3)
        elif kind == "normal":
            yield torch.randn(shape, generator=generator)
        else:
            ends = torch.special.ndtr(torch.tensor([-2.0, 2.0]))
            yield torch.special.ndtri(ends[0] + uniform * (ends[1] - ends[0])) / 0.8796256610342398


@pytest.mark.parametrize("kind", CUMULATIVE)
@pytest.mark.parametrize("shape", [(16, 9), (48, 64), (4, 200)])
def test_the_level_of_the_tests_holds(kind, shape):
    found = [randomness(values, kind, 1.0) for values in draws(kind, shape, 100)]
    assert sum(one < 0.01 for one in found) <= 5  # 1 is expected; 6 or more have a probability below 0.001


@pytest.mark.parametrize("kind", CUMULATIVE)
def test_moments_of_the_distributions(kind):
    values = next(draws(kind, (1000, 1000), 1)).double()
    assert float(values.square().mean()) == pytest.approx(1, abs=0.005)
    assert float(values.pow(4).mean()) == pytest.approx(KURTOSIS[kind], abs=0.03)
    assert float(CUMULATIVE[kind](values).mean()) == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values * 1.1,
        lambda values: values + 0.1,
        lambda values: values * (1 + 0.6 * torch.arange(len(values))[:, None] / len(values)) / 1.31,
        lambda values: values + 0.4 * torch.randn(64, 1) @ torch.randn(1, 64),
        lambda values: values + 0.3 * torch.randn(64),
    ],
    ids=["scale", "mean", "norms of rows", "one direction", "means of columns"],
)
def test_what_training_leaves_is_noticed(change):
    torch.manual_seed(0)
    assert all(randomness(change(values), "normal", 1.0) < 0.01 for values in draws("normal", (64, 64), 5))


def test_kolmogorov_agrees_with_scipy():
    from scipy.stats import kstest

    values = next(draws("normal", (20, 20), 1)).flatten() * 1.1
    assert kolmogorov(values, "normal") == pytest.approx(kstest(values.numpy(), "norm").pvalue, abs=0.02)


def test_largest_singular_value():
    found = torch.tensor([tracy_widom(values) for values in draws("normal", (40, 60), 200)])
    assert float((found < 0.1).double().mean()) == pytest.approx(0.1, abs=0.06)


@pytest.mark.parametrize("name", INITIALISERS)
def test_initialisers_are_named(name):
    torch.manual_seed(1)
    weight = torch.empty(48, 150)
    INITIALISERS[name](weight)
    assert sne.check({"fc.weight": weight}).tensors[0].initialiser == name


def test_a_convolution_and_an_embedding():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(300, 8), nn.Conv2d(8, 24, 3))
    nn.init.kaiming_normal_(network[1].weight, mode="fan_out")
    by_name = {tensor.tensor: tensor.initialiser for tensor in sne.check(network).tensors}
    assert by_name["0.weight"] == "normal 1"
    assert by_name["1.weight"] == "kaiming normal (fan out)"


def test_orthogonal_rows_are_recognised_in_half_precision():
    torch.manual_seed(0)
    matrix = nn.init.orthogonal_(torch.empty(20, 90), gain=1.4)
    assert is_orthogonal(matrix.half().float()) and is_orthogonal(matrix.T)
    assert not is_orthogonal(matrix + 0.02 * torch.randn(20, 90))
