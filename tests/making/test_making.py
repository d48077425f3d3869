import json
from pathlib import Path

import numpy as np
import pytest
import torch
from making_cases import FAMILIES, LENGTH, assert_same_bytes

from sne.errors import SneError
from sne.making import make
from sne.zoo import Zoo, ZooError
from sne.zoo.store.folder import FolderLock


def test_what_a_made_zoo_holds(made_zoo: Zoo):
    assert made_zoo.ids[:4] == [
        "small_cnn-00000@0",
        "small_cnn-00000@4",
        "small_cnn-00000@12",
        "small_cnn-00001@0",
    ]
    assert len(made_zoo) == 12 and made_zoo.families == ["small_cnn"] * 6 + ["mlp"] * 6
    assert set(made_zoo.column("dataset")) == {"bands"}
    for name in ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "wall_time", "diverged"):
        assert np.isfinite(made_zoo.column(name)).all()
    gap = made_zoo.column("train_accuracy") - made_zoo.column("test_accuracy")
    assert np.allclose(made_zoo.column("generalization_gap"), gap)
    assert made_zoo.column("test_accuracy").max() > 0.5  # of three classes: something was learned
    assert np.isnan(made_zoo.column("config.depth")[:6]).all() and made_zoo.column("config.depth")[6:].min() >= 1
    assert not torch.equal(made_zoo.weights(0), made_zoo.weights(1))
    assert sorted(path.name for path in made_zoo.path.iterdir()) == [
        "layouts.json", "networks.copy.parquet", "networks.parquet", "recipe.json", "symmetries.json",
        "timings.parquet", "weights-00000.safetensors",
    ]  # fmt: skip


def test_two_workers_make_the_same_zoo(made_zoo: Zoo, image_file: Path, tmp_path: Path):
    seen = []
    two = make(
        tmp_path / "zoo", families=FAMILIES, images=image_file, networks=2, workers=2,
        progress=lambda done, total: seen.append((done, total)), **LENGTH,
    )  # fmt: skip
    assert_same_bytes(made_zoo, two)
    assert seen == [(i, 4) for i in range(5)]


def test_a_family_is_the_same_in_any_company(made_zoo: Zoo, image_file: Path, tmp_path: Path):
    alone = make(tmp_path / "zoo", families=["mlp"], images=image_file, networks=1, workers=1, **LENGTH)
    for row, name in enumerate(alone.ids):
        assert torch.equal(alone.weights(row), made_zoo.weights(made_zoo.ids.index(name)))


def test_made_already(made_zoo: Zoo, image_file: Path):
    before = (made_zoo.path / "networks.parquet").stat().st_mtime_ns
    again = make(made_zoo.path, families=FAMILIES, images=image_file, networks=2, **LENGTH)
    assert (again.path / "networks.parquet").stat().st_mtime_ns == before and len(again) == 12


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"families": ["alexnet"]}, "'alexnet' is not known; known families are small_cnn, cnn_s"),
        ({"families": []}, "no family"),
        ({"families": ["mlp", "mlp"]}, "twice"),
        ({"networks": 0}, "networks is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"epochs": 3}, "both given"),
        ({"keep": [4, 13]}, r"0\.\.12"),
        ({"keep": [4, 2]}, "increasing"),
        ({"workers": 0}, "workers is 0"),
        ({"storage": "int3"}, "'int3'"),
        ({"device": "tpu"}, "device 'tpu' is not known, expected one of cpu, cuda"),
        ({"image_size": 8}, "small_cnn needs sides of at least 15: set image_size, for example to 15"),
        ({"families": ["vit"], "image_size": 18}, "multiples of 4"),
        ({"images": "none.npz"}, "no such image file"),
    ],
)
def test_mistakes_write_nothing(image_file: Path, tmp_path: Path, changes, message):
    settings = {"families": FAMILIES, "images": image_file, "networks": 2, **LENGTH} | changes
    with pytest.raises(SneError, match=message):
        make(tmp_path / "zoo", **settings)
    assert not (tmp_path / "zoo").exists()


def test_another_recipe_is_refused(made_zoo: Zoo, image_file: Path, tmp_path: Path):
    before = {path.name: path.read_bytes() for path in made_zoo.path.iterdir()}
    with pytest.raises(ZooError, match=r"another recipe \(different networks, seed"):
        make(made_zoo.path, families=FAMILIES, images=image_file, networks=3, seed=1, **LENGTH)
    assert {path.name: path.read_bytes() for path in made_zoo.path.iterdir()} == before
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ZooError, match="other files"):
        make(tmp_path, families=FAMILIES, images=image_file, networks=2, **LENGTH)


def test_a_second_maker_is_refused(made_zoo: Zoo, image_file: Path, tmp_path: Path):
    out = tmp_path / "zoo"
    (out / ".making").mkdir(parents=True)
    (out / "recipe.json").write_text((made_zoo.path / "recipe.json").read_text())
    before = (out / "recipe.json").read_bytes()
    with FolderLock(out / ".making"), pytest.raises(ZooError, match="being made by another process"):
        make(out, families=FAMILIES, images=image_file, networks=2, **LENGTH)
    assert (out / "recipe.json").read_bytes() == before


def test_recipe_is_plain(made_zoo: Zoo):
    recipe = json.loads((made_zoo.path / "recipe.json").read_text())
    assert recipe["families"] == FAMILIES and recipe["keep"] == [0, 4, 12] and recipe["images"] == "bands"
