"""Labels as they come, checked."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sne.errors import ZooError


def check_labels(labels: np.ndarray, count: int, where: str) -> Int[Tensor, " n"]:
    """Class numbers as a tensor.

    Args:
        labels: as they come.
        count: number of images they belong to.
        where: what messages call them.

    Raises:
        ZooError: they are not that many whole numbers from 0.
    """
    if labels.ndim != 1 or len(labels) != count or not np.issubdtype(labels.dtype, np.integer):
        raise ZooError(f"{where}: expected {count} whole numbers, came {labels.dtype} {list(labels.shape)}")
    if labels.min() < 0 or labels.max() > 9999:
        raise ZooError(f"{where}: classes must lie in 0..9999, came {labels.min()}..{labels.max()}")
    return torch.from_numpy(labels.astype(np.int64))
