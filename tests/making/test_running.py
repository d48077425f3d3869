from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from sne.making import FAMILIES, Recipe, load_images
from sne.making.families.space import Choice
from sne.making.optimisers import SCHEDULES, make_optimiser, rate_factor
from sne.making.recipe import RunId
from sne.making.running import train_run
from sne.making.tasks import Classification
from sne.zoo import ZooError
from sne.zoo.store.layout import flatten, unflatten

RECIPE = Recipe(("mlp",), "bands", "", None, 1, 6, "steps", (0, 6), 50, seed=3)


def test_randomness_comes_from_seed_and_unit_alone(image_file: Path):
    images = load_images(image_file)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = train_run(RECIPE, RunId("mlp", 4), images)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two = train_run(RECIPE, RunId("mlp", 4), images)
    assert one.hyperparameters == two.hyperparameters
    for a, b in zip(one.kept, two.kept, strict=True):
        assert torch.equal(a.vector, b.vector)
    other = train_run(replace(RECIPE, seed=4), RunId("mlp", 4), images)
    assert other.hyperparameters != one.hyperparameters


@pytest.mark.parametrize("family", ["cnn_s", "vit", "image_inr"])
def test_the_default_dtype_of_torch_changes_no_network(family: str):
    images = load_images("digits", 20)
    recipe = replace(RECIPE, families=(family,), images=images.name, images_checksum=images.checksum, image_size=20)
    usual = train_run(recipe, RunId(family, 0), images)
    torch.set_default_dtype(torch.float64)
    try:
        other = train_run(recipe, RunId(family, 0), images)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, two in zip(usual.kept, other.kept, strict=True):
        assert one.vector.dtype == torch.float32 and torch.equal(one.vector, two.vector)
        assert one.properties | {"wall_time": 0} == two.properties | {"wall_time": 0}


def test_epochs_are_passes_over_the_own_part(image_file: Path):
    images = load_images(image_file)
    recipe = replace(RECIPE, unit="epochs", length=2, keep=(1, 2))
    run = train_run(recipe, RunId("mlp", 0), images)
    own = max(round(run.hyperparameters["train_fraction"] * 180), 1)
    steps = own // min(64, own)
    assert [kept.step for kept in run.kept] == [steps, 2 * steps]


def test_measures_against_a_plain_count(image_file: Path):
    images = load_images(image_file)
    run = train_run(RECIPE, RunId("mlp", 1), images)
    module = FAMILIES["mlp"].build(run.hyperparameters, images.shape, 3, torch.Generator())
    module.load_state_dict(unflatten(run.layout, run.kept[-1].vector))
    module.eval()
    correct, loss = 0, 0.0
    for x, y in zip(images.x_test[:50], images.y_test[:50], strict=True):
        logits = module(images.scale(x[None]))
        correct += int(logits.argmax()) == int(y)
        loss += cross_entropy(logits, y[None]).item()
    kept = run.kept[-1].properties
    assert kept["test_accuracy"] == pytest.approx(correct / 50)
    assert kept["test_loss"] == pytest.approx(loss / 50, rel=1e-4)
    assert Classification(images, torch.arange(180), 50).measure(module)["test_accuracy"] == kept["test_accuracy"]


@pytest.mark.parametrize("name", ["adam", "sgd", "momentum", "rmsprop"])
def test_optimisers_against_the_equations(name):
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    optimiser = make_optimiser(module, {"optimizer": name, "learning_rate": 0.02, "weight_decay": 0.1})
    w = module.weight.detach().double().clone()
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    x = torch.randn(5, 3)
    for t in range(1, 6):
        optimiser.zero_grad()
        module(x).square().sum().backward()
        assert module.weight.grad is not None
        g = module.weight.grad.double() + 0.1 * w
        match name:
            case "sgd":
                w = w - 0.02 * g
            case "momentum":
                first = 0.9 * first + g
                w = w - 0.02 * first
            case "rmsprop":
                second = 0.9 * second + 0.1 * g**2
                w = w - 0.02 * g / (second.sqrt() + 1e-8)
            case _:
                first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
                w = w - 0.02 * first / (1 - 0.9**t) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        optimiser.step()
        assert torch.allclose(module.weight.detach().double(), w, atol=1e-5)
        w = module.weight.detach().double().clone()
    with pytest.raises(ZooError, match="'lion'"):
        make_optimiser(module, {"optimizer": "lion", "learning_rate": 0.1, "weight_decay": 0.0})


def test_schedules():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], 1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 9)
    for step in range(1, 10):
        assert rate_factor("constant", step, 9) == 1.0
        assert rate_factor("cosine", step, 9) == pytest.approx(scheduler.get_last_lr()[0])
        assert all(rate_factor(schedule, step, 9) > 0 for schedule in SCHEDULES)
        optimiser.step()
        scheduler.step()
    with pytest.raises(ZooError, match="'linear' is not known, expected one of constant, cosine"):
        rate_factor("linear", 1, 9)


