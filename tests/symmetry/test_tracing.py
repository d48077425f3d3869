"""What is found in many architectures, and that it leaves their functions alone."""

import pytest
from networks_to_trace import ARCHITECTURES, build, traced
from proof import change, not_understood, without_one_tensor

from sne.symmetry import Symmetry, sample, symmetry_from_json, symmetry_to_json

KINDS = ("permutation", "scaling", "sign", "mixing")
ROUNDS_TO_FLOAT32 = ("llama", "t5")  # their norms do, whatever the weights' precision
TOLERANCE = {name: 1e-5 if name in ROUNDS_TO_FLOAT32 else 1e-10 for name in ARCHITECTURES}

# Groups by kind: permutation, scaling, sign; then mixings.
EXPECTED = {
    "small_cnn": (3, 0, 3, 0),
    "cnn_s": (4, 4, 0, 0),
    "mlp": (4, 0, 0, 0),
    "gru": (1, 0, 1, 0),
    "lstm_family": (1, 0, 1, 0),
    "residual_cnn": (6, 0, 16, 0),
    "vit": (13, 13, 13, 8),
    "vit_plain": (17, 13, 13, 8),
    "wild_cnn": (6, 0, 0, 0),
    "lenet": (4, 0, 0, 0),
    "mnist_cnn": (3, 3, 0, 0),
    "vgg": (5, 5, 4, 0),
    "resnet": (9, 0, 24, 0),
    "gpt": (13, 12, 12, 8),
    "sine_inr": (2, 0, 2, 0),
    "image_inr": (2, 0, 2, 0),
    "grouped": (23, 21, 12, 0),
    "dense": (4, 7, 4, 1),
    "unet": (3, 2, 0, 0),
    "lstm": (4, 0, 4, 0),
    "gru_layers": (4, 0, 4, 0),
    "rnn": (4, 0, 4, 0),
    "rnn_relu": (4, 4, 0, 0),
    "attention": (7, 6, 6, 6),
    "encoder_post": (13, 11, 9, 8),
    "encoder_pre": (13, 14, 12, 8),
    "bilinear": (5, 4, 5, 3),
    "prelu": (2, 2, 0, 0),
    "hub_resnet": (11, 11, 15, 0),
    "convnext": (6, 10, 10, 0),
    "mobilenet": (25, 7, 59, 0),
    "hub_vit": (13, 13, 13, 8),
    "bert": (14, 9, 10, 8),
    "gpt2": (13, 12, 12, 8),
    "llama": (13, 15, 16, 4),
    "t5": (33, 39, 36, 24),
    "neox": (13, 13, 13, 8),
    "bloom": (11, 12, 12, 8),  # its heads have slopes of their own
    "swin": (26, 27, 27, 16),
}


def count(symmetry: Symmetry):
    kinds = (sum(kind in group.kinds for group in symmetry.groups) for kind in KINDS[:3])
    return (*kinds, len(symmetry.mixings))


def assert_legal(name, draws):
    module, inputs, symmetry = traced(name)
    for seed in range(draws):
        for kind in KINDS:
            found = change(module, inputs, sample(symmetry, seed, (kind,)))
            assert found <= TOLERANCE[name], (kind, seed, found)
        found = change(module, inputs, sample(symmetry, seed, KINDS, fraction=0.5))
        assert found <= TOLERANCE[name], ("all", seed, found)


def assert_others_are_illegal(name, most):
    module, inputs, symmetry = traced(name)
    numbers = [n for n, group in enumerate(symmetry.groups) if "permutation" in group.kinds]
    for number in numbers[:: max(len(numbers) // most, 1)]:
        broken = without_one_tensor(symmetry, number)
        assert broken.groups[0].spans, "a group of one tensor"
        draws = (sample(broken, seed) for seed in range(4))
        assert max(change(module, inputs, drawn) for drawn in draws) > 100 * TOLERANCE[name], symmetry.groups[number]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_draw_leaves_the_function_alone(name):
    assert_legal(name, draws=1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_group_without_one_of_its_tensors_does_not(name):
    assert_others_are_illegal(name, most=4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_is_missed(name):
    symmetry = traced(name)[2]
    assert not not_understood(symmetry)
    assert count(symmetry) == EXPECTED[name]
    assert symmetry_from_json(symmetry_to_json(symmetry)) == symmetry


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_twenty_draws(name):
    assert_legal(name, draws=20)
    assert_others_are_illegal(name, most=100)


@pytest.mark.parametrize("name", ["small_cnn", "residual_cnn", "gru", "hub_vit", "gpt2", "llama"])
def test_in_single_precision(name):
    module, inputs = build(name)
    symmetry = traced(name)[2]
    items = inputs.items() if isinstance(inputs, dict) else enumerate(inputs)
    single = {key: one.float() if getattr(one, "is_floating_point", bool)() else one for key, one in items}
    inputs = single if isinstance(inputs, dict) else tuple(single.values())
    for seed, kind in enumerate(KINDS):
        assert change(module.float(), inputs, sample(symmetry, seed, (kind,))) <= 1e-5
