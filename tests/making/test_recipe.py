import json
from dataclasses import replace

import numpy as np
import pytest

from sne.making import FAMILIES, Recipe
from sne.making.families.space import Choice, LogUniform
from sne.making.recipe import RunId, default_keep
from sne.zoo import ZooError

RECIPE = Recipe(("mlp", "small_cnn"), "bands", "01234567", None, 2, 6, "steps", (0, 6), 50, seed=3)
CHANGED = replace(
    RECIPE, spaces={"mlp": {"dropout": Choice((0.0,)), "learning_rate": LogUniform(1e-3, 1e-2)}}, classes=("a", "b")
)


def test_family_draws_from_the_recipe():
    family = CHANGED.family("mlp")
    drawn = [family.sample(np.random.default_rng(i)) for i in range(20)]
    assert {values["dropout"] for values in drawn} == {0.0}
    assert all(1e-3 <= values["learning_rate"] <= 1e-2 for values in drawn)
    assert list(drawn[0]) == list(FAMILIES["mlp"].space)
    assert CHANGED.family("small_cnn") == FAMILIES["small_cnn"] == RECIPE.family("small_cnn")


def test_file_says_every_space_in_full(tmp_path):
    for recipe in (RECIPE, CHANGED):
        recipe.save(tmp_path / "recipe.json")
        plain = json.loads((tmp_path / "recipe.json").read_text())
        assert {name: list(space) for name, space in plain["spaces"].items()} == {
            name: list(FAMILIES[name].space) for name in ("mlp", "small_cnn")
        }
        back = Recipe.load(tmp_path / "recipe.json")
        assert back.to_json() == plain == recipe.to_json()
        assert recipe.differences(back) == [] == back.differences(recipe)
        for name in recipe.families:
            rngs = np.random.default_rng(5), np.random.default_rng(5)
            assert back.family(name).sample(rngs[0]) == recipe.family(name).sample(rngs[1])


def test_a_space_written_in_full_is_the_same_recipe():
    full = replace(RECIPE, spaces={name: FAMILIES[name].space for name in RECIPE.families})
    assert full.differences(RECIPE) == []


def test_differences_name_family_and_key():
    assert CHANGED.differences(RECIPE) == ["classes", "mlp.learning_rate", "mlp.dropout"]
    other = replace(RECIPE, families=("small_cnn",), seed=4, channels="grey")
    assert RECIPE.differences(other) == ["families", "seed", "channels"]


def test_recipes_of_before_are_read(tmp_path):
    plain = RECIPE.to_json()
    for name in ("spaces", "classes", "channels", "normalisation"):
        del plain[name]
    (tmp_path / "recipe.json").write_text(json.dumps(plain))
    assert Recipe.load(tmp_path / "recipe.json").differences(RECIPE) == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channels": "cmyk"}, "channels 'cmyk' is not known, expected one of as_is, grey, rgb"),
        ({"normalisation": "batch"}, "normalisation 'batch'"),
        ({"unit": "days"}, "unit 'days' is not known, expected one of steps, epochs"),
        ({"eval_images": 0}, "eval_images is 0"),
        ({"keep": ()}, "keep is"),
        (
            {"unit": "steps", "length": 5, "keep": (0, 10)},
            r"keep is \[0, 10\], expected steps in 0\.\.5, as steps is 5",
        ),
        ({"unit": "steps", "length": 0}, "steps is 0, expected at least 1"),
        ({"unit": "epochs", "length": 0}, "epochs is 0, expected at least 1"),
    ],
)
def test_impossible(changes, message):
    with pytest.raises(ZooError, match=message):
        replace(RECIPE, **changes)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{}", '{"families": 3}', "[" * 100_000,
        json.dumps(RECIPE.to_json() | {"spaces": {"mlp": {"dropout": {"normal": [0, 1]}}}}),
        json.dumps(RECIPE.to_json() | {"spaces": {"mlp": 3}}),
        json.dumps(RECIPE.to_json() | {"colour": "red"}),
    ],
    ids=range(9),
)  # fmt: skip
def test_hostile_files(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ZooError, match=r"recipe.json is not a recipe"):
        Recipe.load(tmp_path / "recipe.json")


def test_units_and_keep():
    assert RECIPE.run_ids()[1:3] == [RunId("mlp", 1), RunId("small_cnn", 0)] and RunId("mlp", 1).name == "mlp-00001"
    assert default_keep(400) == (44, 133, 400) and default_keep(1) == (1,)
