"""Small vision transformers without residual connections."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from sne.making.families.family import Family, ImageShape
from sne.making.families.vit import PATCH, VIT, VisionTransformer


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return VisionTransformer(shape, classes, hyperparameters["dropout"], residual=False)


VIT_PLAIN = Family(name="vit_plain", space=VIT.space, module=_module, smallest=PATCH, multiple=PATCH)
"""Names and shapes are those of `vit`; only the values differ."""
