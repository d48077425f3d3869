"""Makes zoos of trees of descent."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sne.errors import ZooError
from sne.making.descent.tree import train_trees
from sne.making.families.space import Space
from sne.making.images import ImageSet, load_images
from sne.making.make import Progress, make_recipe
from sne.making.settings import Settings
from sne.work import Executor
from sne.zoo.store.zoo import Zoo


def make_trees(
    path: Path | str,
    *,
    families: Sequence[str],
    spaces: Mapping[str, Space],
    images: Path | str,
    other_images: Path | str,
    trees: int,
    steps: int,
    executor: Executor,
    seed: int = 0,
    eval_images: int = 500,
    progress: Progress | None = None,
) -> Zoo:
    """Trains networks and makes their descendants. If it is interrupted, the same call continues.

    Each run of the zoo is one tree. `docs/zoos.md` lists the kinds of descendants.

    Args:
        path: Folder of the zoo.
        families: Names of the families.
        spaces: Hyper-parameter spaces by family; families that are missing keep their own.
        images: Source of the images that roots learn, see `load_images`.
        other_images: Source of the images that some descendants are trained on.
        trees: Number of trees per family.
        steps: Number of steps of a root.
        executor: Workers that train.
        seed: Base seed.
        eval_images: Largest number of images that accuracies are measured on.
        progress: Called with the number of finished trees and of all trees.

    Returns:
        The zoo, open for reading.

    Raises:
        ZooError: The image sets do not fit each other, or the folder holds something else.
        WriteError: The zoo cannot be written.
    """
    settings = Settings(
        families=families,
        images=images,
        networks=trees,
        steps=steps,
        keep=[steps],
        seed=seed,
        eval_images=eval_images,
        spaces=spaces,
    )
    recipe, loaded = settings.plan()
    other = _other(other_images, loaded)
    recipe = replace(recipe, descent=f"{other.name} {other.checksum}")
    return make_recipe(path, recipe, loaded, executor, trainer=partial(train_trees, other=other), progress=progress)


def _other(source: Path | str, images: ImageSet) -> ImageSet:
    other = load_images(source)
    if other.shape != images.shape or other.num_classes != images.num_classes:
        raise ZooError(
            f"{other.name} has images of {other.shape} and {other.num_classes} classes, expected {images.shape} and "
            f"{images.num_classes} as in {images.name}"
        )
    return other
