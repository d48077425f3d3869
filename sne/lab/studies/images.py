"""Image sets by name: what is embedded, and .npz files in a folder of the user's."""

import os
from pathlib import Path

import numpy as np

from sne.errors import StudyError

FOLDER_VARIABLE = "SNE_IMAGES"
DIGITS = "digits"
TURNED = "digits_turned"
"""The digits, turned by a quarter: a second data set for the smallest scale that needs no download."""


def find_images(name: str, folder: Path | None, made: Path) -> str:
    """Where an image set is, for `sne.making.load_images`.

    Args:
        name: "digits", "digits_turned", or the stem of an .npz file.
        folder: of .npz files; None: what the environment variable SNE_IMAGES names.
        made: folder where a derived image set is kept.

    Raises:
        StudyError: there is no such file; the message says which and how to name the folder.
    """
    if name == DIGITS:
        return DIGITS
    if name == TURNED:
        return str(_turned_digits(made / f"{TURNED}.npz"))
    chosen = folder or (Path(os.environ[FOLDER_VARIABLE]) if os.environ.get(FOLDER_VARIABLE) else None)
    if chosen is None:
        raise StudyError(f"needs {name}.npz: give --images DIR or set {FOLDER_VARIABLE} to the folder that holds it")
    path = chosen / f"{name}.npz"
    if not path.is_file():
        raise StudyError(f"{path}: no such file; expected arrays x_train, y_train, x_test and y_test in it")
    return str(path)


def _turned_digits(path: Path) -> Path:
    """Writes the turned digits where they are not yet."""
    if path.is_file():
        return path
    from sne.making import load_images

    digits = load_images(DIGITS)
    x_train, x_test = (
        np.ascontiguousarray(np.rot90(images[:, 0].numpy(), axes=(1, 2))) for images in (digits.x_train, digits.x_test)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft.npz")
    np.savez_compressed(
        draft, x_train=x_train, y_train=digits.y_train.numpy(), x_test=x_test, y_test=digits.y_test.numpy()
    )
    draft.replace(path)
    return path
