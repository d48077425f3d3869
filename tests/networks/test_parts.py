"""Parts: cutting, ordering of axes, and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.networks import Part, Role


@st.composite
def parts(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=5)))
    axes = draw(st.permutations(range(len(shape))))
    out_axis = axes[0] if shape else None
    in_axis = axes[1] if len(shape) > 1 and draw(st.booleans()) else None
    return Part("x", Role.WEIGHT, shape, out_axis, in_axis)


@settings(max_examples=200, deadline=None)
@given(parts())
def test_restore_is_the_inverse_of_arrange(part):
    stored = torch.arange(max(part.num_entries, 1), dtype=torch.float32).reshape(part.shape)
    arranged = part.arrange(stored)
    assert tuple(arranged.shape) == part.arranged_shape
    assert torch.equal(part.restore(arranged), stored)


@pytest.mark.parametrize(("axis", "start"), [(0, 4), (1, 2)])
def test_slices(axis, start):
    stored = torch.randn(8, 6)
    shape = (2, 6) if axis == 0 else (8, 2)
    part = Part("x", Role.WEIGHT, shape, 0, 1, axis, start)
    assert torch.equal(part.arrange(stored)[..., 0], stored.narrow(axis, start, 2))


@pytest.mark.parametrize("axis", [0, 1])
def test_slices_that_repeat(axis):
    stored = torch.randn(12, 12)
    shape = (6, 12) if axis == 0 else (12, 6)
    part = Part("x", Role.WEIGHT, shape, 0, 1, axis, start=1, run=2, step=4)
    assert part.indices == (1, 2, 5, 6, 9, 10)
    assert torch.equal(part.arrange(stored)[..., 0], stored.index_select(axis, torch.tensor(part.indices)))
    assert torch.equal(part.restore(part.arrange(stored)), part.select(stored))
