"""Image sets in an .npz file."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sne.errors import ZooError
from sne.making.images.image_set import ImageSet
from sne.making.images.labels import check_labels
from sne.making.images.preparing import Form

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path, form: Form) -> ImageSet:
    """Reads uint8 arrays x_train [N, H, W] or [N, H, W, C], y_train, x_test and y_test.

    Args:
        path: The .npz file.
        form: Form that the images are brought into.

    Raises:
        ZooError: The file cannot be read, an array is missing or has the wrong shape or type, or labels do not fit.
    """
    arrays = _read(path)
    images, labels = {}, {}
    for part in ("train", "test"):
        images[part] = form.apply(_images(arrays[f"x_{part}"], f"{path}: x_{part}"), f"{path}: x_{part}")
        labels[part] = check_labels(arrays[f"y_{part}"], len(images[part]), f"{path}: y_{part}")
    shapes = {part: tuple(images[part].shape[1:]) for part in images}
    if shapes["train"] != shapes["test"]:
        raise ZooError(f"{path}: training images are {shapes['train']}, test images {shapes['test']}")
    return ImageSet(path.stem, images["train"], labels["train"], images["test"], labels["test"])


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in _ARRAYS if key not in file]
            if missing:
                raise ZooError(f"{path} lacks the array {missing[0]!r}; expected {', '.join(_ARRAYS)}")
            return {key: file[key] for key in _ARRAYS}
    except ZooError:
        raise
    except Exception as error:  # numpy raises many kinds on a broken archive
        raise ZooError(f"{path} cannot be read: {error}") from None


def _images(array: np.ndarray, where: str) -> UInt8[Tensor, "n channels height width"]:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or 0 in array.shape:
        raise ZooError(
            f"{where}: expected uint8 [N, H, W] or [N, H, W, C], images all of one size, "
            f"came {array.dtype} {list(array.shape)}"
        )
    images = torch.from_numpy(np.ascontiguousarray(array))
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
