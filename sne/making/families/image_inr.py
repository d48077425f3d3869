"""Implicit neural representations of images: one network per image, whose class is predicted from the weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from sne.making.families.blocks import Siren, initialise_siren
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform
from sne.making.images import ImageSet
from sne.making.tasks import SignalFit, Task


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return Siren(2, hyperparameters["width"], hyperparameters["depth"], shape[0], hyperparameters["w0"])


def _task(hyperparameters: Mapping[str, Any], images: ImageSet, generator: torch.Generator, limit: int) -> Task:
    """Returns the task of fitting a random training image. Bilinear interpolation gives values between its pixels."""
    index = int(torch.randint(len(images.x_train), (1,), generator=generator))
    image = images.scale(images.x_train[index])
    darkest, brightest = (images.scale(torch.full_like(images.x_train[index], byte)) for byte in (0, 255))
    _, height, width = image.shape
    pixels = _grid(_centres(height), _centres(width))
    between = _grid(_centres(height)[:-1] + 1 / height, _centres(width)[:-1] + 1 / width)
    number = int(images.y_train[index])
    return SignalFit(
        images.name,
        pixels.flatten(0, 1),
        _values(image, pixels),
        between.flatten(0, 1),
        _values(image, between),
        peak=float((brightest - darkest).abs().max()),
        labels={"image_class": images.classes[number] if images.classes else str(number), "image_index": index},
    )


def _centres(size: int) -> Tensor:
    """Returns the centres of pixels; the whole side is [-1, 1]."""
    return (2 * torch.arange(size, dtype=torch.float32) + 1) / size - 1


def _grid(rows: Tensor, columns: Tensor) -> Tensor:
    """Returns the coordinates x, y of every row and column."""
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1)


def _values(image: Tensor, grid: Tensor) -> Tensor:
    """Returns the values of an image at the points of a grid: [points, channels]."""
    sampled = grid_sample(image[None], grid[None], mode="bilinear", align_corners=False, padding_mode="border")
    return sampled[0].flatten(1).T.contiguous()


IMAGE_INR = Family(
    name="image_inr",
    space={
        "width": Choice((32,)),
        "depth": Choice((2,)),
        "w0": Choice((30.0,)),
        "optimizer": Choice(("adam",)),
        "learning_rate": LogUniform(1e-4, 3e-3),
        "weight_decay": Choice((0.0,)),
        "init": Choice(("siren",), allowed=("siren",)),
    },
    module=_module,
    task=_task,
    initialise=initialise_siren,
)
"""Networks 2-32-32-C, one per image.

Source: Navon et al., arXiv 2301.12780, its image data sets.
Differs: learning rates are drawn from a range.
"""
