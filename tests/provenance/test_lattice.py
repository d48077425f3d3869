"""Quantised tensors are recognised, plain ones are not."""

import pytest
import torch

from sne.provenance import lattice
from sne.provenance.lattice import NORMAL_FLOAT, find_levels, lies_on_levels, may_be_made_from, significant_digits


def named_levels(original, made):
    found = find_levels(original, made)
    return "" if found is None else found.name


def quantised(values, bits, *, group=0, clip=1.0):
    """Values on symmetric levels, with a scale per row, or per group of entries."""
    rows = values.reshape(-1, group or values.shape[1])
    most = 2 ** (bits - 1) - 1
    step = clip * rows.abs().amax(1, keepdim=True) / most
    return ((rows / step).round().clamp(-most - 1, most) * step).view_as(values)


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
    assert named_levels(values, made.view(16, 128)) == f"int{bits}"
    assert named_levels(values, made.half().float().view(16, 128)) == f"int{bits}"


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_levels_of_columns_are_found(bits):
    torch.manual_seed(0)
    values = torch.randn(128, 64)
    step = values.abs().amax(0) / (2 ** (bits - 1) - 1)
    assert named_levels(values, (values / step).round() * step) == f"int{bits}"


def test_plain_values_are_not_quantised():
    torch.manual_seed(0)
    values = torch.randn(16, 128)
    assert named_levels(values, values + 0.01 * torch.randn(16, 128)) == ""
    assert named_levels(values, torch.randn(16, 128)) == ""


def test_levels_far_from_the_original_do_not_count():
    torch.manual_seed(0)
    other = torch.randn(16, 128)
    step = other.abs().max() / 127
    assert named_levels(torch.randn(16, 128), (other / step).round() * step) == ""


def test_an_original_on_the_same_levels_is_no_original():
    levels = torch.randint(-7, 8, (16, 128)).float()
    assert named_levels(levels, levels.clamp(-6, 6)) == ""


@pytest.mark.parametrize("bits", [4, 8])
def test_parts_of_a_fused_tensor_are_found_whose_largest_entries_are_elsewhere(bits):
    generator = torch.Generator().manual_seed(0)
    for scale in (0.05, 0.3, 1.0):
        fused = torch.randn(48, 72, generator=generator) * torch.tensor([1.0, scale, 0.1]).repeat_interleave(24)
        step = fused.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        made = (fused / step).round() * step
        if scale >= 0.3:  # with less, nearly all entries of the second part are zero
            assert named_levels(fused[:, 24:48], made[:, 24:48]) in [
                f"int{fewer}" for fewer in (2, 3, 4, 8) if fewer <= bits
            ]
        assert named_levels(fused[:, :24], made[:, :24]) == f"int{bits}"


def test_small_tensors_that_were_rounded_or_pruned_are_not_on_levels():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        values = torch.randn(24, 24, generator=generator)
        assert named_levels(values, values + 0.01 * torch.randn(24, 24, generator=generator)) == ""
        for share in (0.3, 0.6, 0.9):
            limit = values.abs().flatten().kthvalue(int(share * values.numel())).values
            assert named_levels(values, values * (values.abs() > limit)) == ""


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


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [0, 32])
@pytest.mark.parametrize("clip", [0.6, 0.9])
def test_clipped_values_are_found(bits, group, clip):
    values = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    made = quantised(values, bits, group=group, clip=clip)
    found = find_levels(values, made)
    assert found is not None and found.name == f"int{bits}"
    assert bool(((found.lower <= values + 1e-6) & (values <= found.upper + 1e-6)).all())
    largest = values.argmax()
    assert bool(found.upper.flatten()[largest].isinf()) and bool(found.lower.flatten()[largest].isfinite())


@pytest.mark.parametrize("make", [torch.randn, torch.rand])
@pytest.mark.parametrize("group", [0, 32])
@pytest.mark.parametrize("clip", [0.9, 1.0])
def test_levels_are_found_in_bfloat16(make, group, clip):
    values = make(32, 64, generator=torch.Generator().manual_seed(0)) - (0.5 if make is torch.rand else 0.0)
    made = quantised(values, 8, group=group, clip=clip).bfloat16().float()
    assert named_levels(values, made) == "int8"
    assert named_levels(values, values.bfloat16().float()) == ""
    whole = quantised(values.reshape(1, -1), 8, clip=clip).view(32, 64).bfloat16().float()
    kept = values.abs().amax(1) < values.abs().max()
    assert named_levels(values[kept], whole[kept]) == "int8"  # the largest entry, which gives the scale, is elsewhere


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_values_of_narrow_types_are_not_on_levels(dtype):
    generator = torch.Generator().manual_seed(0)
    for shape in ((8, 8), (24, 24), (64, 48)):
        for _ in range(20):
            one = torch.randn(shape, generator=generator).to(dtype).float()
            other = (one + 0.01 * torch.randn(shape, generator=generator)).to(dtype).float()
            assert named_levels(one, other) == ""


