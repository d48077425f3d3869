"""Fixtures that several packages' tests share, and the type checks that run with every test.

The import hook checks all annotated functions of `sne` with beartype, tensor shapes included. It has to be installed
before the first import of `sne`, which is why fixtures import `sne` when they run.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from jaxtyping import install_import_hook

install_import_hook("sne", "beartype.beartype")

if TYPE_CHECKING:
    from sne.zoo import Zoo

SIZE = 20


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image set with three classes that are easy to tell apart."""
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = rng.integers(0, 120, (240, SIZE, SIZE))
    for label in range(3):
        x[y == label, 6 * label : 6 * label + 6] += 120
    x = x.astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "bands.npz"
    np.savez(path, x_train=x[:180], y_train=y[:180], x_test=x[180:], y_test=y[180:])
    return path


@pytest.fixture(scope="session")
def made_zoo(tmp_path_factory: pytest.TempPathFactory, image_file: Path) -> "Zoo":
    """Two families, two runs each, three checkpoints a run, made by one worker."""
    from sne.making import make

    out = tmp_path_factory.mktemp("zoo") / "zoo"
    return make(out, families=["small_cnn", "mlp"], images=image_file, networks=2, workers=1, steps=12, keep=[0, 4, 12])
