"""ResNet-8, ResNet-14 and ResNet-20 for small images."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from sne.making.families.blocks import PRACTICE
from sne.making.families.family import Family, ImageShape
from sne.making.families.residual_cnn import residual_network
from sne.making.families.space import Choice, LogUniform


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return residual_network(hyperparameters, shape, classes, stages=3, stride=hyperparameters["stride"])


RESNET = Family(
    name="resnet",
    space={
        "width": Choice((8, 16, 16, 24)),
        "depth": Choice((1, 2, 3)),
        "stride": Choice((1, 2, 2), allowed=(1, 2)),
        **PRACTICE,
        "learning_rate": LogUniform(1e-3, 2e-2),
    },
    module=_module,
    smallest=8,
)
"""Residual networks of three stages and 6 n + 2 layers for `depth` n; 272,186 weights at width 16 and depth 3."""
