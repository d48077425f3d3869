"""What every family promises."""

import numpy as np
import pytest
import torch

from sne.making import FAMILIES, ImageSet
from sne.making.recipe import find_families
from sne.making.tasks import Classification
from sne.networks import TensorInfo, recognise
from sne.zoo import ZooError

ALL = {"optimizer", "learning_rate", "weight_decay", "init"}
CLASSIFIERS = ALL | {"dropout", "init_std", "train_fraction", "batch_size"}
SHAPES = ((1, 20, 20), (3, 28, 28))


def images_of(shape, classes=5):
    x = torch.randint(0, 256, (40, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet("noise", x[:30], torch.arange(30) % classes, x[30:], torch.arange(10) % classes)


def task_of(family, hyperparameters, shape=(1, 20, 20)):
    return family.task(hyperparameters, images_of(shape), torch.Generator().manual_seed(0), 20)


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return FAMILIES[request.param]


def build(family, seed=0, shape=(1, 20, 20), classes=5):
    hyperparameters = family.sample(np.random.default_rng(seed))
    return family.build(hyperparameters, shape, classes, torch.Generator().manual_seed(seed))


def test_named_as_filed(family):
    assert FAMILIES[family.name] is family
    is_classifier = isinstance(task_of(family, family.sample(np.random.default_rng(0))), Classification)
    assert set(family.space) >= (CLASSIFIERS if is_classifier else ALL)
    assert set(family.labels) <= set(family.space)


def test_samples_are_plain_and_seeded(family):
    one = [family.sample(np.random.default_rng(i)) for i in range(20)]
    assert one == [family.sample(np.random.default_rng(i)) for i in range(20)]
    assert {type(value) for values in one for value in values.values()} <= {str, int, float}
    assert len({values["learning_rate"] for values in one}) == 20


def test_builds_and_learns_on_grey_and_colour(family):
    for seed in range(6):
        for shape in SHAPES:
            hyperparameters = family.sample(np.random.default_rng(seed))
            module, task = build(family, seed, shape), task_of(family, hyperparameters, shape)
            inputs, targets = task.batch(torch.arange(min(8, task.num_examples)))
            loss = task.loss(module(inputs), targets)
            assert loss.ndim == 0 and bool(loss.isfinite())
            loss.backward()
            assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())
            measured = task.measure(module)
            assert all(value is None or np.isfinite(value) for value in measured.values())
            assert not set(measured) & set(task.labels)


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


@pytest.mark.parametrize(
    "name, changes, side, count",
    [
        ("lenet", {"widening": 1.0}, 28, 61_706),
        ("lenet", {"widening": 1.0}, 32, 61_706),
        ("mnist_cnn", {"width": 32, "hidden": 128, "kernel": 3}, 28, 225_034),
        ("resnet", {"width": 16, "depth": 1, "stride": 1}, 32, 77_754),
        ("resnet", {"width": 16, "depth": 3, "stride": 2}, 28, 272_186),
        ("vgg", {"width": 16, "stages": 3, "depth": 1, "hidden": 0, "norm": "none"}, 28, 29_066),
    ],
)
def test_sizes_of_well_known_networks(name, changes, side, count):
    drawn = FAMILIES[name].sample(np.random.default_rng(0)) | changes
    module = FAMILIES[name].module(drawn, (1, side, side), 10)
    assert sum(p.numel() for p in module.parameters()) == count


@pytest.mark.parametrize("name", ["lenet", "mnist_cnn", "vgg", "resnet"])
def test_networks_as_people_have_them_stay_below_a_million_weights(name):
    family = FAMILIES[name]
    for seed in range(100):
        with torch.device("meta"):
            module = family.module(family.sample(np.random.default_rng(seed)), (3, 32, 32), 10)
        assert 5_000 < sum(p.numel() for p in module.parameters()) < 1_000_000


def test_wild_cnns_are_all_different():
    drawn = [FAMILIES["wild_cnn"].sample(np.random.default_rng(i)) for i in range(40)]
    assert len({(d["widths"], d["kernels"]) for d in drawn}) > 35
    for values in drawn:
        widths, kernels, skips = ([int(n) for n in values[name].split("-")] for name in ("widths", "kernels", "skips"))
        assert len(widths) == len(kernels) == len(skips) == values["depth"]
        assert all(4 <= width <= 64 for width in widths) and set(kernels) <= {3, 5, 7}
        assert all(widths[i] == widths[i - 1] and i >= 2 for i in range(len(skips)) if skips[i])
    assert any("1" in values["skips"] for values in drawn)


def test_plain_transformers_differ_from_others_in_nothing_but_the_sums():
    plain, residual = build(FAMILIES["vit_plain"], 2), build(FAMILIES["vit"], 2)
    residual.load_state_dict(plain.state_dict())
    x = torch.randn(3, 1, 20, 20)
    assert not torch.allclose(plain.eval()(x), residual.eval()(x))


def test_find():
    assert [f.name for f in find_families(["vit", "mlp"])] == ["vit", "mlp"]
    with pytest.raises(ZooError, match="known families are"):
        find_families(["alexnet"])
