"""Every family of zoos, at several seeds."""

import numpy as np
import pytest
import torch
from by_name_proof import prove

from sne.making.families import FAMILIES

SHAPE, CLASSES = (1, 28, 28), 10


def module_of(name, seed):
    family = FAMILIES[name]
    hyperparameters = family.sample(np.random.default_rng(seed))
    for key, most in (("width", 24), ("depth", 5)):
        if isinstance(hyperparameters.get(key), int) and not isinstance(hyperparameters[key], bool):
            hyperparameters[key] = min(hyperparameters[key], most)
    if family.elaborate:
        hyperparameters |= family.elaborate(hyperparameters, np.random.default_rng(seed))
    return family.module(hyperparameters, SHAPE, CLASSES), hyperparameters


def inputs_of(name):
    generator = torch.Generator().manual_seed(0)
    if name in ("sine_inr", "image_inr"):
        return torch.rand(7, 1 if name == "sine_inr" else 2, generator=generator, dtype=torch.float64)
    if name == "gpt":
        return torch.randint(0, 16, (2, 12), generator=generator)
    return torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64)


def expected(name, hyperparameters):
    """Sizes of the groups."""
    width = hyperparameters.get("width")
    if name == "small_cnn":
        return {"width.16": 16}
    if name == "cnn_s":
        return {"width.8": 8, "width.6": 6, "width.4": 4, "width.20": 20}
    if name in ("gru", "sine_inr", "image_inr"):
        return {f"width.{width}": width}
    if name == "wild_cnn":
        widths = {int(n) for n in hyperparameters["widths"].split("-")} - {1, CLASSES}
        return {f"width.{n}": n for n in widths}
    if name == "lenet":
        widths = {round(hyperparameters["widening"] * n) for n in (6, 16, 120, 84)}
        return {f"width.{n}": n for n in widths}
    if name == "mnist_cnn":
        return {f"width.{n}": n for n in {width, 2 * width, hyperparameters["hidden"]}}
    if name in ("vit", "vit_plain"):
        return {"stream": 32, "hidden.0": 64, "hidden.1": 64}
    return None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FAMILIES)
def test_families(name, seed):
    module, hyperparameters = module_of(name, seed)
    sizes = prove(module, inputs_of(name))
    wanted = expected(name, hyperparameters)
    if wanted is not None:
        assert sizes == wanted
    else:
        assert sizes
