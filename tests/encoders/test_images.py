"""The synthetic images: the same ones always, bounded, varied, and alike within a pattern."""

import numpy as np
import pytest
import torch

from sne.encoders.images import COPIES, NUM_IMAGES, PATTERNS, draw_images

SIZES = [*((side, side) for side in range(4, 65)), (4, 64), (64, 4), (7, 9), (8, 5), (8, 28), (8, 61), (11, 7)]
IS_COPY = torch.block_diag(*[torch.ones(COPIES, COPIES)] * PATTERNS).bool() & ~torch.eye(NUM_IMAGES).bool()
IS_OTHER = ~IS_COPY & ~torch.eye(NUM_IMAGES).bool()


@pytest.mark.parametrize("size", [(7, 7), (8, 28)])
def test_they_depend_on_no_seed(size):
    first = draw_images(*size).clone()
    draw_images.cache_clear()
    torch.manual_seed(5)
    np.random.seed(5)
    assert torch.equal(draw_images(*size), first)


@pytest.mark.parametrize("size", SIZES)
def test_they_are_bounded_and_none_is_uniform(size):
    images = draw_images(*size)
    assert images.shape == (NUM_IMAGES, *size) and images.dtype == torch.float32
    assert images.isfinite().all() and images.abs().max() <= 1
    assert images.flatten(1).std(1).min() > 0.2


@pytest.mark.parametrize("size", SIZES)
def test_all_differ_and_copies_are_nearer_to_each_other_than_to_others(size):
    rows = draw_images(*size).flatten(1)
    distances = torch.cdist(rows, rows)
    assert distances[~torch.eye(NUM_IMAGES).bool()].min() > 0.1
    nearer = distances[IS_OTHER].mean() / distances[IS_COPY].mean()
    assert nearer > (1.25 if min(size) >= 20 else 1.02)


def test_copies_differ_in_contrast_and_noise_by_little_in_large_images():
    images = draw_images(64, 64)
    rows = images.flatten(1) - images.flatten(1).mean(1, keepdim=True)
    rows = rows / rows.norm(dim=1, keepdim=True)
    alike = rows @ rows.T
    assert alike[IS_COPY].mean() > 0.5 and alike[IS_OTHER].abs().mean() < 0.3


@pytest.mark.parametrize("size", [(7, 7), (28, 28), (64, 64)])
def test_styles_take_turns(size):
    """Lines and the ground of shapes have two levels, textures have all."""
    extreme = (draw_images(*size).abs() > 0.55).float().mean((1, 2)).unflatten(0, (PATTERNS, COPIES)).mean(1)
    assert extreme[2::3].min() > 0.7 and extreme[0::3].max() < extreme[2::3].min()
