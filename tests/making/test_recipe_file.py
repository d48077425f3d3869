from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sne.making import FAMILIES
from sne.making.families.space import Choice, LogUniform, Uniform, space_to_plain
from sne.making.recipe_file import read_recipe, write_recipe
from sne.making.settings import Settings
from sne.zoo import ZooError

EXAMPLE = """
family = ["small_cnn", "mlp"]
networks = 100
steps = 500
keep = [50, 500]
images = "bands.npz"
channels = "grey"

[small_cnn]
learning_rate = { log_uniform = [5e-4, 5e-2] }
dropout = { uniform = [0.0, 0.3] }
optimizer = ["adam", "sgd"]    # a list is a choice
batch_size = 128               # a single value is fixed
"""


@pytest.fixture
def write(tmp_path: Path):
    def write_text(text: str) -> Path:
        (tmp_path / "my.toml").write_text(text)
        return tmp_path / "my.toml"

    return write_text


def test_example(write):
    settings = read_recipe(write(EXAMPLE))
    assert settings.families == ("small_cnn", "mlp") and settings.networks == 100 and settings.keep == (50, 500)
    assert settings.images == "bands.npz" and settings.channels == "grey" and settings.seed is None
    space = settings.spaces["small_cnn"]
    assert space["learning_rate"] == LogUniform(5e-4, 5e-2) and space["dropout"] == Uniform(0.0, 0.3)
    assert space["optimizer"] == Choice(("adam", "sgd")) and space["batch_size"] == Choice((128,))
    assert space["activation"] == FAMILIES["small_cnn"].space["activation"]


def test_printed_and_read_is_what_is_used_when_nothing_is_said(write):
    names = tuple(FAMILIES)
    read = read_recipe(write(write_recipe(names)))
    size = {"image_size": 28}  # of no importance, but every family takes it
    (one, images), (two, _) = Settings(**size).over(read).plan(), Settings(families=names, **size).plan()
    assert one.differences(two) == [] and one == two
    assert {name: space_to_plain(read.spaces[name]) for name in names} == {
        name: space_to_plain(FAMILIES[name].space) for name in names
    }
    assert images.shape == (1, 28, 28)


def test_tables_name_the_families_if_nothing_else_does(write):
    settings = read_recipe(write("[mlp]\ndepth = 2\n[gru]\n"))
    assert settings.families == ("mlp", "gru") and settings.spaces["mlp"]["depth"] == Choice((2,))
    assert read_recipe(write("family = 'vit'")).families == ("vit",) and read_recipe(write("")).families is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("family = ", "my.toml is not TOML"),
        ("a = " + "[" * 100_000, "my.toml is not TOML"),
        ("family = 'alexnet'", "my.toml: family: family 'alexnet' is not known; known families are small_cnn"),
        ("family = ['mlp', 'mlp']", "my.toml: family: a family occurs twice"),
        ("family = []", r"my.toml: family: got \[\], expected a name or a list"),
        ("[alexnet]\ndepth = 16", r"my.toml: \[alexnet\] is not a family"),
        ("family = 'mlp'\n[gru]\n", r"my.toml: \[gru\] is not used; family names mlp"),
        ("workers = 3", "my.toml: 'workers' is not known; expected family, keep, networks"),
        ("networks = '100'", "my.toml: networks: got '100', expected a whole number"),
        ("networks = 1.5", "my.toml: networks: got 1.5"),
        ("networks = true", "my.toml: networks: got True"),
        ("networks = 0", "my.toml: networks is 0, expected at least 1"),
        ("images = 3", "my.toml: images: got 3, expected text"),
        ("keep = 3", "my.toml: keep: got 3, expected a list of whole numbers"),
        ("steps = 10\nkeep = [5, 20]", r"my.toml: keep is \[5, 20\], expected steps in 0..10"),
        ("steps = 10\nepochs = 2", "my.toml: steps and epochs were both given"),
        ("channels = 'cmyk'", "my.toml: channels 'cmyk' is not known"),
        ("storage = 'int3'", "my.toml: storage 'int3' is not known"),
        ("[mlp]\nlr = 0.1", r"my.toml: \[mlp\]: mlp has no 'lr'; it has depth"),
        ("[mlp]\noptimizer = 'lion'", r"my.toml: \[mlp\] optimizer: 'lion' is not known"),
        ("[mlp]\nlearning_rate = { log_uniform = [1, 0.1] }", r"my.toml: \[mlp\] learning_rate: log_uniform runs"),
        ("[mlp.depth]\nvalues = 3", r"my.toml: \[mlp\] depth: got \{'values': 3\}"),
    ],
)
def test_mistakes_name_file_table_and_key(write, text, message):
    with pytest.raises(ZooError, match=message) as caught:
        read_recipe(write(text))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ZooError, match=r"none.toml cannot be read: No such file"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(ZooError, match="cannot be read: Is a directory"):
        read_recipe(tmp_path)
    (tmp_path / "picture.toml").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ZooError, match=r"picture.toml is not TOML"):
        read_recipe(tmp_path / "picture.toml")


