import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sne.making import FAMILIES, Recipe, Settings
from sne.zoo import Zoo

SHORT = ("--networks", 1, "--steps", 2, "--workers", 1, "--json")


def test_printed_recipe_makes_what_is_made_without_it(sne_zoo, tmp_path: Path):
    text = sne_zoo("recipe", "mlp", "small_cnn").out
    assert tomllib.loads(text)["family"] == ["mlp", "small_cnn"]
    (tmp_path / "my.toml").write_text(text)
    sne_zoo("make", tmp_path / "zoo", "--recipe", tmp_path / "my.toml", *SHORT, "--keep", "2")
    default, _ = Settings(families=("mlp", "small_cnn"), networks=1, steps=2, keep=(2,)).plan()
    assert Recipe.load(tmp_path / "zoo/recipe.json").differences(default) == []
    assert Zoo.open(tmp_path / "zoo").ids == ["mlp-00000@2", "small_cnn-00000@2"]


def test_recipe_of_a_users_own(sne_zoo, tmp_path: Path):
    recipe = tmp_path / "my.toml"
    recipe.write_text(
        'family = ["mlp"]\nsteps = 2\nkeep = [1, 2]\nnormalisation = "standard"\n'
        '[mlp]\ndepth = 2\nwidth = 9\ntaper = 1\noptimizer = ["sgd"]\ndropout = { uniform = [0.1, 0.2] }\n'
    )
    words = ("make", tmp_path / "zoo", "--recipe", recipe, "--networks", 2, "--workers", 1)
    sne_zoo(*words)
    zoo = Zoo.open(tmp_path / "zoo")
    assert set(zoo.column("config.depth")) == {2.0} and set(zoo.column("config.optimizer")) == {"sgd"}
    assert zoo.column("config.dropout").min() >= 0.1 and zoo.column("config.dropout").max() <= 0.2
    assert zoo.num_weights(0) == 400 * 9 + 9 + 9 * 9 + 9 + 9 * 10 + 10
    sne_zoo(*words)
    recipe.write_text(recipe.read_text().replace("depth = 2", "depth = 3"))
    result = sne_zoo(*words, status=2)
    assert "another recipe (different mlp.depth)" in result.err
    assert json.loads((tmp_path / "zoo/recipe.json").read_text())["normalisation"] == "standard"


def test_folder_of_class_folders(sne_zoo, tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(5):
            file = tmp_path / "pets" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (9, 7 + number, 3)).astype(np.uint8)).save(file)
    words = ("make", tmp_path / "zoo", "--family", "mlp", "--images", tmp_path / "pets", *SHORT)
    result = sne_zoo(*words, status=2)
    assert "images of mixed sizes: " in result.err and result.err.count("pets/cat/") == 2
    sne_zoo(*words, "--image-size", 8, "--channels", "grey")
    zoo = Zoo.open(tmp_path / "zoo")
    assert set(zoo.column("dataset")) == {"pets"}
    recipe = json.loads((tmp_path / "zoo/recipe.json").read_text())
    assert recipe["classes"] == ["cat", "dog"] and recipe["channels"] == "grey" and recipe["image_size"] == 8


@pytest.mark.parametrize(
    "words, message",
    [
        (["make", "OUT", "--recipe", "RECIPE"], "my.toml: [mlp] optimizer: 'lion' is not known"),
        (["make", "OUT", "--recipe", "none.toml"], "none.toml cannot be read"),
        (["make", "OUT", "--channels", "cmyk"], "channels 'cmyk' is not known"),
        (["make", "OUT", "--normalisation", "x"], "normalisation 'x' is not known"),
        (["make", "OUT", "--images", "OUT/.."], "holds no class folders"),
        (["make", "OUT", "--steps", "5", "--keep", "0,10"], "keep is [0, 10], expected steps in 0..5, as steps is 5"),
        (["make", "OUT", "--epochs", "0"], "epochs is 0, expected at least 1"),
        (["make", "OUT", "--family", "vit", "--image-size", "21"], "set image_size, for example to 24"),
        (["recipe", "alexnet"], "'alexnet' is not known"),
    ],
)
def test_mistakes_are_one_line(sne_zoo, tmp_path: Path, words, message):
    (tmp_path / "my.toml").write_text("[mlp]\noptimizer = 'lion'\n")
    places = {"OUT": tmp_path / "out", "OUT/..": tmp_path, "RECIPE": tmp_path / "my.toml"}
    result = sne_zoo(*(places.get(word, word) for word in words), status=2)
    assert result.out == "" and len(result.err.strip().splitlines()) == 1
    assert result.err.startswith("sne: ") and message in result.err
    assert not (tmp_path / "out").exists()


def test_help_names_every_family(sne_zoo):
    text = " ".join(sne_zoo("make", "--help").out.split())
    assert all(name in text for name in FAMILIES)
    assert "sne zoo recipe" in sne_zoo("recipe", "--help").out.strip().splitlines()[-1]
