from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from sne.making import FAMILIES, Recipe, load_images
from sne.making.families.space import Choice, LogUniform
from sne.making.images import ImageSet
from sne.making.make import make_recipe
from sne.making.running import train_run
from sne.making.stacked import group_runs, train_stack
from sne.work import ProcessPool
from sne.zoo import ZooError

CALM = {"optimizer": Choice(("sgd",)), "learning_rate": LogUniform(1e-3, 1e-2)}
"""Optimisers that divide by the size of a gradient turn rounding into steps where it is nought."""


@pytest.fixture(scope="module")
def images(image_file: Path) -> ImageSet:
    return load_images(image_file)


def recipe_of(family: str, **changes) -> Recipe:
    settings = {"networks": 10, "length": 6, "unit": "steps", "keep": (0, 6), "eval_images": 40, "seed": 0}
    return Recipe(families=(family,), images="bands", images_checksum="", image_size=None, **(settings | changes))


def largest_group(recipe: Recipe, images: ImageSet):
    return max(group_runs(recipe, images)(recipe.run_ids()), key=len)


def assert_same_runs(stacked, alone, tolerance):
    assert stacked.layout == alone.layout and stacked.dataset == alone.dataset
    assert stacked.hyperparameters == alone.hyperparameters
    assert [kept.step for kept in stacked.kept] == [kept.step for kept in alone.kept]
    for ours, theirs in zip(stacked.kept, alone.kept, strict=True):
        torch.testing.assert_close(ours.vector, theirs.vector, rtol=tolerance, atol=tolerance)
        assert set(ours.properties) == set(theirs.properties)
        for name, value in theirs.properties.items():
            if name == "wall_time":
                assert float(ours.properties[name]) > 0
            elif isinstance(value, float):
                assert ours.properties[name] == pytest.approx(value, rel=1e-3, abs=0.03), name
            else:
                assert ours.properties[name] == value, name


def test_language_models_are_refused(images):
    recipe = recipe_of("gpt")
    with pytest.raises(ZooError, match="NextLevel is trained on the CPU only"):
        list(train_stack(recipe, largest_group(recipe, images), images, device="cpu"))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "gpt"])
def test_a_network_becomes_what_it_becomes_alone(name, images):
    spaces = {name: CALM} if "inr" not in name else {}
    recipe = recipe_of(name, spaces=spaces)
    units = largest_group(recipe, images)
    for unit, stacked in train_stack(recipe, units, images, device="cpu"):
        assert_same_runs(stacked, train_run(recipe, unit, images, counted=True), 2e-5)


@pytest.mark.parametrize("augmentation", ["crop", "crop_flip"])
def test_schedules_and_augmented_images(augmentation, images):
    space = {"optimizer": Choice(("sgd",)), "learning_rate": Choice((0.1, 0.2)), "schedule": Choice(("cosine",))}
    space |= {"widening": Choice((0.5,)), "pool": Choice(("max",)), "activation": Choice(("tanh",))}
    space |= {"augment": Choice((augmentation,))}
    recipe = recipe_of("lenet", spaces={"lenet": space}, networks=3)
    units = largest_group(recipe, images)
    assert len(units) == 3
    plain = replace(recipe, spaces={"lenet": {**space, "augment": Choice(("none",))}})
    for unit, stacked in train_stack(recipe, units, images, device="cpu"):
        assert_same_runs(stacked, train_run(recipe, unit, images, counted=True), 2e-5)
        changed = stacked.kept[-1].vector - train_run(plain, unit, images, counted=True).kept[-1].vector
        assert float(changed.abs().max()) > 1e-4


def test_epochs_of_networks_with_different_parts(images):
    recipe = recipe_of("small_cnn", unit="epochs", length=2, keep=(1, 2), networks=30)
    for units in sorted(group_runs(recipe, images)(recipe.run_ids()), key=len)[-2:]:
        for unit, stacked in train_stack(recipe, units, images, device="cpu"):
            alone = train_run(recipe, unit, images, counted=True)
            assert [kept.step for kept in stacked.kept] == [kept.step for kept in alone.kept]


def test_company_does_not_matter(images):
    recipe = recipe_of(
        "mlp", spaces={"mlp": {**CALM, "depth": Choice((2,)), "width": Choice((16,)), "taper": Choice((1.0,))}}
    )
    units = largest_group(recipe, images)
    assert len(units) >= 3
    together = dict(train_stack(recipe, units, images, device="cpu"))
    pairs = dict(train_stack(recipe, units[1:3], images, device="cpu"))
    for unit, run in pairs.items():
        assert_same_runs(run, together[unit], 1e-5)


