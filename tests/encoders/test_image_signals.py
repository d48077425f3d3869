"""Images go through a network as through the real one without strides and padding; features equal slow loops."""

import pytest
import torch
from followed_layers import randomised, responses_of, values_of
from oracles import images_by_loop
from torch import nn

from sne import read_network
from sne.encoders import layout_reader
from sne.encoders.flow import IMAGES
from sne.encoders.image_signals import IMAGE_ENTRIES, image_features
from sne.encoders.images import NUM_IMAGES, draw_images
from sne.encoders.layer_signals import SIGNAL_NAMES
from sne.encoders.limits import Limits
from sne.encoders.tensor_tokens import TOKEN_NAMES, tokenize
from sne.networks import Network

OF_IMAGES = torch.tensor([name.startswith("images/") for name in TOKEN_NAMES])


def images(height: int, width: int, channels: int) -> torch.Tensor:
    return draw_images(height, width)[:, None].expand(-1, channels, -1, -1)


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected.detach(), rtol=1e-4, atol=1e-4)


def of_images(given: nn.Module | Network) -> torch.Tensor:
    """What the last layer answers to the images."""
    return values_of(given)[-1][IMAGES]


def test_convolutions_with_batch_norm():
    stem = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5), nn.ReLU()]
    module = nn.Sequential(*stem, nn.Conv2d(5, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    randomised(module)
    given = images(7, 7, 3)
    first, second, third, head = responses_of(module)
    for response, depth in ((first, 1), (second, 4), (third, 7)):
        maps = module[:depth](given).permute(0, 2, 3, 1)
        assert response.maps is not None
        assert_close(response.maps[0], maps)
        assert_close(response.values[0, IMAGES], maps.mean((1, 2)))
    assert head.maps is None
    assert_close(head.values[0, IMAGES], module(given))


def test_strides_and_padding_are_left_out():
    """Weights do not show them; what is followed is the network without them."""
    with_strides = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 3, 3, 2, 1))
    without = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
    without.load_state_dict(randomised(with_strides).state_dict())
    assert_close(of_images(with_strides), without(images(7, 7, 1)).mean((2, 3)))


def test_depthwise_convolutions():
    layers = [nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(), nn.Conv2d(6, 3, 1)]
    module = randomised(nn.Sequential(*layers))
    assert_close(of_images(module), module(images(7, 7, 2)).mean((2, 3)))


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_a_flatten_reads_the_middle_of_the_maps(side):
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * side**2, 3)]
    module = randomised(nn.Sequential(*layers))
    maps = module[:2](images(7, 7, 1))
    start = (5 - side) // 2
    middle = maps[:, :, start : start + side, start : start + side]
    assert_close(of_images(module), module[3](maps.mean((2, 3)) if side == 1 else middle.flatten(1)))


def test_a_flatten_of_larger_maps_reads_the_mean_at_each_position():
    module = randomised(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3)))
    means = module[0](images(7, 7, 1)).mean((2, 3)).relu()
    assert_close(of_images(module), module[3](means.repeat_interleave(36, 1)))


def test_a_convolution_that_does_not_fit_reads_means():
    layers = [nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Conv2d(4, 5, 5), nn.ReLU(), nn.Conv2d(5, 2, 1)]
    module = randomised(nn.Sequential(*layers))
    means = module[0](images(7, 7, 1)).relu().mean((2, 3))
    second = means @ module[2].weight.sum((2, 3)).T + module[2].bias
    assert_close(of_images(module), second.relu() @ module[4].weight[..., 0, 0].T + module[4].bias)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 4, 4)])
def test_multilayer_perceptrons(shape):
    size = shape[0] * shape[1] * shape[2]
    layers = [nn.Flatten(), nn.Linear(size, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 7), nn.ReLU()]
    module = randomised(nn.Sequential(*layers, nn.Linear(7, 3)), std=0.1)
    assert_close(of_images(module), module(images(*shape[1:], shape[0])))


def test_a_batch_norm_without_running_statistics_takes_those_of_the_images():
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    module = randomised(nn.Sequential(nn.Flatten(), nn.Linear(16, 6), norm, nn.ReLU(), nn.Linear(6, 3)))
    assert_close(of_images(module), module(images(4, 4, 1)))