def test_a_copy_of_a_quantised_tensor_is_told_from_a_copy_of_its_original():
    for seed in range(3):
        values = torch.randn(64, 64, generator=torch.Generator().manual_seed(seed))
        wide = quantised(values, 8)
        for narrow, is_child in ((quantised(wide, 4, group=32), True), (quantised(values, 4, group=32), False)):
            levels = find_levels(wide, narrow)
            assert levels is not None and levels.name == "int4"
            assert may_be_made_from(wide, narrow, levels) is is_child
        levels = find_levels(values, wide)
        assert levels is not None and may_be_made_from(values, wide, levels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_copy_of_a_rounded_tensor_is_told_from_a_copy_of_its_original(dtype):
    values = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    rounded = values.to(dtype).float()
    for made, is_child in ((quantised(rounded, 8), True), (quantised(values, 8), False)):
        levels = find_levels(rounded, made)
        assert levels is not None and may_be_made_from(rounded, made, levels) is is_child
    step = rounded.abs().amax(1, keepdim=True) / 7
    corrected = (rounded / step + 0.8 * torch.rand(64, 64, generator=torch.Generator().manual_seed(1)) - 0.4).round()
    made = corrected.clamp(-7, 7) * step  # as methods do that correct the errors of other entries
    levels = find_levels(rounded, made)
    assert levels is not None and may_be_made_from(rounded, made, levels)


def test_levels_of_one_tensor_alone():
    values = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    assert not lies_on_levels(values) and not lies_on_levels(values.bfloat16().float())
    assert all(lies_on_levels(quantised(values, bits, group=32)) for bits in (2, 3, 4, 8))
    assert lies_on_levels(in_blocks(values, 64, NORMAL_FLOAT))
    cosines = torch.cos(torch.pi / 4 * torch.outer(torch.arange(4), torch.arange(4) + 0.5))
    assert not lies_on_levels(torch.kron(cosines, cosines))  # each row has few magnitudes, and all have the same


def test_digits_are_those_of_the_narrowest_type():
    values = torch.randn(100, generator=torch.Generator().manual_seed(0))
    dtypes = {torch.float8_e5m2: 3, torch.float8_e4m3fn: 4, torch.bfloat16: 8, torch.float16: 11, torch.float32: 22}
    assert {dtype: significant_digits(values.to(dtype).float()) for dtype in dtypes} == dtypes


@pytest.mark.parametrize("shape", [(24, 128), (1, 200), (200, 1), (40, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_first_entries_rule_out_no_levels(shape, dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator)
    made = [quantised(values, bits, clip=clip) for bits in (2, 3, 4, 8) for clip in (1.0, 0.5)]
    made += [values - 0.1, values * (values > 0), values.round(), torch.zeros(shape)]
    made += [in_blocks(values, values.shape[1], NORMAL_FLOAT), quantised(values.T.contiguous(), 8).T]
    made[0][0] = made[0][0, 0]  # a constant piece lies on any levels
    made = [some.to(dtype).float() for some in made]
    found = [(named_levels(values, some), named_levels(some, values), lies_on_levels(some)) for some in made]
    monkeypatch.setattr(lattice, "TRIED_ENTRIES", 0)
    assert found == [(named_levels(values, some), named_levels(some, values), lies_on_levels(some)) for some in made]
    assert len({name for name, _, _ in found}) >= 3


@pytest.mark.parametrize("shape", [(40, 12), (24, 64)])
def test_the_first_pieces_of_an_original_rule_out_no_levels(shape, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator)
    wide = quantised(values, 8)
    is_first = torch.arange(shape[0])[:, None] < lattice.FIRST_PIECES
    places = torch.randint(-127, 128, shape, generator=generator)
    places = torch.where(
        is_first, 100 + places % 28, places
    )  # near zero, none of the first shows its levels in bfloat16
    places[:, ::16] = 127
    originals = [wide, torch.where(is_first, wide, values), torch.where(is_first, values, wide)]
    originals += [values, places * (0.5 + torch.rand(shape[0], 1, generator=generator))]
    originals = [one.to(dtype).float() for one in originals for dtype in (torch.float32, torch.bfloat16)]
    pairs = [(one, quantised(one, bits, clip=0.9)) for one in originals for bits in (2, 4, 8)]
    found = [named_levels(one, made) for one, made in pairs]
    monkeypatch.setattr(lattice, "FIRST_PIECES", values.numel())
    assert found == [named_levels(one, made) for one, made in pairs]
    assert "" in found and len(set(found)) >= 3


def test_plain_tensors_are_not_cut(monkeypatch):
    monkeypatch.setattr(lattice._Cut, "pieces", lambda cut, values: pytest.fail("the first entries are on no levels"))
    values = torch.randn(2, 64, 256, generator=torch.Generator().manual_seed(0))
    assert find_levels(values[0], values[0] + 0.1 * values[1]) is None
    assert find_levels(values[0][:, :1], values[0][:, :1] + 0.1) is None