def test_those_that_diverge_end_and_the_others_go_on(images):
    space = {
        "optimizer": Choice(("sgd",)), "learning_rate": Choice((1e-3, 1e12)), "init": Choice(("he_normal",)),
        "activation": Choice(("relu",)), "depth": Choice((2,)), "width": Choice((16,)), "taper": Choice((1.0,)),
    }  # fmt: skip
    recipe = recipe_of("mlp", spaces={"mlp": space}, length=30, keep=(0, 30))
    units = largest_group(recipe, images)
    ends = set()
    for unit, stacked in train_stack(recipe, units, images, device="cpu"):
        alone = train_run(recipe, unit, images, counted=True)
        diverged = stacked.hyperparameters["learning_rate"] > 1
        assert all(kept.properties["diverged"] is diverged for kept in stacked.kept)
        assert all(bool(kept.vector.isfinite().all()) for kept in stacked.kept)
        if not diverged:
            assert_same_runs(stacked, alone, 1e-5)
        ends.add((diverged, stacked.kept[-1].step == 30))
    assert ends == {(True, False), (False, True)}


def test_those_that_leave_all_bounds_at_once_are_kept_as_they_began(images):
    space = {"optimizer": Choice(("sgd",)), "learning_rate": Choice((1e-3, 1e38)), "depth": Choice((2,))}
    space |= {"width": Choice((16,)), "taper": Choice((1.0,)), "activation": Choice(("relu",))}
    recipe = recipe_of("mlp", spaces={"mlp": space}, keep=(6,))
    units = largest_group(recipe, images)
    steps = set()
    for unit, stacked in train_stack(recipe, units, images, device="cpu"):
        assert_same_runs(stacked, train_run(recipe, unit, images, counted=True), 1e-5)
        steps |= {kept.step for kept in stacked.kept}
    assert steps == {0, 6}


def test_fits_end_when_they_are_good_enough(images):
    recipe = recipe_of("sine_inr", length=2000, keep=(2000,), networks=3, seed=1)
    runs = [run for _, run in train_stack(recipe, recipe.run_ids(), images, device="cpu")]
    steps = [run.kept[-1].step for run in runs]
    assert min(steps) < 2000 and len(set(steps)) > 1
    assert all(float(run.kept[-1].properties["train_loss"]) < 1e-4 for run in runs if run.kept[-1].step < 2000)


def test_groups_share_all_but_what_may_differ(images):
    recipe = replace(recipe_of("small_cnn", networks=60), families=("small_cnn", "sine_inr"))
    units = recipe.run_ids()
    groups = group_runs(recipe, images, largest=16)(units)
    assert sorted((u.family, u.index) for group in groups for u in group) == sorted((u.family, u.index) for u in units)
    assert max(len(group) for group in groups) == 16
    assert group_runs(recipe, images, largest=16)(units[3:4]) == [group for group in groups if units[3] in group]
    for group in groups:
        assert len({unit.family for unit in group}) == 1
    assert sum(group[0].family == "sine_inr" for group in groups) == 4


def test_a_zoo_made_of_stacks(images, tmp_path: Path):
    recipe = recipe_of("small_cnn", networks=6)
    zoo = make_recipe(
        tmp_path / "zoo", recipe, images, ProcessPool(1),
        trainer=partial(train_stack, device="cpu"), grouping=group_runs(recipe, images),
    )  # fmt: skip
    assert len(zoo) == 12 and zoo.ids == [f"small_cnn-{i:05d}@{step}" for i in range(6) for step in (0, 6)]
    for row in range(1, 12, 2):
        alone = train_run(recipe, recipe.run_ids()[row // 2], images, counted=True)
        torch.testing.assert_close(zoo.weights(row), alone.kept[-1].vector, rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
def test_the_gpu_makes_the_same_networks(images):
    recipe = recipe_of("small_cnn", spaces={"small_cnn": CALM})
    units = largest_group(recipe, images)
    for unit, stacked in train_stack(recipe, units, images, device="cuda"):
        assert_same_runs(stacked, train_run(recipe, unit, images, counted=True), 1e-4)