class LastState(nn.Module):
    """The rows of an image are the steps; a head reads the last state of each direction."""

    def __init__(self, cell: type[nn.Module], num_in: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = cell(num_in, 8, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(16 if bidirectional else 8, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        states = self.rnn(rows)[1]
        states = states[0] if isinstance(states, tuple) else states
        return self.head(states.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_in", [4, 28])
@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_layers_read_row_by_row(cell, num_in, bidirectional):
    module = randomised(LastState(cell, num_in, bidirectional=bidirectional))
    assert_close(of_images(module), module(draw_images(8, num_in)))


class VisionTransformer(nn.Module):
    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, patch, patch)
        block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=True, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(pixels).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(tokens)).mean(1))


@pytest.mark.parametrize("patch", [8, 16])
def test_a_vision_transformer_reads_one_patch(patch):
    module = randomised(VisionTransformer(patch), std=0.2)
    given = images(patch, patch, 3)
    responses = responses_of(module)
    assert_close(responses[0].values[0, IMAGES], module.patch(given).flatten(1))
    assert_close(responses[-1].values[0, IMAGES], module(given))


def test_small_patches_lie_at_every_position():
    module = randomised(VisionTransformer(4), std=0.2)
    patches = nn.functional.conv2d(images(7, 7, 3), module.patch.weight, module.patch.bias)
    assert_close(responses_of(module)[0].values[0, IMAGES], patches.mean((2, 3)))


def test_a_class_token_leaves_the_images():
    module = VisionTransformer(8)
    module.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
    module.pos_embed = nn.Parameter(torch.zeros(1, 17, 8))
    assert of_images(randomised(module)).any()


def test_layers_that_are_streamed_later_answer_as_whole_ones(monkeypatch):
    module = randomised(nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 3)))
    expected = tokenize([read_network(module)])[0].features
    monkeypatch.setattr(layout_reader, "MAX_WHOLE", 200)
    got = tokenize([read_network(module)])[0].features
    assert got[4, OF_IMAGES].any()
    torch.testing.assert_close(got[:, OF_IMAGES], expected[:, OF_IMAGES], rtol=1e-4, atol=1e-4)


class Words(nn.Module):
    def __init__(self, reader: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.reader = reader
        self.head = nn.Linear(16, 30)


NO_IMAGES = {
    "embedding and GRU": Words(nn.GRU(16, 16)),
    "embedding and linear layer": Words(nn.Linear(16, 16)),
    "embedding and transformer": Words(nn.TransformerEncoderLayer(16, 2, 16)),
    "one axis": nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
    "three axes": nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3)),
    "transposed": nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)),
    "many channels": nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)),
    "kernel of one position": nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 3)),
    "few inputs": nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3)),
    "projected states": nn.Sequential(nn.LSTM(28, 64, proj_size=16), nn.Linear(16, 3)),
    "streamed first layer": nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 16)),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_networks_that_read_no_images(name):
    network = read_network(randomised(NO_IMAGES[name]))
    assert all(response.values.shape[1] == IMAGES.start for response in responses_of(network))
    features = tokenize([network])[0].features
    assert features.any() and not features[:, OF_IMAGES].any()


def test_a_first_layer_of_which_a_sample_is_read_reads_no_images():
    network = read_network(randomised(nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 3))))
    assert tokenize([network])[0].features[:, OF_IMAGES].any()
    assert not tokenize([network], limits=Limits(budget=5_000))[0].features[:, OF_IMAGES].any()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


