"""The test part of an image set that comes without one."""

from collections.abc import Sequence

import numpy as np

from sne.errors import ZooError

_SHARE = 0.2


def hold_out(labels: Sequence[int], where: str) -> tuple[list[int], list[int]]:
    """Rows to train and to test on: a fixed random fifth of every class is held out, at least one image.

    Args:
        labels: class of each image.
        where: what messages call the images.

    Returns:
        Training rows and test rows, both rising. The same labels give the same rows.

    Raises:
        ZooError: a class has a single image.
    """
    rng = np.random.default_rng(0)
    held: list[int] = []
    by_class = np.asarray(labels)
    for label in np.unique(by_class):
        rows = np.flatnonzero(by_class == label)
        if len(rows) < 2:
            raise ZooError(f"{where}: class {int(label)} has one image; without a test part it needs two")
        held += rng.permutation(rows)[: max(round(_SHARE * len(rows)), 1)].tolist()
    return sorted(set(range(len(labels))) - set(held)), sorted(held)
