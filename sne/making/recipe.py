"""The recipe of a zoo: the settings that decide its content, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from sne.errors import ZooError
from sne.making.families import FAMILIES, Family
from sne.making.families.space import Space, dimension_from_plain, space_to_plain
from sne.making.images import CHANNELS, NORMALISATIONS
from sne.zoo.store.shards import STORAGE

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class RunId:
    """Identity of one training run: the family of the network and its index within the family."""

    family: str
    index: int

    @property
    def name(self) -> str:
        """Name of the training run."""
        return f"{self.family}-{self.index:05d}"

    def seeds(self, seed: int) -> np.random.SeedSequence:
        """Returns the source of all randomness of the network.

        Args:
            seed: Base seed of the zoo.
        """
        return np.random.SeedSequence([seed, crc32(self.family.encode()), self.index])


@dataclass(frozen=True)
class Recipe:
    """The settings that decide the content of a made zoo, which stores them as `recipe.json`.

    Args:
        families: Names of the families.
        images: Name of the image set.
        images_checksum: Checksum of the images and labels at the size used.
        image_size: Height and width in pixels that images are resampled to; None keeps their size.
        networks: Number of training runs per family.
        length: Number of steps (or epochs) per run.
        unit: "steps", or "epochs" over the training images of the network.
        keep: Steps (or epochs) after which a checkpoint is kept; 0 is the untrained network.
        eval_images: Largest number of images that training and test accuracy are measured on.
        seed: Base seed; the randomness of each network is derived from it, the family and the index.
        storage: Data type of the stored weights, see `STORAGE`.
        channels: Channels of the images: "as_is", "grey" or "rgb".
        normalisation: Range of pixel values: "unit", "zero_one" or "standard", see `load_images`.
        device: "cpu", where each network is trained alone, or "cuda", where networks of one shape are trained together.
            Data order and masks are drawn differently there, and each device rounds in its own way.
        classes: Names of the classes; empty if the image set has none.
        spaces: Hyper-parameter spaces by family. Hyper-parameters that are not given keep the space of the family.
        descent: Name and checksum of the images that some descendants learn, where each run is a tree of descent; empty
            for other zoos.

    Raises:
        ZooError: A setting is not valid.
    """

    families: tuple[str, ...]
    images: str
    images_checksum: str
    image_size: int | None
    networks: int
    length: int
    unit: str
    keep: tuple[int, ...]
    eval_images: int
    seed: int
    storage: str = "float32"
    channels: str = "as_is"
    normalisation: str = "unit"
    device: str = "cpu"
    classes: tuple[str, ...] = ()
    spaces: Mapping[str, Space] = field(default_factory=dict)
    descent: str = ""

    def __post_init__(self) -> None:
        find_families(self.families)
        if self.unit not in ("steps", "epochs"):
            raise ZooError(f"unit {self.unit!r} is not known, expected one of steps, epochs")
        numbers = (
            ("networks", self.networks, 1),
            (self.unit, self.length, 1),
            ("eval_images", self.eval_images, 1),
            ("seed", self.seed, 0),
        )
        for name, value, least in numbers:
            if value < least:
                raise ZooError(f"{name} is {value}, expected at least {least}")
        known = (
            ("storage", STORAGE),
            ("channels", CHANNELS),
            ("normalisation", NORMALISATIONS),
            ("device", DEVICES),
        )
        for name, values in known:
            value = getattr(self, name)
            if value not in values:
                raise ZooError(f"{name} {value!r} is not known, expected one of {', '.join(values)}")
        if not self.keep or list(self.keep) != sorted(set(self.keep)):
            raise ZooError(f"keep is {list(self.keep)}, expected {self.unit} in increasing order")
        if self.keep[0] < 0 or self.keep[-1] > self.length:
            raise ZooError(
                f"keep is {list(self.keep)}, expected {self.unit} in 0..{self.length}, as {self.unit} is {self.length}"
            )

    def run_ids(self) -> list[RunId]:
        """Returns the identities of all runs, in the order of the zoo."""
        return [RunId(family, index) for family in self.families for index in range(self.networks)]

    def family(self, name: str) -> Family:
        """Returns a family that draws its hyper-parameters from the space of this recipe."""
        family = FAMILIES[name]
        return replace(family, space={**family.space, **self.spaces.get(name, {})})

    def to_json(self) -> dict[str, Any]:
        """Returns all settings as plain JSON values, with the whole space of every family. Inverse: `from_json`."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        plain |= {name: list(value) for name, value in plain.items() if isinstance(value, tuple)}
        return plain | {"spaces": {name: space_to_plain(self.family(name).space) for name in self.families}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = "recipe") -> "Recipe":
        """Rebuilds a recipe from plain JSON values and checks them. Inverse of `to_json`.

        Raises:
            ZooError: The values are not a recipe.
        """
        try:
            lists = {name: tuple(values[name]) for name in ("families", "keep", "classes") if name in values}
            spaces = {
                family: {key: dimension_from_plain(value, f"{family}.{key}") for key, value in space.items()}
                for family, space in values.get("spaces", {}).items()
            }
            settings: dict[str, Any] = {**values, **lists, "spaces": spaces}
            return cls(**settings)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ZooError(f"{where} is not a recipe: {error}") from None

    def save(self, path: Path) -> None:
        """Writes the recipe as JSON. Inverse of `load`."""
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Reads a recipe. Inverse of `save`.

        Raises:
            ZooError: The file is not a recipe.
        """
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ZooError(f"{path} is not a recipe: {error}") from None
        if not isinstance(values, dict):
            raise ZooError(f"{path} is not a recipe: expected an object")
        return cls.from_json(values, str(path))

    def differences(self, other: "Recipe") -> list[str]:
        """Returns the names of the settings in which two recipes differ; family.hyper-parameter for spaces."""
        mine, theirs = self.to_json(), other.to_json()
        names = [name for name in mine if name != "spaces" and mine[name] != theirs[name]]
        for family in (name for name in mine["spaces"] if name in theirs["spaces"]):
            one, two = mine["spaces"][family], theirs["spaces"][family]
            names += [f"{family}.{key}" for key in {**one, **two} if one.get(key) != two.get(key)]
        return names


def default_keep(length: int) -> tuple[int, ...]:
    """Returns the default steps to keep: the last one, a third and a ninth of it."""
    return tuple(sorted({max(round(length / 3**i), 1) for i in range(3)}))


def find_families(names: Sequence[str]) -> list[Family]:
    """Returns the families of some names.

    Raises:
        ZooError: A name is not known or occurs twice; the message lists the known names.
    """
    unknown = [name for name in names if name not in FAMILIES]
    if unknown or not names:
        fault = f"family {unknown[0]!r} is not known" if unknown else "no family was given"
        raise ZooError(f"{fault}; known families are {', '.join(FAMILIES)}")
    if len(set(names)) < len(names):
        raise ZooError(f"a family occurs twice in {', '.join(names)}")
    return [FAMILIES[name] for name in names]
