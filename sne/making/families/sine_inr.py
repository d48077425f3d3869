"""Implicit neural representations of sine waves, whose frequency is predicted from the weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sne.making.families.blocks import Siren, initialise_siren
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform, Uniform
from sne.making.images import ImageSet
from sne.making.tasks import SignalFit, Task

_POINTS = 2000


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return Siren(1, hyperparameters["width"], hyperparameters["depth"], 1, hyperparameters["w0"])


def _task(hyperparameters: Mapping[str, Any], images: ImageSet, generator: torch.Generator, limit: int) -> Task:
    """Returns the task of fitting a sin(b x) on [-pi, pi), also measured halfway between the points."""
    amplitude, frequency = hyperparameters["amplitude"], hyperparameters["frequency"]
    points = torch.arange(_POINTS, dtype=torch.float32)[:, None] * (2 * math.pi / _POINTS) - math.pi
    between = points + math.pi / _POINTS
    waves = (amplitude * torch.sin(frequency * x) for x in (points, between))
    return SignalFit("sine", points, next(waves), between, next(waves), peak=2 * amplitude)


SINE_INR = Family(
    name="sine_inr",
    space={
        "frequency": Uniform(0.5, 10.0),
        "amplitude": Choice((1.0,)),
        "width": Choice((32,)),
        "depth": Choice((2,)),
        "w0": Choice((30.0,)),
        "optimizer": Choice(("adam",)),
        "learning_rate": LogUniform(1e-4, 1e-3),
        "weight_decay": Choice((0.0,)),
        "init": Choice(("siren",), allowed=("siren",)),
    },
    module=_module,
    task=_task,
    labels=("frequency", "amplitude"),
    initialise=initialise_siren,
    stop_loss=1e-4,
)
"""Networks 1-32-32-1, trained until the error is below 1e-4.

Source: Navon et al., "Equivariant Architectures for Learning in Deep Weight Spaces", arXiv 2301.12780, its sine waves.
Differs: learning rates are drawn from a range.
"""
