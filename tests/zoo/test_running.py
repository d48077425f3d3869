from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from sne.zoo import FAMILIES, Recipe, ZooError, load_images
from sne.zoo.layout import flatten, unflatten
from sne.zoo.making import load_run, save_run
from sne.zoo.recipe import Unit
from sne.zoo.running import make_optimiser, measure, train_run

RECIPE = Recipe(("mlp",), "bands", "", None, 1, 6, "steps", (0, 6), 50, seed=3)


def test_randomness_comes_from_seed_and_unit_alone(image_file: Path):
    images = load_images(image_file)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = train_run(RECIPE, Unit("mlp", 4), images)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two = train_run(RECIPE, Unit("mlp", 4), images)
    assert one.hyperparameters == two.hyperparameters
    for a, b in zip(one.kept, two.kept, strict=True):
        assert torch.equal(a.vector, b.vector)
    other = train_run(replace(RECIPE, seed=4), Unit("mlp", 4), images)
    assert other.hyperparameters != one.hyperparameters


def test_epochs_are_passes_over_the_own_part(image_file: Path):
    images = load_images(image_file)
    recipe = replace(RECIPE, unit="epochs", length=2, keep=(1, 2))
    run = train_run(recipe, Unit("mlp", 0), images)
    own = max(round(run.hyperparameters["train_fraction"] * 180), 1)
    steps = own // min(64, own)
    assert [kept.step for kept in run.kept] == [steps, 2 * steps]


def test_measures_against_a_plain_count(image_file: Path):
    images = load_images(image_file)
    run = train_run(RECIPE, Unit("mlp", 1), images)
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
    assert measure(module, images.x_train, images.y_train, images, 50)["test_accuracy"] == kept["test_accuracy"]


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
    run = train_run(replace(RECIPE, length=40, keep=(0, 40)), Unit("mlp", 0), images)
    assert run.kept and run.kept[-1].step < 40
    for kept in run.kept:
        assert kept.properties["diverged"] is True and bool(torch.isfinite(kept.vector).all())


class Fixed:
    def __init__(self, value):
        self.value = value

    def sample(self, rng):
        return self.value


def test_run_file(image_file: Path, tmp_path: Path):
    run = train_run(RECIPE, Unit("mlp", 2), load_images(image_file))
    save_run(tmp_path / "run.safetensors", run)
    back = load_run(tmp_path / "run.safetensors")
    assert back.layout == run.layout and back.hyperparameters == run.hyperparameters
    for a, b in zip(run.kept, back.kept, strict=True):
        assert a.step == b.step and a.properties == b.properties and torch.equal(a.vector, b.vector)
    save_run(tmp_path / "none.safetensors", replace(run, kept=()))
    assert load_run(tmp_path / "none.safetensors").kept == ()
    (tmp_path / "run.safetensors").write_bytes(b"1234")
    with pytest.raises(ZooError, match="delete it"):
        load_run(tmp_path / "run.safetensors")


def test_state_survives_the_flat_vector(image_file: Path):
    images = load_images(image_file)
    for name, family in FAMILIES.items():
        hyperparameters = family.sample(np.random.default_rng(0))
        module = family.build(hyperparameters, images.shape, 3, torch.Generator().manual_seed(0))
        layout, vector = flatten(module.state_dict())
        other = family.build(hyperparameters, images.shape, 3, torch.Generator().manual_seed(1))
        other.load_state_dict(unflatten(layout, vector), strict=False)
        x = images.scale(images.x_test[:3])
        assert torch.equal(module.eval()(x), other.eval()(x)), name
