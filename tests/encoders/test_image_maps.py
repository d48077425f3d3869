"""Images as first layers read them, and convolutions of maps."""

import pytest
import torch
from torch.nn import functional as F

from sne.encoders import image_maps
from sne.encoders.image_maps import convolve, first_maps, first_rows, first_vectors, flattened, kernel_sides
from sne.encoders.images import NUM_IMAGES, draw_images
from sne.encoders.measures import WholeTensor
from sne.networks import Part, Role


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convolved_by_torch(maps: torch.Tensor, weights: torch.Tensor, groups: int = 1) -> torch.Tensor:
    """Network by network; weights are [batch, out, in, height, width]."""
    maps = maps.expand(len(weights), *maps.shape[1:]).movedim(4, 2)
    out = [F.conv2d(image, weight, groups=groups) for image, weight in zip(maps, weights, strict=True)]
    return torch.stack(out).movedim(2, 4)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sides", [(1, 1), (3, 3), (5, 5), (3, 5), (1, 7), (6, 7)])
@pytest.mark.parametrize("channels", [(1, 4), (4, 1), (3, 8), (6, 6)])
@pytest.mark.parametrize("is_shared", [True, False])
def test_dense_convolutions_equal_those_of_torch(batch, sides, channels, is_shared):
    num_in, num_out = channels
    maps = normal(1 if is_shared else batch, NUM_IMAGES, 6, 7, num_in)
    weights = normal(batch, num_out, num_in, *sides, seed=1)
    if sides[0] > 6 or sides[1] > 7:
        pytest.fail("a size that does not fit")
    out = convolve(maps, WholeTensor(weights.flatten(3)), sides)
    torch.testing.assert_close(out, convolved_by_torch(maps, weights), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sides", [(3, 3), (5, 5), (3, 5)])
def test_depthwise_convolutions_equal_those_of_torch(batch, sides):
    maps, weights = normal(batch, NUM_IMAGES, 6, 7, 5), normal(batch, 5, 1, *sides, seed=1)
    out = convolve(maps, WholeTensor(weights.flatten(3)), sides)
    torch.testing.assert_close(out, convolved_by_torch(maps, weights, groups=5), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("most", [1, 100_000, 1 << 22])
def test_many_networks_equal_each_one_alone(most, monkeypatch):
    monkeypatch.setattr(image_maps, "WINDOW_ENTRIES", most)
    maps, weights = normal(70, NUM_IMAGES, 5, 5, 16), WholeTensor(normal(70, 16, 16, 9, seed=1))
    together = convolve(maps, weights, (3, 3))
    assert together is not None
    for place in (0, 35, 69):
        alone = convolve(maps[place : place + 1], WholeTensor(weights.weights[place : place + 1]), (3, 3))
        torch.testing.assert_close(together[place : place + 1], alone, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "sides"),
    [((4, 5, 25), (5, 5)), ((4, 5, 5), (1, 5)), ((4, 3, 9), (3, 3)), ((8, 1, 9), (3, 3)), ((10, 2, 9), (3, 3))],
    ids=["too high", "too wide", "other channels", "several outputs per channel", "groups"],
)
def test_convolutions_that_do_not_fit_are_not_followed(shape, sides):
    assert convolve(normal(2, NUM_IMAGES, 4, 4, 5), WholeTensor(normal(2, *shape)), sides) is None


@pytest.mark.parametrize(
    ("sides", "size"), [((3, 3), (7, 7)), ((16, 16), (16, 16)), ((3, 9), (7, 9)), ((64, 1), (64, 7)), ((2, 1), (7, 7))]
)
def test_convolutions_read_images_of_the_size_of_their_kernel_at_least(sides, size):
    maps = first_maps(3, sides)
    assert maps is not None and maps.shape == (1, NUM_IMAGES, *size, 3)
    for channel in range(3):
        assert torch.equal(maps[0, ..., channel], draw_images(*size))


@pytest.mark.parametrize(("num_in", "sides"), [(5, (3, 3)), (3, (1, 1)), (3, (65, 3)), (1, (3, 65))])
def test_other_convolutions_read_no_images(num_in, sides):
    assert first_maps(num_in, sides) is None


@pytest.mark.parametrize(
    ("num_in", "channels", "side"), [(784, 1, 28), (3072, 3, 32), (16, 1, 4), (48, 3, 4), (4096, 1, 64)]
)
def test_linear_layers_read_square_images_channel_by_channel(num_in, channels, side):
    vectors = first_vectors(num_in)
    assert vectors is not None
    expected = draw_images(side, side)[:, None].expand(-1, channels, -1, -1).flatten(1)
    assert torch.equal(vectors, expected)


@pytest.mark.parametrize("num_in", [1, 3, 9, 15, 27, 50, 65 * 65, 3 * 65 * 65])
def test_other_linear_layers_read_no_images(num_in):
    assert first_vectors(num_in) is None


def test_recurrent_layers_read_rows():
    assert torch.equal(first_rows(28), draw_images(8, 28))
    assert first_rows(3) is None and first_rows(65) is None


@pytest.mark.parametrize(
    ("height", "width", "side"), [(5, 5, 3), (4, 4, 2), (5, 5, 2), (6, 3, 2), (3, 3, 3), (4, 7, 1)]
)
def test_a_flatten_reads_the_middle(height, width, side):
    maps = normal(2, NUM_IMAGES, height, width, 3)
    top, left = (height - side) // 2, (width - side) // 2
    middle = maps[:, :, top : top + side, left : left + side]
    expected = middle.permute(0, 1, 4, 2, 3).flatten(2)  # as nn.Flatten has it, channel by channel
    assert torch.equal(flattened(maps, side**2), expected)


@pytest.mark.parametrize("times", [2, 8, 16])
def test_a_flatten_of_other_sizes_is_not_followed(times):
    assert flattened(normal(1, NUM_IMAGES, 3, 5, 2), times) is None


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Part("w", Role.WEIGHT, (8, 3, 5, 7), 0, 1), (5, 7)),
        (Part("w", Role.WEIGHT, (5, 7, 3, 8), 3, 2), (5, 7)),
        (Part("w", Role.WEIGHT, (8, 3, 5), 0, 1), None),
        (Part("w", Role.WEIGHT, (8, 3, 5, 5, 5), 0, 1), None),
    ],
    ids=["channels first", "channels last", "one axis", "three axes"],
)
def test_sides_of_kernels(part, expected):
    assert kernel_sides(part) == expected
