"""Image sets of the Hugging Face library `datasets`, from the hub, its cache or a folder."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from sne.errors import ZooError, install_hint
from sne.making.images.files import decode, need_pillow
from sne.making.images.image_set import ImageSet
from sne.making.images.preparing import Form, check_labels, hold_out

PREFIX = "hf:"
_TEST_SPLITS = ("test", "validation", "valid", "val")


def read_hugging_face(source: str, form: Form) -> ImageSet:
    """Reads a data set with one column of images and one of classes, which are found by their types.

    The split "train" is trained on; "test", or otherwise "validation", is the test part. If there is neither, a fixed
    fifth of each class is held out. No code of the data set is executed: the library runs no loading scripts since
    version 4.

    Args:
        source: Address "hf:NAME", "hf:NAME:CONFIG" or "hf:FOLDER", where the folder was written by `save_to_disk` or
            can be read by the library. A suffix "#COLUMN" chooses among several columns of classes.
        form: Form that the images are brought into.

    Raises:
        ZooError: `datasets` is not installed, the data set cannot be loaded, or its columns or splits do not fit.
    """
    need_pillow(source)
    address, _, column = source.removeprefix(PREFIX).partition("#")
    name, splits = _load(address, source)
    if "train" not in splits:
        raise ZooError(f"{source} has the splits {', '.join(splits)}; expected train")
    image, label, classes = _columns(splits["train"].features, column, source)
    test_name = next((split for split in _TEST_SPLITS if split in splits), None)
    if test_name is None:
        whole = splits["train"]
        train_rows, test_rows = hold_out(whole[label][:], source)
        train, test, test_name = whole.select(train_rows), whole.select(test_rows), "train"
    else:
        train, test = splits["train"], splits[test_name]
    lacking = [c for c in (image, label) if c not in test.features]
    if lacking:
        raise ZooError(f"{source}: split {test_name!r} lacks the column {lacking[0]!r}")
    parts = ((train, "train"), (test, test_name))
    images = form.collect(chain.from_iterable(_decoded(part, image, f"{source} {split}") for part, split in parts))
    cut = len(train)
    y_train, y_test = (
        check_labels(np.asarray(part[label][:]), len(part), f"{source}: {label}") for part in (train, test)
    )
    return ImageSet(name, images[:cut], y_train, images[cut:], y_test, classes)


def _load(address: str, source: str) -> tuple[str, Mapping[str, Any]]:
    """Returns the value of the column `dataset`, and the splits by name."""
    try:
        import datasets
    except ImportError:
        raise ZooError(f"{source} needs the package datasets; {install_hint('datasets')}") from None
    folder = Path(address)
    try:
        if folder.is_dir():
            saved = any((folder / name).exists() for name in ("dataset_dict.json", "state.json"))
            name, loaded = folder.resolve().name, (datasets.load_from_disk if saved else datasets.load_dataset)(address)
        else:
            path, _, config = address.partition(":")
            name, loaded = address.split("/")[-1].replace(":", "_"), datasets.load_dataset(path, config or None)
    except Exception as error:  # the library and the hub's client raise many kinds
        raise ZooError(f"{source} cannot be loaded: {type(error).__name__}: {_one_line(error)}") from None
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    return name, {str(split): part for split, part in splits.items()}


def _columns(features: Mapping[str, Any], wanted: str, source: str) -> tuple[str, str, tuple[str, ...]]:
    """Returns the columns of images and of classes, and the names of the classes."""
    from datasets import ClassLabel, Image, Value

    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)] or [
        name for name, feature in features.items() if isinstance(feature, Value) and "int" in feature.dtype
    ]
    if wanted:
        labels = [name for name in labels if name == wanted]
    elif "label" in labels:
        labels = ["label"]
    if len(images) != 1 or len(labels) != 1:
        columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        hint = "" if len(labels) < 2 else f"; append #COLUMN to the name to choose one of {', '.join(labels)}"
        raise ZooError(f"{source}: expected one column of images and one of classes, got {columns}{hint}")
    return images[0], labels[0], tuple(getattr(features[labels[0]], "names", None) or ())


def _decoded(split: Any, column: str, where: str) -> Iterator[tuple[str, UInt8[Tensor, "channels height width"]]]:
    pictures = split.select_columns([column])
    for row in range(len(split)):
        place = f"{where} row {row}"
        try:
            image = pictures[row][column]
        except Exception as error:  # Pillow raises many kinds on a broken image
            raise ZooError(f"{place} is not an image that can be read: {error}") from None
        if image is None:
            raise ZooError(f"{place} has no image")
        yield place, decode(image, place)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
