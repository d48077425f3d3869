"""Draws of hyper-parameters stay as they were, so that zoos can be made again from their recipes."""

import numpy as np
import pytest

from sne.making import FAMILIES

DRAWN = {
    "lenet": (
        "4 mean tanh 0.0204868 adam 0.00103879 constant 0.00103047 crop he_normal",
        "1 mean gelu 0.0720798 rmsprop 0.00888484 constant 2.49697e-05 none torch",
        "4 max relu 0.407113 adam 0.00123571 constant 0.000254097 crop glorot_normal",
        "4 max relu 0.400637 adam 0.00382087 constant 2.69008e-05 none he_normal",
    ),
    "mnist_cnn": (
        "32 128 5 relu 0.0204868 adam 0.00650534 constant 0.00103047 crop he_normal",
        "16 128 5 leaky_relu 0.0720798 rmsprop 0.00205037 cosine 2.49697e-05 none glorot_normal",
        "32 64 3 relu 0.407113 adamw 0.00398199 constant 0.000254097 crop torch",
        "32 64 3 relu 0.400637 rmsprop 0.00124202 cosine 2.69008e-05 crop torch",
    ),
    "vgg": (
        "48 4 2 0 batch relu 0.00826382 adam 0.00770003 cosine 0.000100583 crop glorot_normal",
        "16 4 2 128 batch relu 0.474325 adam 0.00177718 constant 0.000539847 none he_normal",
        "48 3 1 0 batch tanh 0.045958 adam 0.00443455 cosine 4.17126e-06 crop torch",
        "32 3 1 0 batch tanh 0.291081 adam 0.00183013 constant 3.81384e-05 none torch",
    ),
    "resnet": (
        "24 2 2 relu 0.0204868 adam 0.0114311 constant 0.00103047 crop he_normal",
        "16 2 2 tanh 0.0720798 rmsprop 0.00254508 cosine 2.49697e-05 none glorot_normal",
        "24 1 1 relu 0.407113 adamw 0.00603599 constant 0.000254097 crop torch",
        "24 1 1 relu 0.400637 rmsprop 0.00132576 cosine 2.69008e-05 crop he_normal",
    ),
}
"""What the seeds 0, 1, ... draw, in the order of the space, without the last three, which are fixed."""


@pytest.mark.parametrize("name", list(DRAWN))
def test_draws_are_those_of_earlier_zoos(name):
    for seed, expected in enumerate(DRAWN[name]):
        drawn = list(FAMILIES[name].sample(np.random.default_rng(seed)).values())
        assert drawn[-3:] == [0.05, 1.0, 64]
        found = " ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in drawn[:-3])
        assert found == expected
