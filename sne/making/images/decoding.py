"""Decoding image files into bytes, by Pillow."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sne.errors import ZooError, install_hint

if TYPE_CHECKING:
    from PIL.Image import Image

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
