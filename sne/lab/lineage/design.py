"""The zoos and sizes of the study of lineages at each scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sne.making import FAMILIES
from sne.making.families.overriding import override
from sne.making.families.space import Space


@dataclass(frozen=True)
class FamilyPlan:
    """Trees of one family, all with the same architecture and hyper-parameters.

    Args:
        family: Name of the family.
        trees: Number of trees.
        fixed: Hyper-parameters of all networks, besides `COMMON`.
    """

    family: str
    trees: int
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        """Hyper-parameter space with one value each."""
        family = FAMILIES[self.family]
        values = {**COMMON, **self.fixed}
        known = {name: value for name, value in values.items() if name in family.space}
        return override(family, known, self.family).space


COMMON: Mapping[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "weight_decay": 1e-4,
    "init": "glorot_normal",
    "train_fraction": 1.0,
    "batch_size": 64,
    "dropout": 0.0,
}


@dataclass(frozen=True)
class LineageDesign:
    """The study at one scale.

    Args:
        images: Name of the image set of roots.
        other_images: Name of the image set that some descendants are trained on.
        steps: Number of steps of a root.
        families: Trees by family.
        queried: Number of trees per family whose descendants are searched for their parents, the last ones.
        paired: Number of trees per family whose descendants are compared with their parents and with strangers.
        drawn: Number of trees per family whose forest is recovered.
        estimate: Expected duration, as text.
    """

    images: str
    other_images: str
    steps: int
    families: Sequence[FamilyPlan]
    queried: int
    paired: int
    drawn: int
    estimate: str


_SMALL = {"width": 24, "depth": 2, "init": "normal"}

DESIGNS: Mapping[str, LineageDesign] = {
    "ci": LineageDesign(
        images="digits",
        other_images="digits_turned",
        steps=40,
        families=(
            FamilyPlan("mlp", 3, {"depth": 2, "width": 24, "taper": 1.0, "activation": "relu"}),
            FamilyPlan("gru", 3, {"cell": "gru", "width": 16}),
        ),
        queried=1,
        paired=1,
        drawn=1,
        estimate="1 min",
    ),
    "cpu": LineageDesign(
        images="mnist",
        other_images="fashion_mnist",
        steps=200,
        families=(
            FamilyPlan("mlp", 40, {"depth": 2, "width": 48, "taper": 1.0, "activation": "relu"}),
            FamilyPlan("small_cnn", 40, {"activation": "relu"}),
            FamilyPlan("gru", 40, {"cell": "gru", "width": 32}),
            FamilyPlan("residual_cnn", 12, {"width": 8, "depth": 1, "activation": "relu"}),
            FamilyPlan("vit", 5),
            FamilyPlan("gpt", 5, _SMALL),
        ),
        queried=3,
        paired=6,
        drawn=3,
        estimate="90 min",
    ),
}
"""Designs by scale. There is none at scale gpu: networks of this size train faster on CPUs."""