def test_a_decaying_rate_takes_smaller_steps(image_file: Path):
    images = load_images(image_file)
    space = {"optimizer": Choice(("momentum",)), "widening": Choice((0.5,)), "augment": Choice(("none",))}
    runs = [
        train_run(
            replace(
                RECIPE, families=("lenet",), keep=(0, 1, 5, 6), spaces={"lenet": {**space, "schedule": Choice((kind,))}}
            ),
            RunId("lenet", 0),
            images,
        )
        for kind in SCHEDULES
    ]
    first, last = zip(*((run.kept[1].vector, run.kept[3].vector - run.kept[2].vector) for run in runs), strict=True)
    assert torch.equal(*first)
    assert float(last[1].norm()) < 0.2 * float(last[0].norm())


def test_diverged_runs_are_marked_and_finite(image_file: Path, monkeypatch: pytest.MonkeyPatch):
    images = load_images(image_file)
    family = FAMILIES["mlp"]
    sampled = {
        "optimizer": "sgd",
        "learning_rate": 1e12,
        "init": "he_normal",
        "activation": "relu",
        "dropout": 0.0,
    }
    monkeypatch.setitem(
        FAMILIES,  # pyright: ignore
        "mlp",
        replace(family, space=dict(family.space) | {k: Fixed(v) for k, v in sampled.items()}),
    )
    run = train_run(replace(RECIPE, length=40, keep=(0, 40)), RunId("mlp", 0), images)
    assert run.kept and run.kept[-1].step < 40
    for kept in run.kept:
        assert kept.properties["diverged"] is True and bool(torch.isfinite(kept.vector).all())


def test_runs_that_leave_all_bounds_at_once_are_kept_as_they_began(image_file: Path):
    images = load_images(image_file)
    space = {"optimizer": Choice(("sgd",)), "learning_rate": Choice((1e38,)), "init": Choice(("he_normal",))}
    recipe = replace(RECIPE, spaces={"mlp": space}, keep=(6,))
    for seed in range(3):
        run = train_run(replace(recipe, seed=seed), RunId("mlp", 0), images)
        assert [kept.step for kept in run.kept] == [0] and run.kept[0].properties["diverged"] is True
        first = train_run(replace(recipe, seed=seed, keep=(0,), length=1), RunId("mlp", 0), images).kept[0]
        assert torch.equal(run.kept[0].vector, first.vector)


class Fixed:
    def __init__(self, value):
        self.value = value

    def sample(self, rng):
        return self.value


def test_state_survives_the_flat_vector(image_file: Path):
    images = load_images(image_file)
    for name, family in FAMILIES.items():
        hyperparameters = family.sample(np.random.default_rng(0))
        module = family.build(hyperparameters, images.shape, 3, torch.Generator().manual_seed(0))
        layout, vector = flatten(module.state_dict())
        other = family.build(hyperparameters, images.shape, 3, torch.Generator().manual_seed(1))
        other.load_state_dict(unflatten(layout, vector), strict=False)
        task = family.task(hyperparameters, images, torch.Generator().manual_seed(2), 20)
        x, _ = task.batch(torch.arange(3))
        assert torch.equal(module.eval()(x), other.eval()(x)), name


def test_sine_waves_are_fitted_and_told_apart(image_file: Path):
    recipe = replace(RECIPE, families=("sine_inr",), length=400, keep=(0, 400))
    run = train_run(recipe, RunId("sine_inr", 0), load_images(image_file))
    first, last = run.kept[0].properties, run.kept[-1].properties
    assert run.dataset == "sine" and "frequency" not in run.hyperparameters
    assert first["frequency"] == last["frequency"] and 0.5 <= float(last["frequency"]) <= 10
    assert float(last["train_loss"]) < 0.2 * float(first["train_loss"])
    assert last["psnr"] == pytest.approx(10 * np.log10(4 / float(last["train_loss"])))


def test_a_fit_ends_when_it_is_good_enough(image_file: Path):
    recipe = replace(RECIPE, families=("sine_inr",), length=4000, keep=(4000,), seed=1)
    run = train_run(recipe, RunId("sine_inr", 0), load_images(image_file))
    assert len(run.kept) == 1 and run.kept[0].step < 4000
    assert float(run.kept[0].properties["train_loss"]) < 1e-4 and run.kept[0].properties["diverged"] is False


def test_image_networks_know_their_image(image_file: Path):
    images = load_images(image_file)
    recipe = replace(RECIPE, families=("image_inr",), length=30, keep=(0, 30))
    run = train_run(recipe, RunId("image_inr", 1), images)
    labels = run.kept[-1].properties
    assert labels["image_class"] == str(int(images.y_train[int(labels["image_index"])]))
    assert float(labels["psnr"]) > float(run.kept[0].properties["psnr"]) and run.dataset == "bands"
    family = FAMILIES["image_inr"]
    task = family.task(run.hyperparameters, images, torch.Generator().manual_seed(0), 10)
    index = int(task.labels["image_index"])
    _, values = task.batch(torch.arange(task.num_examples))
    assert torch.allclose(values[:, 0].view(20, 20), images.scale(images.x_train[index])[0], atol=1e-5)
