"""What a zoo is made from: the settings that decide its content, and nothing else."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from sne.zoo.errors import ZooError
from sne.zoo.families import find_families
from sne.zoo.writing import STORAGE


@dataclass(frozen=True)
class Unit:
    """One network to train: its family, and its number within the family."""

    family: str
    index: int

    @property
    def run(self) -> str:
        """Name of the training run."""
        return f"{self.family}-{self.index:05d}"

    def seeds(self, seed: int) -> np.random.SeedSequence:
        """The source of all this network's randomness: the zoo's seed, the family and the number."""
        return np.random.SeedSequence([seed, crc32(self.family.encode()), self.index])


@dataclass(frozen=True)
class Recipe:
    """The settings that decide what a made zoo holds; kept in it as `recipe.json`.

    Args:
        families: names of the families.
        images: name of the image set.
        images_checksum: of its images and labels, at the size used.
        image_size: height and width to resample to; None keeps the set's own.
        networks: training runs of each family.
        length: steps (or epochs) each network is trained for.
        unit: "steps", or "epochs" of the network's own part of the training images.
        keep: the steps (or epochs) after which a checkpoint is kept; 0 is the untrained network.
        eval_images: images that training and test accuracy are measured on, at most, the first of each.
        seed: of the zoo.
        storage: "float32" or "float16".

    Raises:
        ZooError: a setting is impossible.
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

    def __post_init__(self) -> None:
        find_families(self.families)
        for name, least in (("networks", 1), ("length", 1), ("eval_images", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise ZooError(f"{name} is {value}, expected at least {least}")
        if self.unit not in ("steps", "epochs"):
            raise ZooError(f"unit {self.unit!r} is not known, expected steps or epochs")
        if self.storage not in STORAGE:
            raise ZooError(f"storage {self.storage!r} is not known, expected one of {', '.join(STORAGE)}")
        if not self.keep or list(self.keep) != sorted(set(self.keep)):
            raise ZooError(f"keep is {list(self.keep)}, expected rising {self.unit}")
        if self.keep[0] < 0 or self.keep[-1] > self.length:
            raise ZooError(f"keep is {list(self.keep)}, expected {self.unit} in 0..{self.length}")

    def units(self) -> list[Unit]:
        """Every network to train, in the order of the index."""
        return [Unit(family, index) for family in self.families for index in range(self.networks)]

    def save(self, path: Path) -> None:
        """Writes the recipe as JSON. Inverse of `load`."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Reads a recipe. Inverse of `save`.

        Raises:
            ZooError: the file is not a recipe.
        """
        try:
            values = json.loads(path.read_text())
            lists = {name: tuple(values[name]) for name in ("families", "keep")}
            return cls(**(values | lists))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ZooError(f"{path} is not a recipe: {error}") from None

    def differences(self, other: "Recipe") -> list[str]:
        """Names of the settings in which two recipes differ."""
        mine, theirs = asdict(self), asdict(other)
        return [name for name in mine if mine[name] != theirs[name]]


def default_keep(length: int) -> tuple[int, ...]:
    """Where to keep checkpoints when nothing is said: at the end, a third of it, a ninth."""
    return tuple(sorted({max(round(length / 3**i), 1) for i in range(3)}))
