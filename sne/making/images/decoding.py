"""Image files to bytes, by Pillow."""

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
# Read by their content, whatever the suffix says. EPS, which Pillow hands to an interpreter, must not be among them.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_DEEP_MODES = ("I", "F")


def need_pillow(source: str) -> None:
    """Raises ZooError, naming the extra to install, where Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise ZooError(f"{source}: image files need Pillow; {install_hint('images')}") from None


def decode_file(path: Path) -> UInt8[Tensor, "channels height width"]:
    """Reads an image file; the first frame, turned upright.

    Args:
        path: PNG, JPEG, BMP, GIF, WebP, TIFF or PPM of eight bits a channel.

    Returns:
        One channel, or three; transparency is dropped.

    Raises:
        ZooError: the file is broken or of another kind.
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
    """An open Pillow image as bytes, turned upright.

    Args:
        image: of any mode with eight bits a channel.
        where: what messages call it.

    Raises:
        ZooError: it has more than eight bits a channel.
    """
    from PIL import ImageOps

    if image.mode.startswith(_DEEP_MODES):
        raise ZooError(f"{where}: Pillow mode {image.mode!r}, expected eight bits a channel")
    upright = ImageOps.exif_transpose(image)
    pixels = np.array(upright.convert("L" if image.mode in _GREY_MODES else "RGB"))
    tensor = torch.from_numpy(pixels)
    return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1).contiguous()
