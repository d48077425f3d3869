"""What a user asks of a zoo, from the command line, a file or Python, and the recipe that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch

from sne.errors import ZooError
from sne.making.families import FAMILIES, Family
from sne.making.families.overriding import ends
from sne.making.families.space import Choice, Space
from sne.making.images import ImageSet, load_images
from sne.making.recipe import Recipe, default_keep

_NUM_TRIALS = 8


@dataclass(frozen=True)
class Settings:
    """What a user says about a zoo that is to be made; None where nothing is said, and then `DEFAULTS` count.

    Args:
        families: names.
        images: source of the images, see `load_images`.
        networks: training runs of each family.
        steps: optimiser steps of each run.
        epochs: passes over the network's own training images, in place of steps.
        keep: steps (or epochs) after which to keep a checkpoint; by default the last, a third, a ninth.
        seed: of the zoo.
        image_size: height and width to resample the images to; by default as they are.
        channels: "as_is", "grey" or "rgb".
        normalisation: "unit", "zero_one" or "standard".
        device: "cpu" or "cuda".
        eval_images: the most images to measure accuracies on.
        storage: how weights are stored.
        spaces: whole hyper-parameter spaces in place of a family's own, by family.
        where: what messages call the place that the spaces come from.
    """

    families: Sequence[str] | None = None
    images: Path | str | None = None
    networks: int | None = None
    steps: int | None = None
    epochs: int | None = None
    keep: Sequence[int] | None = None
    seed: int | None = None
    image_size: int | None = None
    channels: str | None = None
    normalisation: str | None = None
    device: str | None = None
    eval_images: int | None = None
    storage: str | None = None
    spaces: Mapping[str, Space] = field(default_factory=dict)
    where: str = "recipe"

    def over(self, other: "Settings") -> "Settings":
        """These settings where they say something, and the other's where they do not.

        Raises:
            ZooError: this turns steps into epochs or back, and the other's `keep` counts what is no longer counted.
        """
        said = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        said = {name: value for name, value in said.items() if value is not None and name not in ("spaces", "where")}
        if "steps" in said or "epochs" in said:
            unit = "epochs" if "epochs" in said else "steps"
            if other.keep is not None and "keep" not in said and (other.epochs is not None) != (unit == "epochs"):
                turned = "steps" if unit == "epochs" else "epochs"
                raise ZooError(f"{other.where}: keep counts {turned} there; with {unit}, give keep as well")
            other = replace(other, steps=None, epochs=None)
        return replace(other, **said, spaces={**other.spaces, **self.spaces})

    def plan(self) -> tuple[Recipe, ImageSet]:
        """The recipe, checked as far as it can be before anything trains, and its images.

        Raises:
            ZooError: a setting is impossible, or the images do not suit.
        """
        draft = self.draft()
        source = DEFAULTS.images if self.images is None else self.images
        assert source is not None
        images = load_images(source, draft.image_size, channels=draft.channels, normalisation=draft.normalisation)
        for name in draft.families:
            family = draft.family(name)
            family.check(images.shape)
            if family.space != FAMILIES[name].space:
                _check_space(family, images, f"{self.where}: [{name}]")
        spaces = {name: draft.family(name).space for name in draft.families}
        planned = replace(
            draft, images=images.name, images_checksum=images.checksum, classes=images.classes, spaces=spaces
        )
        return planned, images

    def draft(self) -> Recipe:
        """The recipe as far as it is known without its images.

        Raises:
            ZooError: a setting is impossible.
        """
        if self.steps is not None and self.epochs is not None:
            raise ZooError("steps and epochs were both given, expected one")
        said = vars(self.over(DEFAULTS))
        unit = "steps" if said["epochs"] is None else "epochs"
        length = said[unit]
        families = tuple(said["families"])
        return Recipe(
            families=families,
            images="",
            images_checksum="",
            length=length,
            unit=unit,
            keep=default_keep(length) if said["keep"] is None else tuple(said["keep"]),
            spaces={name: space for name, space in self.spaces.items() if name in families},
            **{name: said[name] for name in _AS_SAID},
        )


DEFAULTS = Settings(
    families=("small_cnn",),
    images="digits",
    networks=60,
    steps=400,
    seed=0,
    channels="as_is",
    normalisation="unit",
    device="cpu",
    eval_images=2000,
    storage="float32",
)
_AS_SAID = ("image_size", "networks", "eval_images", "seed", "storage", "channels", "normalisation", "device")


def _check_space(family: Family, images: ImageSet, where: str) -> None:
    """Builds networks without memory for their weights, and looks at the batch size.

    Every end of every changed dimension is tried beside the family's own other dimensions, so that the message
    names what is wrong; some draws from the whole space follow.
    """
    own = FAMILIES[family.name].space
    changed = {name: dimension for name, dimension in family.space.items() if dimension != own[name]}
    for name, dimension in changed.items():
        for value in dict.fromkeys(ends(dimension)):
            trial = replace(family, space={**own, name: Choice((value,))})
            _try_building(trial, images, 0, f"{where} {name}: no network can be built with {value!r}")
    for seed in range(_NUM_TRIALS):
        _try_building(family, images, seed, f"{where}: a network cannot be built")
    if "batch_size" in changed:
        largest, count = max(ends(changed["batch_size"])), len(images.x_train)
        if largest > count:
            raise ZooError(f"{where} batch_size: came {largest}, {images.name} has {count} training images")


def _try_building(family: Family, images: ImageSet, seed: int, message: str) -> None:
    drawn = family.sample(np.random.default_rng(seed))
    try:
        with torch.device("meta"):
            family.module(drawn, images.shape, images.num_classes)
    except Exception as error:  # whatever a module's constructor raises
        raise ZooError(f"{message}: {error}") from None