ANSWERS = {
    "outputs": normal(3, NUM_IMAGES, 10),
    "more outputs than images": normal(3, NUM_IMAGES, 40),
    "two outputs": normal(3, NUM_IMAGES, 2),
    "one output": normal(3, NUM_IMAGES, 1),
    "large": 300 * normal(3, NUM_IMAGES, 6),
    "small": 1e-4 * normal(3, NUM_IMAGES, 6),
    "far from zero": 1e-2 * normal(3, NUM_IMAGES, 6) - 5,
    "equal up to rounding": 1e5 + 1e-2 * normal(3, NUM_IMAGES, 6),
    "zero": torch.zeros(3, NUM_IMAGES, 6),
    "the same for all images": normal(3, 1, 6).expand(-1, NUM_IMAGES, -1),
    "the same for all outputs": normal(3, NUM_IMAGES, 1).expand(-1, -1, 6),
    "the same for all copies": normal(3, NUM_IMAGES // 3, 6).repeat_interleave(3, 1),
    "two equal outputs": normal(3, NUM_IMAGES, 4)[..., [0, 1, 2, 3, 3]],
    "zero for some images": normal(3, NUM_IMAGES, 6) * (torch.arange(NUM_IMAGES) % 3 > 0)[None, :, None],
    "none": torch.zeros(3, 0, 6),
}


def assert_equals_loop(got: torch.Tensor, expected: list[list[float]]) -> None:
    for row, other in zip(got.tolist(), expected, strict=True):
        assert len(row) == len(other) == len(IMAGE_ENTRIES)
        far = [f"{n}: {a} != {b}" for n, a, b in zip(IMAGE_ENTRIES, row, other, strict=True)
               if abs(a - b) > 2e-4 + 2e-4 * abs(b)]  # fmt: skip
        assert not far, far


@pytest.mark.parametrize("name", ANSWERS)
def test_features_of_values_equal_loops(name):
    values = ANSWERS[name]
    expected = [images_by_loop.features(rows) for rows in values.double().tolist()]
    assert_equals_loop(image_features(values, None), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 2)])
def test_features_of_maps_equal_loops(size):
    maps = normal(2, NUM_IMAGES, *size, 7)
    values, activated = maps.double().mean((2, 3)), maps.double().clamp_min(0).mean((2, 3))
    expected = [images_by_loop.features(*pair) for pair in zip(values.tolist(), activated.tolist(), strict=True)]
    assert_equals_loop(image_features(values.float(), maps), expected)


def test_order_of_outputs_does_not_matter_even_where_they_are_equal():
    for values in ANSWERS.values():
        order = torch.randperm(values.shape[2], generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(
            image_features(values[..., order], None), image_features(values, None), rtol=1e-4, atol=1e-4
        )


def test_names():
    assert len(set(IMAGE_ENTRIES)) == len(IMAGE_ENTRIES) == images_by_loop.NUM_FEATURES
    assert [f"images/{entry}" for entry in IMAGE_ENTRIES] == [n for n in SIGNAL_NAMES if n.startswith("images/")]


def test_images_tell_networks_apart_that_uniform_inputs_do_not():
    """Kernels whose sums are zero answer nothing to uniform inputs."""
    module = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False))
    kernels = normal(4, 1, 3, 3).mul(4).round()
    kernels[:, :, 0, 0] -= kernels.sum((2, 3))
    state = {"0.weight": kernels, "2.weight": torch.ones(2, 4, 1, 1)}
    module.load_state_dict(state)
    one = tokenize([read_network(module)])[0].features
    flipped = tokenize([read_network(state | {"0.weight": kernels.flip(3)})])[0].features
    assert one[:, OF_IMAGES].any()
    changed = (one - flipped).abs().amax(0) > 1e-4
    assert changed[OF_IMAGES].sum() > 10
    assert not any(name.startswith(("response", "growth")) for name, c in zip(TOKEN_NAMES, changed, strict=True) if c)


DEGENERATE = {
    "convolutions": lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3)),
    "flatten": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3)),
    "perceptron": lambda: nn.Sequential(nn.Linear(784, 5), nn.ReLU(), nn.Linear(5, 10)),
    "one output": lambda: nn.Sequential(nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 1)),
    "one neuron everywhere": lambda: nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(9, 1)),
    "GRU": lambda: LastState(nn.GRU, 28),
    "LSTM": lambda: LastState(nn.LSTM, 28),
    "RNN": lambda: LastState(nn.RNN, 28),
    "transformer": lambda: VisionTransformer(4),
}


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-8, 1e4, 1e9, 1e30])
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_networks_have_finite_features(name, scale):
    state = randomised(DEGENERATE[name]()).state_dict()
    state = {key: scale * tensor if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    (item,) = tokenize([read_network(state)])
    assert item.features.isfinite().all() and item.outputs.isfinite().all()
    assert item.features[:, OF_IMAGES].any()


def test_networks_in_a_batch_equal_each_one_alone():
    networks = [read_network(randomised(DEGENERATE["convolutions"](), seed)) for seed in range(5)]
    for together, network in zip(tokenize(networks), networks, strict=True):
        alone = tokenize([network])[0]
        torch.testing.assert_close(together.features, alone.features, rtol=1e-4, atol=1e-4)
