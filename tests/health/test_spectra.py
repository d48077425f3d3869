"""The exponent of the tails of spectra."""

import math

import pytest
import torch

import sne
from sne.health import spectra
from sne.health.spectra import power_law, with_spectrum


def slow_power_law(values):
    """The fit as in the equation: every least value is tried."""
    values = sorted(values.tolist())
    best = (math.inf, 0.0)
    for start in range(len(values) - 9):
        tail = values[start:]
        logs = sum(math.log(one / tail[0]) for one in tail)
        if logs <= 0:
            continue
        alpha = 1 + len(tail) / logs
        distance = 0.0
        for number, one in enumerate(tail):
            share = 1 - (one / tail[0]) ** (1 - alpha)
            distance = max(distance, abs(share - number / len(tail)), abs(share - (number + 1) / len(tail)))
        best = min(best, (distance, alpha))
    return best[1]


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_agrees_with_the_equation(seed):
    values = torch.distributions.Pareto(1.0, 1.5).sample((80,)) + torch.rand(80)
    assert power_law(values) == pytest.approx(slow_power_law(values.double()), rel=1e-6)


def test_exponents_of_a_matrix():
    torch.manual_seed(0)
    weight = torch.randn(60, 90)
    (tensor,) = sne.check({"fc.weight": weight}).tensors
    assert tensor.alpha == pytest.approx(power_law(torch.linalg.svdvals(weight.double()).square()), rel=1e-3)


def test_convolutions_join_their_positions():
    torch.manual_seed(0)
    weight = torch.randn(20, 25, 2, 2)
    (tensor,) = sne.check({"conv.weight": weight}).tensors
    values = torch.cat([torch.linalg.svdvals(weight[:, :, i, j].double()).square() for i in (0, 1) for j in (0, 1)])
    assert tensor.alpha == pytest.approx(power_law(values), rel=1e-3)


def test_pieces_of_a_matrix_add_up(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    import sne.health.tensors as tensors

    torch.manual_seed(0)
    save_file({"a.weight": torch.randn(300, 60), "b.weight": torch.randn(70, 300)}, tmp_path / "a.safetensors")
    whole = [one.alpha for one in sne.check(tmp_path / "a.safetensors").tensors]
    monkeypatch.setattr(tensors, "PIECE", 3000)
    pieces = [one.alpha for one in sne.check(tmp_path / "a.safetensors").tensors]
    assert pieces == pytest.approx(whole, rel=1e-3) and None not in pieces


def test_small_matrices_have_none_and_large_networks_some(monkeypatch):
    assert sne.check({"fc.weight": torch.randn(20, 20)}).tensors[0].alpha is None
    network = sne.read_network({f"h.{i}.fc.weight": torch.randn(64, 64) for i in range(20)})
    assert len(with_spectrum(network.layers)) == 20
    monkeypatch.setattr(spectra, "BUDGET", 20 * 64**3 * 11 / 4)
    assert len(with_spectrum(network.layers)) == 5
