import builtins
import re

import numpy as np
import pytest
import torch
from PIL import Image

from sne.errors import install_hint
from sne.making import load_images
from sne.zoo import ZooError


def test_train_and_test(tmp_path, class_folders):
    class_folders(tmp_path / "zoo" / "train", 3)
    class_folders(tmp_path / "zoo" / "test", 2)
    images = load_images(tmp_path / "zoo")
    assert images.name == "zoo" and images.classes == ("cat", "dog", "emu") and images.shape == (3, 8, 6)
    assert images.y_train.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and images.y_test.tolist() == [0, 0, 1, 1, 2, 2]
    expected = np.array(Image.open(tmp_path / "zoo/train/dog/1.png"))
    assert np.array_equal(images.x_train[4].permute(1, 2, 0).numpy(), expected)


def test_a_fixed_fifth_of_each_class_is_held_out(tmp_path, class_folders):
    class_folders(tmp_path, 10)
    images, again = load_images(tmp_path), load_images(tmp_path)
    assert images.checksum == again.checksum
    assert torch.bincount(images.y_train).tolist() == [8, 8, 8] and torch.bincount(images.y_test).tolist() == [2, 2, 2]
    rows = {tuple(image.flatten().tolist()) for image in torch.cat([images.x_train, images.x_test])}
    assert len(rows) == 30


def test_what_is_no_image_is_passed_over(tmp_path, class_folders):
    class_folders(tmp_path / "train", 2)
    class_folders(tmp_path / "val", 2)
    before = load_images(tmp_path).checksum
    (tmp_path / "train/cat/notes.txt").write_text("x")
    (tmp_path / "train/cat/._0.png").write_text("a trace of macOS")
    (tmp_path / "train/.cache").mkdir()
    (tmp_path / "train/__MACOSX").mkdir()
    (tmp_path / "readme.md").write_text("x")
    assert load_images(tmp_path).checksum == before


def test_a_class_may_lack_test_images(tmp_path, class_folders, write_image):
    class_folders(tmp_path / "train", 2)
    write_image(tmp_path / "test/dog/0.png", 1)
    images = load_images(tmp_path)
    assert images.y_test.tolist() == [1] and images.num_classes == 3


@pytest.mark.parametrize("kind", ["jpg", "bmp", "gif", "webp", "tiff", "ppm"])
def test_kinds_of_files(tmp_path, class_folders, kind):
    class_folders(tmp_path, 2)
    for file in list(tmp_path.rglob("*.png")):
        Image.open(file).save(file.with_suffix(f".{kind}"))
        file.unlink()
    assert load_images(tmp_path).shape == (3, 8, 6)


def test_modes(tmp_path, write_image):
    for number, mode in enumerate(("L", "LA", "RGB", "RGBA")):
        for name in "ab":
            write_image(tmp_path / name / f"{number}.png", number, mode=mode)
    with pytest.raises(ZooError, match=r"a/0.png has 1 channels, .*a/3.png has 3; set channels"):
        load_images(tmp_path)
    assert load_images(tmp_path, channels="grey").shape == (1, 8, 6)
    assert load_images(tmp_path, channels="rgb").shape == (3, 8, 6)


def test_mixed_sizes(tmp_path, class_folders, write_image):
    class_folders(tmp_path, 5)
    write_image(tmp_path / "emu/wide.png", 0, size=(8, 9))
    with pytest.raises(ZooError, match=r"mixed sizes: .*cat/\d.png is 8 x 6, .*emu/wide.png is 8 x 9; give"):
        load_images(tmp_path)
    assert load_images(tmp_path, 7).shape == (3, 7, 7)


def test_turned_upright(tmp_path, class_folders):
    class_folders(tmp_path, 2)
    for file in tmp_path.rglob("*.png"):
        image = Image.open(file)
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(file, exif=exif)
    assert load_images(tmp_path).shape == (3, 6, 8)


def test_hostile_files(tmp_path, class_folders):
    class_folders(tmp_path, 5)
    broken = tmp_path / "dog" / "broken.png"
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 8\n(run) print\n%%EOF\n"
    for content in (b"", b"text", (tmp_path / "dog/0.png").read_bytes()[:60], postscript):
        broken.write_bytes(content)
        with pytest.raises(ZooError, match=r"dog/broken.png is not an image that can be read"):
            load_images(tmp_path)
    Image.fromarray(np.zeros((8, 6), np.uint16)).save(broken)
    with pytest.raises(ZooError, match=r"broken.png: Pillow mode 'I;16', expected eight bits"):
        load_images(tmp_path)


def test_folders_that_do_not_suit(tmp_path, class_folders, write_image):
    with pytest.raises(ZooError, match="holds no class folders"):
        load_images(tmp_path)
    class_folders(tmp_path / "train", 2)
    with pytest.raises(ZooError, match=r"has train but no test; give .*train"):
        load_images(tmp_path)
    write_image(tmp_path / "test/fox/0.png", 1)
    with pytest.raises(ZooError, match=r"no class 'fox'"):
        load_images(tmp_path)
    (tmp_path / "train/fox").mkdir()
    with pytest.raises(ZooError, match=r"train/fox holds no images"):
        load_images(tmp_path)
    write_image(tmp_path / "one/cat/0.png", 1)
    with pytest.raises(ZooError, match=r"class 0 has one image"):
        load_images(tmp_path / "one")


def test_without_pillow(tmp_path, class_folders, monkeypatch):
    class_folders(tmp_path, 2)
    real = builtins.__import__

    def lacking(name, *rest):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ZooError, match=re.escape(install_hint("images"))):
        load_images(tmp_path)
