"""Makes zoos. Making can be resumed, and the zoo does not depend on the workers or on the order of their results."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

import torch

from sne.errors import ZooError
from sne.making.folder import assemble, claimed
from sne.making.images import ImageSet
from sne.making.packs import RunPacks
from sne.making.recipe import Recipe, RunId
from sne.making.recipe_file import read_recipe
from sne.making.settings import Settings
from sne.making.stacked import group_runs, train_stack
from sne.making.workers import RunGroup, Trainer, finished_runs, train_each, train_runs
from sne.work import Answer, Executor, ProcessPool, RayCluster
from sne.zoo.store.zoo import Zoo

Progress = Callable[[int, int], None]
Grouping = Callable[[Sequence[RunId]], Sequence[RunGroup]]


def make(
    path: Path | str,
    *,
    recipe: Path | str | None = None,
    families: Sequence[str] | None = None,
    images: Path | str | None = None,
    networks: int | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    keep: Sequence[int] | None = None,
    workers: int = 2,
    ray: str | None = None,
    seed: int | None = None,
    image_size: int | None = None,
    channels: str | None = None,
    normalisation: str | None = None,
    device: str | None = None,
    eval_images: int | None = None,
    storage: str | None = None,
    progress: Progress | None = None,
) -> Zoo:
    """Trains networks and stores them as a zoo. If it is interrupted, the same call continues.

    Args:
        path: Folder of the zoo.
        recipe: TOML file of settings, see `read_recipe`. Other arguments take precedence over it.
        families: Names of the families, see `FAMILIES`; default small_cnn.
        images: Source of the image set, see `load_images`; default the embedded digits.
        networks: Number of training runs per family; default 60.
        steps: Number of optimiser steps per run; default 400, unless epochs are given.
        epochs: Number of passes over the training images of a network, instead of steps.
        keep: Steps (or epochs) after which a checkpoint is kept; default the last one, a third and a ninth of it.
        workers: Number of processes, with one thread each. The zoo does not depend on it.
        ray: Address of a Ray cluster to train on, see `RayCluster`; default are processes of this machine.
        seed: Base seed, default 0. All randomness of a network is derived from it, the family and the network's index.
        image_size: Height and width in pixels that the images are resampled to; by default they keep their size.
        channels: Channels of the images: "as_is" (default), "grey" or "rgb".
        normalisation: Range of pixel values: "unit" (default), "zero_one" or "standard", see `load_images`.
        device: "cpu" (default), or "cuda" to train networks of one shape together on a GPU, with other random numbers.
        eval_images: Largest number of images that accuracies are measured on; default 2,000.
        storage: Data type of stored weights: "float32" (default), "float16" or "bfloat16".
        progress: Called with the number of finished runs and of all runs, at the start and after each run.

    Returns:
        The zoo, open for reading.

    Raises:
        ZooError: A setting is not valid, the images do not fit, or the folder holds something else.
        WorkError: No worker can be started or reached, or a network kills every process that trains it.
        WriteError: The zoo cannot be written, for example because the disk is full.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     zoo = make(f"{folder}/zoo", families=["mlp"], networks=1, steps=2, keep=[1, 2], workers=1)
        ...     len(zoo)
        2
    """
    asked = Settings(
        families=families,
        images=images,
        networks=networks,
        steps=steps,
        epochs=epochs,
        keep=keep,
        seed=seed,
        image_size=image_size,
        channels=channels,
        normalisation=normalisation,
        device=device,
        eval_images=eval_images,
        storage=storage,
    )
    planned, loaded = (asked if recipe is None else asked.over(read_recipe(recipe))).plan()
    if planned.device != "cpu":
        if ray is not None:
            raise ZooError("ray and device cuda cannot be combined, because a Ray cluster trains on CPUs only")
        return _make_on_gpu(path, planned, loaded, progress)
    executor = ProcessPool(workers) if ray is None else RayCluster(ray, workers=workers)
    return make_recipe(path, planned, loaded, executor, progress=progress)


def _make_on_gpu(path: Path | str, recipe: Recipe, images: ImageSet, progress: Progress | None) -> Zoo:
    """Makes the zoo of a recipe on a GPU, by one process that trains networks of one shape together."""
    if not torch.cuda.is_available():
        raise ZooError(f"device is {recipe.device}, but torch finds no GPU; set device to cpu")
    return make_recipe(
        path,
        recipe,
        images,
        ProcessPool(1),
        trainer=partial(train_stack, device=recipe.device),
        grouping=group_runs(recipe, images),
        progress=progress,
    )


def one_by_one(run_ids: Sequence[RunId]) -> list[RunGroup]:
    """Puts each network in a group of its own. Families take turns, so that half a zoo holds half of each family."""
    return [(run_id,) for run_id in sorted(run_ids, key=lambda run_id: run_id.index)]


def make_recipe(
    path: Path | str,
    recipe: Recipe,
    images: ImageSet,
    executor: Executor,
    *,
    trainer: Trainer = train_each,
    grouping: Grouping = one_by_one,
    progress: Progress | None = None,
) -> Zoo:
    """Makes the zoo of a recipe. If it is interrupted at any moment, the same call continues.

    Args:
        path: Folder of the zoo.
        recipe: Recipe, which decides the content of the zoo.
        images: Image set of the recipe.
        executor: Workers that train the networks.
        trainer: Trains the networks of a group.
        grouping: Cuts the networks that are not trained yet into groups. It may add trained networks to the groups.
        progress: Called with the number of finished runs and of all runs, at the start and after each run.

    Returns:
        The zoo, open for reading.

    Raises:
        ZooError: The folder holds something else, or a network cannot be trained as asked.
        WorkError: No worker can be started or reached, or a network kills every process that trains it.
        WriteError: The zoo cannot be written, for example because the disk is full.
    """
    path = Path(path)
    with claimed(path, recipe) as folder:
        if folder is not None:
            with RunPacks(folder) as runs:
                shared = {"recipe": recipe, "images": images, "trainer": trainer}
                _train(runs, recipe, grouping, partial(executor.run, train_runs, shared=shared), progress)
                assemble(path, recipe, runs)
    return Zoo.open(path)


def _train(
    runs: RunPacks,
    recipe: Recipe,
    grouping: Grouping,
    train: Callable[[Sequence[RunGroup]], Generator[Answer[RunGroup], None, None]],
    progress: Progress | None,
) -> None:
    """Trains the runs that are not finished yet."""
    run_ids = recipe.run_ids()
    missing = [run_id for run_id in run_ids if run_id.name not in runs]
    done = len(run_ids) - len(missing)
    if progress:
        progress(done, len(run_ids))
    if not missing:
        return
    with closing(train(grouping(missing))) as answers:
        for run_id, data in chain.from_iterable(map(finished_runs, answers)):
            if run_id.name in runs:  # trained again, because other networks of its stack were missing
                continue
            runs.append(run_id.name, data)
            done += 1
            if progress:
                progress(done, len(run_ids))
