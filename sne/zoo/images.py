"""Image sets to train zoos on: the embedded digits, and .npz files."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from sne.zoo.errors import ZooError

DIGITS = "digits"
_DIGITS_SIZE = 20  # scikit-learn's 8 x 8, enlarged: every family takes 20
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, kept as bytes; a batch is scaled when it is taken.

    Args:
        name: what the column `dataset` says.
        x_train: training images.
        y_train: their classes, from 0.
        x_test: test images.
        y_test: their classes.
    """

    name: str
    x_train: UInt8[Tensor, "train channels height width"]
    y_train: Int[Tensor, " train"]
    x_test: UInt8[Tensor, "test channels height width"]
    y_test: Int[Tensor, " test"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """The largest label of the training images plus one."""
        return int(self.y_train.max()) + 1

    @property
    def checksum(self) -> str:
        """CRC-32 of all images and labels, eight hex digits."""
        crc = 0
        for tensor in (self.x_train, self.y_train, self.x_test, self.y_test):
            crc = zlib.crc32(tensor.numpy().tobytes(), crc)
        return f"{crc:08x}"


def scale(
    images: UInt8[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Bytes to [-1, 1]."""
    return images.to(torch.float32).mul_(2 / 255).sub_(1)


def load_images(source: Path | str, size: int | None = None) -> ImageSet:
    """Loads an image set.

    Args:
        source: "digits" (scikit-learn, embedded), or an .npz file with uint8 arrays x_train [N, H, W] or
            [N, H, W, C], y_train, x_test and y_test.
        size: height and width to resample to; None keeps the file's own (20 for digits).

    Raises:
        ZooError: the file cannot be read, an array is missing or of the wrong form, or labels do not fit.
    """
    if str(source) == DIGITS:
        name, arrays = DIGITS, _digits()
        size = size or _DIGITS_SIZE
    else:
        name, arrays = Path(source).stem, _read_npz(Path(source))
    x_train, x_test = (_images(arrays[key], f"{source}: {key}", size) for key in ("x_train", "x_test"))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ZooError(
            f"{source}: training images are {tuple(x_train.shape[1:])}, test images {tuple(x_test.shape[1:])}"
        )
    y_train = _labels(arrays["y_train"], len(x_train), f"{source}: y_train")
    y_test = _labels(arrays["y_test"], len(x_test), f"{source}: y_test")
    if int(y_test.max()) > int(y_train.max()):
        raise ZooError(f"{source}: y_test has class {int(y_test.max())}, y_train ends at {int(y_train.max())}")
    return ImageSet(name, x_train, y_train, x_test, y_test)


def _digits() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(np.asarray(pixels).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = np.asarray(labels)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1297], order[1297:]
    return dict(zip(_ARRAYS, (images[train], labels[train], images[test], labels[test]), strict=True))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ZooError(f"{path}: no such image file; expected {DIGITS!r} or an .npz file")
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


def _images(array: np.ndarray, where: str, size: int | None) -> UInt8[Tensor, "n channels height width"]:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or 0 in array.shape:
        raise ZooError(
            f"{where}: expected uint8 [N, H, W] or [N, H, W, C], images all of one size, "
            f"came {array.dtype} {list(array.shape)}"
        )
    images = torch.from_numpy(np.ascontiguousarray(array))
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    if size is None or tuple(images.shape[2:]) == (size, size):
        return images
    pieces = [interpolate(piece.float(), (size, size), mode="bilinear", antialias=True) for piece in images.split(4096)]
    return torch.cat([piece.round().clamp(0, 255).to(torch.uint8) for piece in pieces])


def _labels(array: np.ndarray, count: int, where: str) -> Int[Tensor, " n"]:
    if array.ndim != 1 or len(array) != count or not np.issubdtype(array.dtype, np.integer):
        raise ZooError(f"{where}: expected {count} whole numbers, came {array.dtype} {list(array.shape)}")
    if array.min() < 0 or array.max() > 9999:
        raise ZooError(f"{where}: classes must lie in 0..9999, came {array.min()}..{array.max()}")
    return torch.from_numpy(array.astype(np.int64))
