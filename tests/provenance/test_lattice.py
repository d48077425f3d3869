"""Quantised tensors are recognised, plain ones are not."""

import pytest
import torch

from sne.provenance.lattice import NORMAL_FLOAT, lattice_bits, named_levels


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", ["tensor", "row", 64, 32])
@pytest.mark.parametrize("is_affine", [False, True])
def test_levels_of_all_kinds_are_found(bits, group, is_affine):
    torch.manual_seed(0)
    values = torch.randn(16, 128)
    pieces = {"tensor": values.view(1, -1), "row": values}.get(group)
    pieces = values.reshape(-1, group) if pieces is None else pieces
    if is_affine:
        low, high = pieces.amin(1, keepdim=True), pieces.amax(1, keepdim=True)
        step = (high - low) / (2**bits - 1)
        made = ((pieces - low) / step).round() * step + low
    else:
        step = pieces.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        made = (pieces / step).round() * step
    assert lattice_bits(values, made.view(16, 128)) == bits
    assert lattice_bits(values, made.half().float().view(16, 128)) == bits


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_levels_of_columns_are_found(bits):
    torch.manual_seed(0)
    values = torch.randn(128, 64)
    step = values.abs().amax(0) / (2 ** (bits - 1) - 1)
    assert lattice_bits(values, (values / step).round() * step) == bits


def test_plain_values_are_not_quantised():
    torch.manual_seed(0)
    values = torch.randn(16, 128)
    assert named_levels(values, values + 0.01 * torch.randn(16, 128)) == ""
    assert named_levels(values, torch.randn(16, 128)) == ""


def test_levels_far_from_the_original_do_not_count():
    torch.manual_seed(0)
    other = torch.randn(16, 128)
    step = other.abs().max() / 127
    assert lattice_bits(torch.randn(16, 128), (other / step).round() * step) == 0


def test_an_original_on_the_same_levels_is_no_original():
    levels = torch.randint(-7, 8, (16, 128)).float()
    assert lattice_bits(levels, levels.clamp(-6, 6)) == 0


@pytest.mark.parametrize("bits", [4, 8])
def test_parts_of_a_fused_tensor_are_found_whose_largest_entries_are_elsewhere(bits):
    generator = torch.Generator().manual_seed(0)
    for scale in (0.05, 0.3, 1.0):
        fused = torch.randn(48, 72, generator=generator) * torch.tensor([1.0, scale, 0.1]).repeat_interleave(24)
        step = fused.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        made = (fused / step).round() * step
        if scale >= 0.3:  # with less, nearly all entries of the second part are zero
            assert 0 < lattice_bits(fused[:, 24:48], made[:, 24:48]) <= bits
        assert lattice_bits(fused[:, :24], made[:, :24]) == bits


def test_small_tensors_that_were_rounded_or_pruned_are_not_on_levels():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        values = torch.randn(24, 24, generator=generator)
        assert lattice_bits(values, values + 0.01 * torch.randn(24, 24, generator=generator)) == 0
        for share in (0.3, 0.6, 0.9):
            limit = values.abs().flatten().kthvalue(int(share * values.numel())).values
            assert lattice_bits(values, values * (values.abs() > limit)) == 0


def in_blocks(values, size, levels):
    """Values on levels, which are shares of the largest magnitude of each block."""
    blocks = values.reshape(-1, size)
    largest = blocks.abs().amax(1, keepdim=True)
    nearest = ((blocks / largest)[..., None] - torch.tensor(levels)).abs().argmin(-1)
    return (torch.tensor(levels)[nearest] * largest).view_as(values)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_normal_float_is_found(size, dtype):
    values = torch.randn(32, 256, generator=torch.Generator().manual_seed(0))
    made = in_blocks(values, size, NORMAL_FLOAT).to(dtype).float()
    assert named_levels(values, made) == "nf4"
    assert named_levels(made, values) == ""


def test_other_codes_are_not_normal_float():
    values = torch.randn(32, 256, generator=torch.Generator().manual_seed(0))
    assert named_levels(values, in_blocks(values, 64, tuple(level**3 for level in NORMAL_FLOAT))) == ""
    pruned = values * (values.abs() > 1)
    assert named_levels(values, pruned) == ""
