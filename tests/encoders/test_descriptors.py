import math

import numpy as np
import pytest
import torch
from oracles import descriptors_by_loop as oracle

from sne.encoders import descriptors
from sne.encoders.descriptors import describe

SHAPES = [(1, 1, 1), (5, 1, 1), (1, 7, 1), (6, 9, 1), (9, 4, 1), (3, 2, 9), (4, 5, 25), (5, 1, 9), (3, 2, 4), (2, 3, 5)]


def weights(*shape: int, batch: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *shape, generator=generator) * 0.3 + 0.05


def assert_near(got: torch.Tensor, expected: torch.Tensor | list, atol: float = 1e-5) -> None:
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=got.dtype), rtol=0, atol=atol)


@pytest.mark.parametrize("shape", [(24,), (5,), (1,)])
def test_distribution_equals_loops(shape):
    values = weights(*shape)
    got = descriptors.distribution(values)
    assert_near(got, [oracle.distribution(row) for row in values.numpy()])


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (2, 3), (12, 12)])
def test_spectrum_and_angles_equal_loops(shape):
    matrices = weights(*shape)
    assert_near(descriptors.spectrum(matrices), [oracle.spectrum(m) for m in matrices.numpy()], atol=1e-4)
    assert_near(descriptors.angles(matrices), [oracle.angles(m) for m in matrices.numpy()])


def test_norms_equal_loops():
    squares = weights(11).square()
    assert_near(descriptors.norms(squares), [oracle.norms(row) for row in squares.numpy()])


@pytest.mark.parametrize("side", [3, 5])
def test_kernel_waves_equal_loops(side):
    kernels = weights(3, 2, side * side)
    assert_near(descriptors.kernel_waves(kernels), [oracle.kernel_waves(k) for k in kernels.numpy()], atol=1e-4)


@pytest.mark.parametrize("positions", [1, 2, 3, 4, 5, 9, 25, 49])
def test_waves_are_orthonormal(positions):
    waves = descriptors.cosines_up_to_second(positions)
    assert_near(waves @ waves.T, torch.eye(len(waves)), atol=1e-6)
    assert_near(waves[0], torch.full((positions,), positions**-0.5), atol=1e-6)


def test_sorted_quantiles_are_those_of_numpy():
    values, at = weights(13).sort(-1).values, (0.0, 0.01, 0.4, 0.99, 1.0)
    assert_near(descriptors.sorted_quantiles(values, at), np.quantile(values.numpy(), at, axis=1).T, atol=1e-6)


@pytest.mark.parametrize(("size", "most"), [(5, 9), (9, 9), (10, 9), (1000, 7)])
def test_evenly_spaced_indices_are_legal_and_differ(size, most):
    kept = descriptors.evenly(size, most)
    assert len(kept) == min(size, most) == len(kept.unique())
    assert kept[0] == 0 and kept[-1] < size


@pytest.mark.parametrize("shape", SHAPES)
def test_order_of_neurons_does_not_matter(shape):
    tensor = weights(*shape)
    expected = describe(tensor)
    assert expected.isfinite().all()
    shuffle = torch.Generator().manual_seed(3)
    rows, columns = (torch.randperm(size, generator=shuffle) for size in shape[:2])
    assert_near(describe(tensor[:, rows]), expected)
    assert_near(describe(tensor[:, :, columns]), expected)


def test_order_of_kernel_positions_matters():
    tensor = weights(4, 3, 9)
    moved = tensor[..., torch.tensor([4, 1, 2, 3, 0, 5, 6, 7, 8])]
    assert (describe(moved) - describe(tensor)).abs().max() > 0.01


def test_one_changed_entry_matters():
    tensor = weights(6, 9, 1)
    changed = tensor.clone()
    changed[0, 2, 3] += 0.1
    difference = (describe(changed) - describe(tensor)).abs()
    assert difference[0].max() > 1e-3
    assert_near(difference[1], torch.zeros_like(difference[1]), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [3.0, 1e-3])
def test_a_factor_moves_the_scale_alone(shape, factor):
    tensor = weights(*shape)
    moved = describe(factor * tensor) - describe(tensor)
    is_scale = moved.abs().amax(0) > 0.5 * abs(math.log(factor))
    # The log rms, and the rms times the roots of fan in and fan out.
    assert is_scale.sum() == 3
    assert_near(moved[:, is_scale], torch.full_like(moved[:, is_scale], math.log(factor)))
    assert_near(moved[:, ~is_scale], torch.zeros_like(moved[:, ~is_scale]), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("value", [0.0, 0.3, -1.0, 1e6, 1e-8])
def test_constant_tensors_are_finite(shape, value):
    assert describe(torch.full((1, *shape), value)).isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e6, 1e-8])
def test_huge_and_tiny_values_are_finite(shape, scale):
    tensor = weights(*shape) * scale
    assert describe(tensor).isfinite().all()
    lonely = torch.zeros_like(tensor)
    lonely[:, 0, 0, 0] = scale
    assert describe(lonely).isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
def test_same_alone_and_in_a_batch(shape):
    tensor = weights(*shape, batch=5)
    together = describe(tensor)
    for row, alone in zip(together, tensor, strict=True):
        assert_near(describe(alone[None])[0], row, atol=1e-6)


def test_wide_tensors_are_described_in_pieces(monkeypatch):
    for name, most in (("MAX_NEURONS", 6), ("MAX_INPUTS", 20), ("MAX_SORTED", 50)):
        monkeypatch.setattr(descriptors, name, most)
    for shape in ((30, 40, 1), (30, 5, 9), (200, 1, 1), (7, 3, 25)):
        tensor = weights(*shape)
        got = describe(tensor)
        assert got.isfinite().all()
        assert torch.equal(got, describe(tensor.clone()))
        assert got.shape[1] == describe(weights(2, 2, 1)).shape[1]


def test_really_wide_tensors_are_finite():
    assert describe(weights(700, 3, 9, batch=1)).isfinite().all()
    assert describe(weights(3, 2500, 1, batch=1)).isfinite().all()
    assert describe(weights(1 << 20 | 5, 1, 1, batch=1)).isfinite().all()


@pytest.mark.parametrize(("num_out", "num_in", "rank"), [(16, 40, 1), (24, 24, 3)])
def test_a_null_space_stays_invisible(num_out, num_in, rank):
    tensor = (weights(num_out, rank) @ weights(rank, num_in, seed=1))[..., None]
    shuffle = torch.Generator().manual_seed(3)
    moved = tensor[:, torch.randperm(num_out, generator=shuffle)][:, :, torch.randperm(num_in, generator=shuffle)]
    assert_near(describe(moved), describe(tensor))


@pytest.mark.parametrize("shape", [(30, 40, 1), (30, 5, 9), (7, 3, 25), (5, 30, 1)])
def test_order_of_neurons_does_not_matter_in_wide_tensors_either(shape, monkeypatch):
    monkeypatch.setattr(descriptors, "MAX_NEURONS", 6)
    monkeypatch.setattr(descriptors, "MAX_INPUTS", 20)
    tensor = weights(*shape)
    shuffle = torch.Generator().manual_seed(3)
    rows, columns = (torch.randperm(size, generator=shuffle) for size in shape[:2])
    assert_near(describe(tensor[:, rows][:, :, columns]), describe(tensor))
