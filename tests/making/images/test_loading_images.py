import numpy as np
import pytest

from sne.making import load_images
from sne.zoo import ZooError


def arrays(**changes):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 6)).astype(np.uint8)
    y = np.arange(20) % 4
    return {"x_train": x, "y_train": y, "x_test": x[:8], "y_test": y[:8]} | changes


def test_npz(tmp_path):
    given = arrays()
    np.savez(tmp_path / "toy.npz", **given)
    images = load_images(tmp_path / "toy.npz")
    assert images.name == "toy" and images.num_classes == 4
    assert np.array_equal(images.x_train[:, 0].numpy(), given["x_train"])
    assert load_images(tmp_path / "toy.npz", 12).shape == (1, 12, 12)
    assert load_images(tmp_path / "toy.npz").checksum == images.checksum
    np.savez(tmp_path / "toy.npz", **arrays(y_train=(np.arange(20) + 1) % 4))
    assert load_images(tmp_path / "toy.npz").checksum != images.checksum


def test_colour(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
    np.savez(tmp_path / "toy.npz", **arrays(x_train=x, x_test=x[:8]))
    images = load_images(tmp_path / "toy.npz")
    assert images.shape == (3, 6, 5)
    assert int(images.x_train[3, 2, 1, 4]) == x[3, 1, 4, 2]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x_train": np.zeros((20, 6, 6), np.float32)}, "x_train: expected uint8"),
        ({"x_train": np.zeros((20, 36), np.uint8)}, "x_train: expected uint8"),
        ({"x_test": np.zeros((8, 7, 7), np.uint8)}, "test images"),
        ({"y_train": np.arange(19)}, "expected 20 whole numbers"),
        ({"y_train": np.arange(20) / 2}, "whole numbers"),
        ({"y_train": np.arange(20) - 1}, r"got -1\.\.18"),
        ({"y_test": np.arange(8)}, "class 7"),
        ({"y_train": np.zeros(20, int), "y_test": np.zeros(8, int)}, "of one class"),
    ],
)
def test_bad_arrays(tmp_path, changes, message):
    np.savez(tmp_path / "toy.npz", **arrays(**changes))
    with pytest.raises(ZooError, match=message):
        load_images(tmp_path / "toy.npz")


def test_bad_files(tmp_path):
    with pytest.raises(ZooError, match="no such image file"):
        load_images(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ZooError, match="cannot be read"):
        load_images(tmp_path / "text.npz")
    np.savez(tmp_path / "part.npz", x_train=np.zeros(3))
    with pytest.raises(ZooError, match="lacks the array 'y_train'"):
        load_images(tmp_path / "part.npz")
    mixed = np.array([np.zeros((6, 6)), np.zeros((5, 5))], dtype=object)
    np.savez(tmp_path / "mixed.npz", **arrays(x_train=mixed))
    with pytest.raises(ZooError, match="cannot be read"):  # objects would need unpickling
        load_images(tmp_path / "mixed.npz")
