import numpy as np
import pytest
import torch
from PIL import Image

from sne.making.images.preparing import Form
from sne.zoo import ZooError


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, 3, 9, 6)).astype(np.uint8))


def test_grey_is_what_pillow_makes_of_it(pixels):
    grey = Form(channels="grey").apply(pixels, "toy")
    for made, image in zip(grey, pixels, strict=True):
        pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
        assert np.array_equal(made[0].numpy(), np.array(pillow))


def test_rgb_of_grey_and_back(pixels):
    grey = pixels[:, :1].contiguous()
    rgb = Form(channels="rgb").apply(grey, "toy")
    assert rgb.shape == (7, 3, 9, 6) and rgb.is_contiguous()
    assert torch.equal(Form(channels="grey").apply(rgb, "toy"), grey)
    assert torch.equal(Form(channels="rgb").apply(pixels, "toy"), pixels)


def test_size(pixels):
    small = Form(size=3).apply(pixels, "toy")
    assert small.shape == (7, 3, 3, 3) and small.dtype == torch.uint8
    assert (small.double().mean((2, 3)) - pixels.double().mean((2, 3))).abs().max() < 30
    flat = torch.full((2, 1, 8, 8), 77, dtype=torch.uint8)
    assert bool((Form(size=5).apply(flat, "toy") == 77).all())


def test_one_by_one_is_the_same_as_together(pixels):
    form = Form(size=5, channels="grey")
    assert torch.equal(form.collect((str(i), image) for i, image in enumerate(pixels)), form.apply(pixels, "toy"))


def test_other_channels(pixels):
    two = pixels[:, :2]
    assert Form().apply(two, "toy").shape[1] == 2
    with pytest.raises(ZooError, match="toy: 2 channels cannot be converted to grey"):
        Form(channels="grey").apply(two, "toy")


def test_mixed_images_are_named(pixels):
    with pytest.raises(ZooError, match=r"a is 9 x 6, b is 8 x 6; give an image_size"):
        Form().collect([("a", pixels[0]), ("c", pixels[1]), ("b", pixels[2, :, :8])])
    with pytest.raises(ZooError, match=r"a has 3 channels, b has 1; set channels"):
        Form(size=4).collect([("a", pixels[0]), ("b", pixels[1, :1])])
    assert Form(4, "grey").collect([("a", pixels[0]), ("b", pixels[1, :1, :5])]).shape == (2, 1, 4, 4)
