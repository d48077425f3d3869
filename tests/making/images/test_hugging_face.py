import builtins
import re

import datasets
import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

from sne.errors import install_hint
from sne.making import load_images
from sne.zoo import ZooError

NAMES = ["cat", "dog", "emu"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing is read from or written to the user's cache, and no network is tried."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def pixels(row: int, size: tuple[int, int] = (6, 5)) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (*size, 3)).astype(np.uint8)


def split(count: int, **columns) -> datasets.Dataset:
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=NAMES), "note": datasets.Value("string")}
    rows = {
        "picture": [Image.fromarray(pixels(row)) for row in range(count)],
        "kind": [row % 3 for row in range(count)],
        "note": ["-"] * count,
    }
    for name, (feature, values) in columns.items():
        features[name], rows[name] = feature, values
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.mark.parametrize("test_name", ["test", "validation"])
def test_saved_to_disk(tmp_path, test_name):
    datasets.DatasetDict({"train": split(9), test_name: split(6)}).save_to_disk(tmp_path / "animals")
    images = load_images(f"hf:{tmp_path / 'animals'}")
    assert images.name == "animals" and images.classes == tuple(NAMES) and images.shape == (3, 6, 5)
    assert images.y_train.tolist() == [0, 1, 2] * 3 and images.y_test.tolist() == [0, 1, 2] * 2
    assert np.array_equal(images.x_train[4].permute(1, 2, 0).numpy(), pixels(4))
    assert load_images(f"hf:{tmp_path / 'animals'}", 8, channels="grey").shape == (1, 8, 8)


def test_one_split_saved_to_disk(tmp_path):
    split(15).save_to_disk(tmp_path / "animals")
    images = load_images(f"hf:{tmp_path / 'animals'}")
    assert np.bincount(images.y_train).tolist() == [4, 4, 4] and np.bincount(images.y_test).tolist() == [1, 1, 1]


def test_folder_of_class_folders_is_the_same_read_by_both(tmp_path, class_folders):
    class_folders(tmp_path / "set" / "train", 2)
    class_folders(tmp_path / "set" / "test", 2)
    one, two = load_images(f"hf:{tmp_path / 'set'}"), load_images(tmp_path / "set")
    assert one.classes == two.classes and one.checksum == two.checksum and one.name == two.name


def test_columns(tmp_path):
    fine = (datasets.ClassLabel(num_classes=6), list(range(6)))
    split(6, fine=fine).save_to_disk(tmp_path / "two")
    with pytest.raises(
        ZooError, match=r"one of classes, got picture \(Image\).*append #COLUMN to the name to choose one of kind, fine"
    ):
        load_images(f"hf:{tmp_path / 'two'}")
    with pytest.raises(ZooError, match="class 0 has one image"):
        load_images(f"hf:{tmp_path / 'two'}#fine")
    assert load_images(f"hf:{tmp_path / 'two'}#kind").num_classes == 3
    whole = split(6, label=(datasets.Value("int64"), [0, 1] * 3))
    whole.remove_columns(["kind"]).save_to_disk(tmp_path / "whole")
    images = load_images(f"hf:{tmp_path / 'whole'}")
    assert images.classes == () and images.num_classes == 2
    whole.remove_columns(["picture"]).save_to_disk(tmp_path / "blind")
    with pytest.raises(ZooError, match="expected one column of images"):
        load_images(f"hf:{tmp_path / 'blind'}")


def test_sets_that_do_not_suit(tmp_path):
    datasets.DatasetDict({"dev": split(6)}).save_to_disk(tmp_path / "dev")
    with pytest.raises(ZooError, match="has the splits dev; expected train"):
        load_images(f"hf:{tmp_path / 'dev'}")
    hidden = split(6).remove_columns(["kind"]).add_column("kind", [-1] * 6)
    hidden = hidden.cast_column("kind", datasets.ClassLabel(names=NAMES))
    datasets.DatasetDict({"train": split(6), "test": hidden}).save_to_disk(tmp_path / "hidden")
    with pytest.raises(ZooError, match=r"kind: classes must lie in 0\.\.9999, got -1"):
        load_images(f"hf:{tmp_path / 'hidden'}")
    mixed = split(6, picture=(datasets.Image(), [Image.fromarray(pixels(i, (6, 5 + i // 4))) for i in range(6)]))
    datasets.DatasetDict({"train": mixed, "test": split(3)}).save_to_disk(tmp_path / "mixed")
    with pytest.raises(ZooError, match=r"train row 0 is 6 x 5, .*train row 4 is 6 x 6; give an image_size"):
        load_images(f"hf:{tmp_path / 'mixed'}")
    broken = split(6, picture=(datasets.Image(), [{"bytes": b"no picture", "path": None}] * 6))
    datasets.DatasetDict({"train": broken, "test": split(3)}).save_to_disk(tmp_path / "broken")
    with pytest.raises(ZooError, match=r"train row 0 is not an image that can be read"):
        load_images(f"hf:{tmp_path / 'broken'}")


@pytest.mark.parametrize("address", ["nobody/no-such-set", "nobody/no-such-set:config"])
def test_offline(address):
    with pytest.raises(ZooError, match=f"hf:{address} cannot be loaded: ") as caught:
        load_images(f"hf:{address}")
    assert "\n" not in str(caught.value)


def test_without_datasets(tmp_path, monkeypatch):
    split(6).save_to_disk(tmp_path / "animals")
    real = builtins.__import__

    def lacking(name, *rest):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ZooError, match=re.escape(install_hint("datasets"))):
        load_images(f"hf:{tmp_path / 'animals'}")
