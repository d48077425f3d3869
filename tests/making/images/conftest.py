"""Class folders with image files in them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _write_image(path: Path, seed: int, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> np.ndarray:
    shape = size if mode == "L" else (*size, len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(path)
    return pixels


@pytest.fixture
def write_image() -> Callable[..., np.ndarray]:
    """Writes an image of random pixels; returns them, height first."""
    return _write_image


@pytest.fixture
def class_folders() -> Callable[[Path, int], None]:
    """Fills a folder with so many images each of the classes cat, dog and emu."""

    def fill(folder: Path, count: int) -> None:
        for label, name in enumerate(("cat", "dog", "emu")):
            for number in range(count):
                _write_image(folder / name / f"{number}.png", 100 * label + number)

    return fill