def test_what_is_said_wins_over_the_file(write, image_file):
    file = read_recipe(write(EXAMPLE))
    assert Settings(networks=3, images=image_file).over(file).networks == 3
    short = Settings(steps=100, keep=(100,), families=("small_cnn",), images=image_file).over(file)
    recipe, images = short.plan()
    assert (recipe.length, recipe.unit, recipe.keep) == (100, "steps", (100,)) and images.name == "bands"
    assert recipe.channels == "grey" and list(recipe.spaces) == ["small_cnn"]
    with pytest.raises(ZooError, match=r"my.toml: keep counts steps there; if epochs is set, set keep as well"):
        Settings(epochs=2).over(file)
    assert Settings(epochs=2, keep=(1, 2)).over(file).draft().unit == "epochs"


def test_what_only_the_images_tell(write, image_file):
    def plan(text: str):
        return Settings(images=image_file).over(read_recipe(write(text))).plan()

    with pytest.raises(
        ZooError, match=r"my.toml: \[mlp\] batch_size: 512 is too large, because bands has 180 training images"
    ):
        plan("[mlp]\nbatch_size = [64, 512]")
    assert plan("[mlp]\nbatch_size = 180")[0].spaces["mlp"]["batch_size"] == Choice((180,))
    with pytest.raises(ZooError, match="needs sides of at least 15"):
        plan("family = 'small_cnn'\nimage_size = 8")


def test_networks_that_cannot_be_built(write, image_file, monkeypatch: pytest.MonkeyPatch):
    def module(hyperparameters, shape, classes):
        if hyperparameters["width"] == 10 or (hyperparameters["width"] == 12 and hyperparameters["depth"] > 4):
            raise ValueError("too odd")

    family = replace(FAMILIES["mlp"], module=module)
    monkeypatch.setitem(FAMILIES, "mlp", family)  # pyright: ignore
    settings = Settings(images=image_file)
    assert settings.over(read_recipe(write("[mlp]\nwidth = [9, 12]"))).plan()
    with pytest.raises(ZooError, match=r"my.toml: \[mlp\] width: a network cannot be built with 10: too odd"):
        settings.over(read_recipe(write("[mlp]\ndepth = 6\nwidth = [9, 10]"))).plan()
    with pytest.raises(ZooError, match=r"my.toml: \[mlp\]: a network cannot be built: too odd"):
        settings.over(read_recipe(write("[mlp]\ndepth = 6\nwidth = [9, 12]"))).plan()


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_can_be_tried_without_memory(write, name):
    text = f"image_size = 28\n[{name}]\nlearning_rate = 0.015625\n"
    recipe, _ = read_recipe(write(text)).plan()
    assert recipe.family(name).sample(np.random.default_rng(0))["learning_rate"] == 0.015625
