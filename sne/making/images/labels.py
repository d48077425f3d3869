"""Class labels of images: checked, and split into a training and a test part."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sne.errors import ZooError


def check_labels(labels: np.ndarray, count: int, where: str) -> Int[Tensor, " n"]:
    """Returns class numbers as a tensor.

    Args:
        labels: Labels as they were read.
        count: Number of images.
        where: Name of the labels in error messages.

    Raises:
        ZooError: The labels are not as many whole numbers from 0.
    """
    if labels.ndim != 1 or len(labels) != count or not np.issubdtype(labels.dtype, np.integer):
        raise ZooError(f"{where}: expected {count} whole numbers, came {labels.dtype} {list(labels.shape)}")
    if labels.min() < 0 or labels.max() > 9999:
        raise ZooError(f"{where}: classes must lie in 0..9999, came {labels.min()}..{labels.max()}")
    return torch.from_numpy(labels.astype(np.int64))


_SHARE = 0.2


def hold_out(labels: Sequence[int], where: str) -> tuple[list[int], list[int]]:
    """Splits images: a fixed random fifth of every class is held out, at least one image.

    Args:
        labels: Class of each image.
        where: Name of the images in error messages.

    Returns:
        Training rows and test rows, in increasing order. The same labels give the same rows.

    Raises:
        ZooError: A class has only one image.
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
