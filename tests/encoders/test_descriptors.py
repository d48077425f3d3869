import math

import pytest
import torch
from oracles import descriptors_by_loop as oracle

from sne.encoders import descriptors
from sne.encoders import measures as measuring
from sne.encoders.descriptors import DESCRIPTOR_NAMES
from sne.encoders.kernel_waves import cosine_waves
from sne.encoders.measures import WholeTensor

SHAPES = [(1, 1, 1), (5, 1, 1), (1, 7, 1), (6, 9, 1), (9, 4, 1), (3, 2, 9), (4, 5, 25), (5, 1, 9), (3, 2, 4), (2, 3, 5)]


def weights(*shape: int, batch: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *shape, generator=generator) * 0.3 + 0.05


def describe(tensor: torch.Tensor) -> torch.Tensor:
    return descriptors.describe(WholeTensor(tensor))


def assert_near(got: torch.Tensor, expected: torch.Tensor | list, atol: float = 1e-5) -> None:
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=got.dtype), rtol=0, atol=atol)


@pytest.mark.parametrize("shape", [(24,), (5,), (1,)])
def test_distribution_equals_loops(shape):
    values = weights(*shape)
    tensor = WholeTensor(values[..., None, None])
    got = descriptors.distribution(tensor.moments, tensor.quantiles)
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
    got = descriptors.kernel_waves(WholeTensor(kernels).waves, 6)
    assert_near(got, [oracle.kernel_waves(k) for k in kernels.numpy()], atol=1e-4)


@pytest.mark.parametrize("positions", [1, 2, 3, 4, 5, 9, 25, 49])
def test_waves_are_orthonormal(positions):
    waves = cosine_waves(positions)
    assert_near(waves @ waves.T, torch.eye(len(waves)), atol=1e-6)
    assert_near(waves[0], torch.full((positions,), positions**-0.5), atol=1e-6)


@pytest.mark.parametrize(("size", "most"), [(5, 9), (9, 9), (10, 9), (1000, 7)])
def test_evenly_spaced_indices_are_legal_and_differ(size, most):
    kept = torch.arange(size)[measuring.evenly(size, most)]
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


def moved(before: torch.Tensor, after: torch.Tensor) -> set[str]:
    """Names of the features that differ."""
    change = (describe(after) - describe(before)).abs().amax(0)
    return {name for name, difference in zip(DESCRIPTOR_NAMES, change.tolist(), strict=True) if difference > 1e-3}


def blocks_of(names: set[str]) -> set[str]:
    return {name.split("/")[0] for name in names}


SCALE = {"distribution/log_rms", "gain/log_fan_in", "gain/log_fan_out"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [3.0, 1e-3])
def test_a_factor_moves_the_scale_alone(shape, factor):
    tensor = weights(*shape)
    change = describe(factor * tensor) - describe(tensor)
    is_scale = torch.tensor([name in SCALE for name in DESCRIPTOR_NAMES])
    assert is_scale.sum() == len(SCALE)
    assert_near(change[:, is_scale], torch.full_like(change[:, is_scale], math.log(factor)))
    assert_near(change[:, ~is_scale], torch.zeros_like(change[:, ~is_scale]), atol=1e-4)


def test_kernel_positions_move_the_waves_alone():
    tensor = weights(6, 5, 9)
    order = torch.tensor([4, 1, 8, 3, 0, 5, 6, 7, 2])
    assert blocks_of(moved(tensor, tensor[..., order])) == {"kernel_waves"}


def test_the_sign_of_one_row_moves_the_distribution_and_the_angles_of_rows():
    tensor = weights(6, 9, 1)
    flipped = tensor.clone()
    flipped[:, 2] *= -1
    assert blocks_of(moved(tensor, flipped)) == {"distribution", "row_angles"}
    unsigned = {f"distribution/{name}" for name in ("log_rms", "mean_magnitude")}
    assert not unsigned & moved(tensor, flipped)


def test_the_sign_of_one_column_moves_the_distribution_and_the_angles_of_columns():
    tensor = weights(6, 9, 1)
    flipped = tensor.clone()
    flipped[:, :, 2] *= -1
    assert blocks_of(moved(tensor, flipped)) == {"distribution", "column_angles"}


def test_the_norm_of_one_row_moves_norms_but_not_the_angles_of_rows():
    tensor = weights(6, 9, 1)
    longer = tensor.clone()
    longer[:, 2] *= 2
    names = blocks_of(moved(tensor, longer))
    assert names == {"distribution", "gain", "row_spectrum", "row_norms", "column_norms", "column_angles"}


def test_a_rotation_of_the_rows_leaves_spectrum_and_columns():
    tensor = weights(6, 9, 1)
    rotation = torch.linalg.qr(weights(6, 6, batch=1, seed=5)[0]).Q
    rotated = (rotation @ tensor[..., 0])[..., None]
    assert blocks_of(moved(tensor, rotated)) == {"distribution", "row_norms", "row_angles"}


def test_size_and_kernel_sums_have_names_of_their_own():
    named = dict(zip(DESCRIPTOR_NAMES, describe(weights(4, 5, 9, batch=1))[0].tolist(), strict=True))
    sizes = {"log_outputs": 4, "log_inputs": 5, "log_kernel": 9, "log_entries": 180}
    assert all(named[f"shape/{name}"] == pytest.approx(math.log(size)) for name, size in sizes.items())
    assert named["gain/log_fan_in"] == pytest.approx(named["distribution/log_rms"] + 0.5 * math.log(45))
    assert named["gain/log_fan_out"] == pytest.approx(named["distribution/log_rms"] + 0.5 * math.log(36))
    # Kernels that sum to zero keep their energy, but have no spectrum of sums.
    tensor = weights(4, 5, 9, batch=1)
    centred = dict(zip(DESCRIPTOR_NAMES, describe(tensor - tensor.mean(-1, keepdim=True))[0].tolist(), strict=True))
    assert centred["kernel_waves/share_of_wave_0"] == pytest.approx(math.log(descriptors.FLOOR), abs=1e-3)
    assert named["kernel_waves/share_of_wave_0"] > centred["kernel_waves/share_of_wave_0"] + 1


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


@pytest.mark.parametrize(("num_out", "num_in", "rank"), [(16, 40, 1), (24, 24, 3)])
def test_a_null_space_stays_invisible(num_out, num_in, rank):
    tensor = (weights(num_out, rank) @ weights(rank, num_in, seed=1))[..., None]
    shuffle = torch.Generator().manual_seed(3)
    moved = tensor[:, torch.randperm(num_out, generator=shuffle)][:, :, torch.randperm(num_in, generator=shuffle)]
    assert_near(describe(moved), describe(tensor))


@pytest.mark.parametrize("shape", [(30, 40, 1), (30, 5, 9), (7, 3, 25), (5, 30, 1)])
def test_order_of_neurons_does_not_matter_in_wide_tensors_either(shape, monkeypatch):
    monkeypatch.setattr(measuring, "MAX_NEURONS", 6)
    monkeypatch.setattr(measuring, "MAX_INPUTS", 20)
    tensor = weights(*shape)
    shuffle = torch.Generator().manual_seed(3)
    rows, columns = (torch.randperm(size, generator=shuffle) for size in shape[:2])
    assert_near(describe(tensor[:, rows][:, :, columns]), describe(tensor))
