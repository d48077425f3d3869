"""What is found in many architectures, and that it leaves their functions alone."""

from functools import lru_cache

import pytest
import torch
from networks_to_trace import ARCHITECTURES, build
from proof import change, without_one_tensor
from torch import nn

from sne.symmetry import Symmetry, trace

KINDS = ("permutation", "scaling", "sign", "mixing")
ROUNDS_TO_FLOAT32 = ("llama", "t5")  # their norms do, whatever the weights' precision
TOLERANCE = {name: 1e-5 if name in ROUNDS_TO_FLOAT32 else 1e-10 for name in ARCHITECTURES}

# Groups by kind: permutation, scaling, sign; then mixings.
EXPECTED = {
}


@lru_cache(None)
def traced(name):
    module, inputs = build(name)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    symmetry = trace(module, inputs)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    return module, inputs, symmetry


def count(symmetry: Symmetry):
    kinds = (sum(kind in group.kinds for group in symmetry.groups) for kind in KINDS[:3])
    return (*kinds, len(symmetry.mixings))


def assert_legal(name, draws):
    module, inputs, symmetry = traced(name)
    for seed in range(draws):
        for kind in KINDS:
            found = change(module, inputs, symmetry.sample(seed, (kind,)))
            assert found <= TOLERANCE[name], (kind, seed, found)
        found = change(module, inputs, symmetry.sample(seed, KINDS, fraction=0.5))
        assert found <= TOLERANCE[name], ("all", seed, found)


def assert_others_are_illegal(name, most):
    module, inputs, symmetry = traced(name)
    numbers = [n for n, group in enumerate(symmetry.groups) if "permutation" in group.kinds]
    for number in numbers[:: max(len(numbers) // most, 1)]:
        broken = without_one_tensor(symmetry, number)
        assert broken.groups[0].spans, "a group of one tensor"
        draws = (broken.sample(seed) for seed in range(4))
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
    assert symmetry.not_understood == ()
    assert count(symmetry) == EXPECTED[name]
    assert Symmetry.from_json(symmetry.to_json()) == symmetry


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_twenty_draws(name):
    assert_legal(name, draws=20)
    assert_others_are_illegal(name, most=100)
