import pickle

import numpy as np
import pytest
import torch

from sne.making import ImageSet, load_images
from sne.making.images import NORMALISATIONS
from sne.zoo import ZooError


def colour(channels: int = 3, count: int = 40) -> ImageSet:
    rng = np.random.default_rng(0)
    centre = np.array([30, 120, 200, 90])[:channels, None, None]
    x = torch.from_numpy(np.clip(rng.normal(centre, 25, (count, channels, 6, 5)), 0, 255).astype(np.uint8))
    y = torch.arange(count) % 4
    return ImageSet("toy", x, y, x[:8], y[:8])


def test_digits():
    digits = load_images("digits")
    assert digits.shape == (1, 20, 20) and digits.num_classes == 10 and digits.classes == tuple("0123456789")
    assert len(digits.x_train) == 1297 and len(digits.x_test) == 500
    assert digits.checksum == "795574e4"  # zoos that were made before stay this recipe's
    small = load_images("digits", 8)
    assert small.shape == (1, 8, 8)
    assert set(torch.bincount(small.y_test).gt(30).tolist()) == {True}


@pytest.mark.parametrize("name, ends", [("unit", (-1.0, 1.0)), ("zero_one", (0.0, 1.0))])
def test_ends_of_the_fixed_normalisations(name, ends):
    scaled = load_images("digits", normalisation=name).scale(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    assert scaled.dtype == torch.float32
    assert torch.allclose(scaled.flatten(), torch.tensor(ends), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_standard_is_mean_0_variance_1_of_the_training_images(channels):
    images = colour(channels)
    scaling = NORMALISATIONS["standard"](images.x_train)
    x = scaling(images.x_train).double()
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(channels).double(), atol=1e-6)
    assert torch.allclose(x.var((0, 2, 3), correction=0), torch.ones(channels).double(), atol=1e-5)
    slow = (
        images.x_train.double() - images.x_train.double().mean((0, 2, 3), keepdim=True)
    ) / images.x_train.double().std((0, 2, 3), correction=0, keepdim=True)
    assert torch.allclose(x, slow, atol=1e-5)


def test_constant_channel_is_only_centred():
    x = torch.full((3, 2, 4, 4), 7, dtype=torch.uint8)
    assert not NORMALISATIONS["standard"](x)(x).any()


def test_scaling_takes_a_stack_of_batches():
    images = colour()
    scaling = NORMALISATIONS["standard"](images.x_train)
    stack = images.x_train.view(5, 8, 3, 6, 5)
    assert torch.equal(scaling(stack).flatten(0, 1), scaling(images.x_train))


def test_a_scaling_first_used_while_measuring_serves_in_training():
    images = colour()
    scaling = NORMALISATIONS["standard"](images.x_train)
    with torch.inference_mode():
        scaling(images.x_train)
    layer = torch.nn.Conv2d(3, 2, 3)
    layer(scaling(images.x_train)).sum().backward()
    assert layer.weight.grad is not None and bool(layer.weight.grad.any())


def test_bytes_stay_bytes_on_the_way():
    images = pickle.loads(pickle.dumps(load_images("digits", 12, channels="rgb", normalisation="standard").to("cpu")))
    assert images.x_train.dtype == torch.uint8 and images.shape == (3, 12, 12)
    assert images.checksum == load_images("digits", 12, channels="rgb").checksum


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"size": 0}, "image_size is 0"),
        ({"channels": "cmyk"}, "'cmyk' is not known, expected one of as_is, grey, rgb"),
        ({"normalisation": "batch"}, "'batch' is not known, expected one of unit, zero_one, standard"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ZooError, match=message):
        load_images("digits", **settings)
