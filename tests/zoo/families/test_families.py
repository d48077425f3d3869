"""What every family promises."""

import numpy as np
import pytest
import torch

from sne.networks import TensorInfo, recognise
from sne.zoo import FAMILIES, ZooError
from sne.zoo.families import find_families

REQUIRED = {"optimizer", "learning_rate", "weight_decay", "dropout", "init", "init_std"} | {
    "train_fraction",
    "batch_size",
}


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return FAMILIES[request.param]


def build(family, seed=0, shape=(1, 20, 20), classes=5):
    hyperparameters = family.sample(np.random.default_rng(seed))
    return family.build(hyperparameters, shape, classes, torch.Generator().manual_seed(seed))


def test_named_as_filed(family):
    assert FAMILIES[family.name] is family and set(family.space) >= REQUIRED


def test_samples_are_plain_and_seeded(family):
    one = [family.sample(np.random.default_rng(i)) for i in range(20)]
    assert one == [family.sample(np.random.default_rng(i)) for i in range(20)]
    assert {type(value) for values in one for value in values.values()} <= {str, int, float}
    assert len({values["learning_rate"] for values in one}) == 20


def test_builds_and_learns_on_grey_and_colour(family):
    for seed in range(6):
        for shape in ((1, 20, 20), (3, 28, 28)):
            module = build(family, seed, shape)
            logits = module(torch.randn(4, *shape))
            assert logits.shape == (4, 5)
            logits.square().sum().backward()
            assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())


def test_first_weights_come_from_the_generator(family):
    torch.manual_seed(0)
    one = build(family, 3).state_dict()
    torch.manual_seed(1)
    two = build(family, 3).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_every_weight_is_recognised(family):
    for seed in range(6):
        state = {n: t for n, t in build(family, seed).state_dict().items() if t.is_floating_point()}
        layers, notes = recognise({n: TensorInfo(n, tuple(t.shape), "float32") for n, t in state.items()})
        assert {part.tensor for layer in layers for part in layer.parts} == set(state)
        assert "other" not in {layer.type.value for layer in layers}
        assert notes == ()


def test_too_small_images(family):
    if family.smallest > 1:
        with pytest.raises(ZooError, match=f"{family.name} needs sides of at least {family.smallest}"):
            build(family, shape=(1, family.smallest - 1, family.smallest - 1))
    assert build(family, shape=(1, family.smallest, family.smallest)) is not None


def test_sizes_as_published():
    counts = {name: sum(p.numel() for p in build(FAMILIES[name], 0, (1, 28, 28), 10).parameters()) for name in
              ("small_cnn", "cnn_s")}  # fmt: skip
    assert counts == {"small_cnn": 4970, "cnn_s": 2464}


def test_find():
    assert [f.name for f in find_families(["vit", "mlp"])] == ["vit", "mlp"]
    with pytest.raises(ZooError, match="known families are"):
        find_families(["vgg"])
