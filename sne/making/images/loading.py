"""Loading an image set from wherever it is."""

from dataclasses import replace
from pathlib import Path

from sne.errors import ZooError
from sne.making.images.digits import DIGITS, read_digits
from sne.making.images.folder import read_folder
from sne.making.images.hugging_face import PREFIX, read_hugging_face
from sne.making.images.image_set import ImageSet
from sne.making.images.normalising import NORMALISATIONS
from sne.making.images.npz import read_npz
from sne.making.images.preparing import Form


def load_images(
    source: Path | str, size: int | None = None, *, channels: str = "as_is", normalisation: str = "unit"
) -> ImageSet:
    """Loads an image set.

    Args:
        source: "digits" (scikit-learn's, embedded); an .npz file with uint8 arrays x_train [N, H, W] or
            [N, H, W, C], y_train, x_test and y_test; a folder of class folders, see `read_folder`; or
            "hf:NAME", "hf:NAME:CONFIG", "hf:FOLDER" of Hugging Face, see `read_hugging_face`.
        size: height and width to resample to; None keeps the source's own (20 for digits).
        channels: "as_is", "grey" or "rgb".
        normalisation: "unit" for [-1, 1], "zero_one", or "standard" for mean 0 and variance 1 of the training
            images, channel by channel.

    Raises:
        ZooError: a setting is unknown, the source cannot be read, or images or labels do not fit each other.
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
