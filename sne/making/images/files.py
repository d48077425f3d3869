"""Image sets in a folder of class folders, and reading image files with Pillow."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sne.errors import ZooError, install_hint
from sne.making.images.image_set import ImageSet
from sne.making.images.preparing import Form, hold_out

if TYPE_CHECKING:
    from PIL.Image import Image


_TEST_FOLDERS = ("test", "val", "validation")


def read_folder(path: Path, form: Form) -> ImageSet:
    """Reads train/CLASS/image and test/CLASS/image, or CLASS/image, where a fixed fifth of each class is held out.

    The test part may also be called val or validation. Classes are numbered in the order of their names. Files with
    other suffixes and names that begin with a dot or two underscores are ignored.

    Args:
        path: Folder of the image set.
        form: Form that the images are brought into.

    Raises:
        ZooError: A class has no images or occurs only in the test part, an image is broken, or images differ in shape.
    """
    need_pillow(str(path))
    train = path / "train"
    test = next((path / name for name in _TEST_FOLDERS if (path / name).is_dir()), None)
    if train.is_dir() and test is not None:
        classes = _classes(train)
        unknown = [name for name in _classes(test) if name not in classes]
        if unknown:
            raise ZooError(f"{test / unknown[0]}: there is no class {unknown[0]!r} in {train}")
        train_files = _files(train, classes)
        test_files = _files(test, [name if (test / name).is_dir() else None for name in classes])
    elif _folders(path) == ["train"]:
        raise ZooError(f"{path} has train but no test; give {train} to hold a fifth of it out")
    else:
        classes = _classes(path)
        files = _files(path, classes)
        rows = hold_out([label for _, label in files], str(path))
        train_files, test_files = ([files[row] for row in part] for part in rows)
    files = [*train_files, *test_files]
    x = form.collect((str(file), decode_file(file)) for file, _ in files)
    y, cut = torch.tensor([label for _, label in files]), len(train_files)
    return ImageSet(path.resolve().name, x[:cut], y[:cut], x[cut:], y[cut:], classes)


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def _images(folder: Path) -> list[Path]:
    files = (entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file())
    return sorted(file for file in files if not file.name.startswith("."))


def _classes(path: Path) -> tuple[str, ...]:
    names = _folders(path)
    if not names:
        raise ZooError(
            f"{path} holds no class folders; expected train/CLASS/*.png and test/CLASS/*.png, or CLASS/*.png"
        )
    return tuple(names)


def _files(path: Path, classes: Sequence[str | None]) -> list[tuple[Path, int]]:
    """Returns all images of a part with their class numbers. A class that is None has no images in this part."""
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        if name is not None:
            images = _images(path / name)
            if not images:
                raise ZooError(f"{path / name} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
            found += [(image, label) for image in images]
    return found


IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
# Files are read by their content, not by their suffix. EPS must be missing: Pillow executes it by an interpreter.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_DEEP_MODES = ("I", "F")


def need_pillow(source: str) -> None:
    """Raises ZooError with the extra to install if Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise ZooError(f"{source}: image files need Pillow; {install_hint('images')}") from None


def decode_file(path: Path) -> UInt8[Tensor, "channels height width"]:
    """Reads the first frame of an image file, in the orientation that the file states.

    Args:
        path: PNG, JPEG, BMP, GIF, WebP, TIFF or PPM file with eight bits per channel.

    Returns:
        One or three channels; transparency is dropped.

    Raises:
        ZooError: The file is broken or of another kind.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            return decode(image, str(path))
    except ZooError:
        raise
    except Exception as error:  # Pillow raises many kinds on a broken file
        raise ZooError(f"{path} is not an image that can be read: {error}") from None


def decode(image: "Image", where: str) -> UInt8[Tensor, "channels height width"]:
    """Returns an open Pillow image as bytes, in the orientation that the image states.

    Args:
        image: Image of any mode with eight bits per channel.
        where: Name of the image in error messages.

    Raises:
        ZooError: The image has more than eight bits per channel.
    """
    from PIL import ImageOps

    if image.mode.startswith(_DEEP_MODES):
        raise ZooError(f"{where}: Pillow mode {image.mode!r}, expected eight bits per channel")
    upright = ImageOps.exif_transpose(image)
    pixels = np.array(upright.convert("L" if image.mode in _GREY_MODES else "RGB"))
    tensor = torch.from_numpy(pixels)
    return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1).contiguous()
