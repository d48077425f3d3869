"""Loads an image set: the embedded digits, an .npz file, or one of the other sources."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sne.errors import ZooError
from sne.making.images.files import read_folder
from sne.making.images.hugging_face import PREFIX, read_hugging_face
from sne.making.images.image_set import NORMALISATIONS, ImageSet
from sne.making.images.preparing import Form, check_labels


def load_images(
    source: Path | str, size: int | None = None, *, channels: str = "as_is", normalisation: str = "unit"
) -> ImageSet:
    """Loads an image set.

    Args:
        source: "digits" for the embedded digits of scikit-learn; an .npz file with uint8 arrays x_train [N, H, W] or
            [N, H, W, C], y_train, x_test and y_test; a folder of class folders, see `read_folder`; or
            "hf:NAME", "hf:NAME:CONFIG" or "hf:FOLDER" of Hugging Face, see `read_hugging_face`.
        size: Height and width in pixels to resample to; None keeps the size of the source (20 for digits).
        channels: "as_is", "grey" or "rgb".
        normalisation: "unit" for [-1, 1], "zero_one" for [0, 1], or "standard" for mean 0 and variance 1 per channel
            of the training images.

    Example:
        >>> load_images("digits").shape
        (1, 20, 20)

    Raises:
        ZooError: A setting is not known, the source cannot be read, or images and labels do not fit together.
    """
    form = Form(size, channels)
    if normalisation not in NORMALISATIONS:
        raise ZooError(f"normalisation {normalisation!r} is not known, expected one of {', '.join(NORMALISATIONS)}")
    images = _read(source, form)
    last = int(images.y_test.max())
    if last >= images.num_classes:
        raise ZooError(f"{source}: y_test has class {last}, y_train ends at {images.num_classes - 1}")
    if images.num_classes < 2:
        raise ZooError(f"{source}: all images are of one class, expected at least two")
    return replace(images, scaling=NORMALISATIONS[normalisation](images.x_train))


def _read(source: Path | str, form: Form) -> ImageSet:
    path = Path(source)
    if str(source) == DIGITS:
        return read_digits(form)
    if str(source).startswith(PREFIX):
        return read_hugging_face(str(source), form)
    if path.is_dir():
        return read_folder(path, form)
    if path.is_file():
        return read_npz(path, form)
    raise ZooError(f"{path}: no such image file; expected {DIGITS!r}, an .npz file, a folder or {PREFIX}NAME")


DIGITS = "digits"
_SIZE = 20  # the digits of 8 x 8 are enlarged to a size that every family can read


def read_digits(form: Form) -> ImageSet:
    """Reads the embedded digits: 1,297 training and 500 test images.

    Args:
        form: Form of the images; without a size they are enlarged to 20 x 20.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(np.asarray(pixels).reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    x = Form(form.size or _SIZE, form.channels).apply(torch.from_numpy(images[order]), DIGITS)
    y = torch.from_numpy(np.asarray(labels)[order].astype(np.int64))
    return ImageSet(DIGITS, x[:1297], y[:1297], x[1297:], y[1297:], tuple("0123456789"))


_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path, form: Form) -> ImageSet:
    """Reads uint8 arrays x_train [N, H, W] or [N, H, W, C], y_train, x_test and y_test.

    Args:
        path: The .npz file.
        form: Form that the images are brought into.

    Raises:
        ZooError: The file cannot be read, an array is missing or has the wrong shape or type, or labels do not fit.
    """
    arrays = _arrays(path)
    images, labels = {}, {}
    for part in ("train", "test"):
        images[part] = form.apply(_images(arrays[f"x_{part}"], f"{path}: x_{part}"), f"{path}: x_{part}")
        labels[part] = check_labels(arrays[f"y_{part}"], len(images[part]), f"{path}: y_{part}")
    shapes = {part: tuple(images[part].shape[1:]) for part in images}
    if shapes["train"] != shapes["test"]:
        raise ZooError(f"{path}: training images are {shapes['train']}, test images {shapes['test']}")
    return ImageSet(path.stem, images["train"], labels["train"], images["test"], labels["test"])


def _arrays(path: Path) -> dict[str, np.ndarray]:
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
            f"got {array.dtype} {list(array.shape)}"
        )
    images = torch.from_numpy(np.ascontiguousarray(array))
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
