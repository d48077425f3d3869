"""The settings that a user gives for a zoo, on the command line, in a file or in Python, and the resulting recipe."""

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
    """The settings that a user gives for a zoo; None for each that is not given, where `DEFAULTS` apply.

    Args:
        families: Names of the families.
        images: Source of the images, see `load_images`.
        networks: Number of training runs per family.
        steps: Number of optimiser steps per run.
        epochs: Number of passes over the training images of a network, instead of steps.
        keep: Steps (or epochs) after which a checkpoint is kept; default the last one, a third and a ninth of it.
        seed: Base seed.
        image_size: Height and width in pixels that images are resampled to; by default they keep their size.
        channels: Channels of the images: "as_is", "grey" or "rgb".
        normalisation: Range of pixel values: "unit", "zero_one" or "standard".
        device: "cpu" or "cuda".
        eval_images: Largest number of images that accuracies are measured on.
        storage: Data type of the stored weights.
        spaces: Whole hyper-parameter spaces by family, instead of the family's own.
        where: Source of the spaces, for error messages.
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
        """Returns these settings, completed by others where they are not given.

        Raises:
            ZooError: One gives steps and the other epochs, but `keep` is given only by the other.
        """
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        given = {name: value for name, value in given.items() if value is not None and name not in ("spaces", "where")}
        if "steps" in given or "epochs" in given:
            unit = "epochs" if "epochs" in given else "steps"
            if other.keep is not None and "keep" not in given and (other.epochs is not None) != (unit == "epochs"):
                other_unit = "steps" if unit == "epochs" else "epochs"
                raise ZooError(f"{other.where}: keep counts {other_unit} there; if {unit} is set, set keep as well")
            other = replace(other, steps=None, epochs=None)
        return replace(other, **given, spaces={**other.spaces, **self.spaces})

    def plan(self) -> tuple[Recipe, ImageSet]:
        """Returns the recipe, checked as far as possible before anything is trained, and its images.

        Raises:
            ZooError: A setting is not valid, or the images do not fit the families.
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
        """Returns the recipe without the name, the checksum and the classes of the images.

        Raises:
            ZooError: A setting is not valid.
        """
        if self.steps is not None and self.epochs is not None:
            raise ZooError("steps and epochs were both given, expected one")
        given = vars(self.over(DEFAULTS))
        unit = "steps" if given["epochs"] is None else "epochs"
        length = given[unit]
        families = tuple(given["families"])
        return Recipe(
            families=families,
            images="",
            images_checksum="",
            length=length,
            unit=unit,
            keep=default_keep(length) if given["keep"] is None else tuple(given["keep"]),
            spaces={name: space for name, space in self.spaces.items() if name in families},
            **{name: given[name] for name in _TAKEN_OVER},
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
_TAKEN_OVER = ("image_size", "networks", "eval_images", "seed", "storage", "channels", "normalisation", "device")


def _check_space(family: Family, images: ImageSet, where: str) -> None:
    """Builds networks without memory for their weights, and checks the batch size.

    Both ends of every changed dimension are tried with the family's own other dimensions, so that the message names
    the wrong one. Some draws from the whole space follow.
    """
    own = FAMILIES[family.name].space
    changed = {name: dimension for name, dimension in family.space.items() if dimension != own[name]}
    for name, dimension in changed.items():
        for value in dict.fromkeys(ends(dimension)):
            trial = replace(family, space={**own, name: Choice((value,))})
            _try_building(trial, images, 0, f"{where} {name}: a network cannot be built with {value!r}")
    for seed in range(_NUM_TRIALS):
        _try_building(family, images, seed, f"{where}: a network cannot be built")
    if "batch_size" in changed:
        largest, count = max(ends(changed["batch_size"])), len(images.x_train)
        if largest > count:
            raise ZooError(
                f"{where} batch_size: {largest} is too large, because {images.name} has {count} training images"
            )


def _try_building(family: Family, images: ImageSet, seed: int, message: str) -> None:
    drawn = family.sample(np.random.default_rng(seed))
    try:
        with torch.device("meta"):
            family.module(drawn, images.shape, images.num_classes)
    except Exception as error:  # a module may raise anything
        raise ZooError(f"{message}: {error}") from None
