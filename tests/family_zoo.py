"""Zoos of untrained networks of any families, with the modules that they come from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sne.making import FAMILIES
from sne.symmetry import trace
from sne.zoo import Zoo, ZooWriter

SHAPE, CLASSES = (1, 20, 20), 3


def write_family_zoo(
    path: Path,
    families: Sequence[str],
    *,
    count: int = 3,
    shape: tuple[int, int, int] = SHAPE,
    classes: int = CLASSES,
    traced: bool = False,
    missing: Sequence[str] = (),
) -> tuple[Zoo, list[nn.Module]]:
    """Writes a zoo with `count` networks per family; `sharpness`, at most 1, is the size of their outputs for noise.

    Args:
        path: Folder of the new zoo.
        families: Names of families.
        count: Networks per family.
        shape: Shape of the images.
        classes: Outputs of classifiers.
        traced: Whether the symmetry of the first network of each family is stored.
        missing: Hyper-parameters that are not stored.
    """
    modules = []
    with ZooWriter(path) as writer:
        for name in families:
            for index in range(count):
                rng = np.random.default_rng(index)
                generator = torch.Generator().manual_seed(index)
                drawn = FAMILIES[name].sample(rng)
                module = FAMILIES[name].build(drawn, shape, classes, generator).eval()
                gain = 2.0 ** (rng.choice((-1, 1)) * rng.uniform(0.7, 2))
                with torch.no_grad():
                    for tensor in module.state_dict().values():  # running statistics too are no longer 0 and 1
                        if tensor.is_floating_point() and tensor.ndim == 1:
                            tensor += 0.1 * torch.rand(tensor.shape, generator=generator)
                    *_, weight, bias = (p for p in module.parameters())
                    bias.zero_()
                    one = shape if "inr" not in name else (1,) if name == "sine_inr" else (2,)
                    inputs = torch.randn(8, *one, generator=generator)
                    weight *= gain / module(inputs).square().mean().sqrt()
                writer.add(
                    id=f"{name}-{index}", run=f"{name}-{index}", family=name, dataset="noise", step=1,
                    state=module.state_dict(), properties={"sharpness": gain / 4, "is_sharp": int(gain > 1)},
                    hyperparameters={n: v for n, v in drawn.items() if n not in missing},
                    symmetry=trace(module, (inputs[:2],)) if traced and not index else None,
                )  # fmt: skip
                modules.append(module)
    return Zoo.open(path), modules
