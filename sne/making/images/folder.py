"""Image sets in a folder of class folders."""

from collections.abc import Sequence
from pathlib import Path

import torch

from sne.errors import ZooError
from sne.making.images.decoding import IMAGE_SUFFIXES, decode_file, need_pillow
from sne.making.images.image_set import ImageSet
from sne.making.images.labels import hold_out
from sne.making.images.preparing import Form

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
    """Returns all images of a part with their classes, in the order of the classes; None for a class without images."""
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        if name is not None:
            images = _images(path / name)
            if not images:
                raise ZooError(f"{path / name} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
            found += [(image, label) for image in images]
    return found
