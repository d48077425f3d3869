"""Synthetic images that are sent through networks: patterns, each in a few slightly different copies."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

PATTERNS = 8
"""Number of patterns."""

COPIES = 3
"""Number of copies of a pattern, which differ in place, contrast and noise."""

NUM_IMAGES = PATTERNS * COPIES
"""Number of images; the copies of a pattern follow each other."""

_MARGIN = 4
"""Number of pixels by which copies are shifted at most."""


@lru_cache(maxsize=64)
def draw_images(height: int, width: int) -> Float[Tensor, "images height width"]:
    """Draws the images of a size; values are from -1 to 1.

    The patterns are random fields whose amplitudes fall with frequency as in photographs. They come in three styles by
    turns: as textures, as grey shapes on a dark ground, and as bright lines on a dark ground.

    Args:
        height: Number of rows.
        width: Number of columns.

    Returns:
        The images, always the same ones; not to be changed in place.

    Example:
        >>> draw_images(9, 9).shape
        torch.Size([24, 9, 9])
    """
    draws = np.random.Generator(np.random.PCG64(0))
    shape = (height + _MARGIN, width + _MARGIN)
    frequencies = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    frequencies[0, 0] = 1 / max(shape)
    images = []
    for pattern in range(PATTERNS):
        waves = draws.standard_normal(shape) + 1j * draws.standard_normal(shape)
        field = np.fft.ifft2(waves * frequencies**-1.5).real
        drawn = _STYLES[pattern % len(_STYLES)]((field - field.mean()) / field.std())
        for _ in range(COPIES):
            top, left = draws.integers(0, _MARGIN + 1, 2)
            contrast = draws.uniform(0.6, 1.4)
            noise = 0.1 * draws.standard_normal((height, width))
            images.append(np.clip(contrast * drawn[top : top + height, left : left + width] + noise, -1, 1))
    return torch.from_numpy(np.stack(images)).float()


def _texture(field: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return field


def _shapes(field: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    rows, columns = (np.linspace(-1, 1, size) for size in field.shape)
    distance = np.add.outer(rows**2, columns**2)
    return np.where(field > 1.2 * distance, 0.5 * field.clip(-1, 1) + 0.5, -1.0)


def _lines(field: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return np.where(np.abs(field) < 0.35, 1.0, -1.0)


_STYLES = (_texture, _shapes, _lines)
