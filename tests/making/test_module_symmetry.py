"""Made zoos know the symmetry of their networks."""

import torch
from making_cases import tiny_recipe
from torch import nn

from sne.making import running as tracing
from sne.making.families import FAMILIES
from sne.making.recipe import RunId
from sne.making.running import prepare_run, symmetry_of_module
from sne.symmetry import apply_flat, sample
from sne.zoo import Zoo, verify
from sne.zoo.store.layout import flatten, unflatten


def test_every_row_has_its_symmetry(made_zoo: Zoo):
    symmetries = [made_zoo.symmetry(row) for row in range(len(made_zoo))]
    assert all(symmetry is not None and symmetry.groups for symmetry in symmetries)
    assert len(made_zoo.symmetries) == len(set(made_zoo.table["symmetry"].to_pylist())) >= 2
    assert verify(made_zoo.path).is_intact and not verify(made_zoo.path).notes


def test_copies_compute_the_same_and_others_do_not(image_file):
    recipe, images = tiny_recipe(image_file)
    trainee = prepare_run(recipe, RunId("mlp", 0), images)
    module = trainee.module.double().eval()
    layout, vector = flatten(module.state_dict())
    symmetry = symmetry_of_module(module, trainee.family, trainee.hyperparameters, trainee.task)
    inputs = trainee.task.batch(torch.arange(5))[0].double()
    before = module(inputs)
    module.load_state_dict(unflatten(layout, apply_flat(sample(symmetry, 0), layout.slots, vector)))
    torch.testing.assert_close(module(inputs), before, rtol=1e-4, atol=1e-5)  # weights went through float32
    module.load_state_dict(unflatten(layout, vector.roll(1)))
    assert not torch.allclose(module(inputs), before, rtol=1e-2, atol=1e-2)


def test_networks_that_differ_in_training_alone_are_traced_once(image_file, monkeypatch):
    recipe, images = tiny_recipe(image_file)
    trainees = [prepare_run(recipe, RunId("small_cnn", number), images) for number in range(2)]
    calls = []
    real = tracing.trace
    monkeypatch.setattr(tracing, "trace", lambda *given: calls.append(given) or real(*given))
    monkeypatch.setattr(tracing, "_known", {})
    first, second = (
        symmetry_of_module(t.module, t.family, {**t.hyperparameters, "activation": "relu"}, t.task) for t in trainees
    )
    assert first is second and len(calls) == 1
    symmetry_of_module(trainees[0].module, trainees[0].family, {**trainees[0].hyperparameters, "activation": "tanh"},
                trainees[0].task)  # fmt: skip
    assert len(calls) == 2


class Unexportable(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        raise RuntimeError("never")


def test_a_module_that_cannot_be_traced_has_none(image_file):
    recipe, images = tiny_recipe(image_file)
    task = prepare_run(recipe, RunId("mlp", 0), images).task
    assert symmetry_of_module(Unexportable(), FAMILIES["mlp"], {}, task) is None
