"""Making a zoo: resumable, and the same whoever trains its networks, in whatever order."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import torch

from sne.errors import ZooError
from sne.making.assembling import assemble
from sne.making.claiming import claimed
from sne.making.executors import Executor, Job, ProcessPool, RayCluster, Trainer, WorkUnit, train_each
from sne.making.images import ImageSet
from sne.making.packs import RunPacks
from sne.making.recipe import Recipe, Unit
from sne.making.recipe_file import read_recipe
from sne.making.settings import Settings
from sne.making.stacked import group_units, train_stack
from sne.zoo.store.zoo import Zoo

Progress = Callable[[int, int], None]
Grouping = Callable[[Sequence[Unit]], Sequence[WorkUnit]]


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
    """Trains networks and stores them as a zoo. Interrupted, the same call goes on where it was.

    Args:
        path: the zoo's folder.
        recipe: a TOML file, see `read_recipe`; what is given besides wins over what it says.
        families: names of the families, see `FAMILIES`; small_cnn if nothing is said.
        images: where the image set is, see `load_images`; the digits.
        networks: training runs of each family; 60.
        steps: optimiser steps of each run; 400 if neither steps nor epochs are given.
        epochs: passes over the network's own training images, in place of steps.
        keep: steps (or epochs) after which to keep a checkpoint; by default the last, a third, a ninth.
        workers: processes, one thread each. The zoo does not depend on it.
        ray: train on a Ray cluster in place of processes of this machine: its address, see `RayCluster`. The zoo does
            not depend on it, as long as the machines round alike.
        seed: of the zoo; with a network's family and number it decides everything about that network.
        image_size: height and width to resample the images to.
        channels: of the images: "as_is", "grey" or "rgb".
        normalisation: of the images: "unit", "zero_one" or "standard", see `load_images`.
        device: "cpu", or "cuda" to train networks of one shape together on a GPU, by one process. Rounding, orders and
            masks depend on it, so it is part of the recipe.
        eval_images: the most images to measure accuracies on; 2,000.
        storage: "float32", "float16" or "bfloat16".
        progress: called with runs done and runs in all, at the start and after each run.

    Returns:
        The zoo, opened.

    Raises:
        ZooError: a setting is impossible, the images do not suit, the folder holds something else, or the disk is full.
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
    if planned.device == "cpu":
        executor = ProcessPool(workers) if ray is None else RayCluster(ray, workers=workers)
        return make_recipe(path, planned, loaded, executor, progress=progress)
    if ray is not None:
        raise ZooError("a Ray cluster trains on CPUs alone; give either ray or device cuda")
    if not torch.cuda.is_available():
        raise ZooError(f"device {planned.device} is not there; torch finds no GPU")
    return make_recipe(
        path,
        planned,
        loaded,
        ProcessPool(1),
        trainer=partial(train_stack, device=planned.device),
        grouping=group_units(planned, loaded),
        progress=progress,
    )


def one_by_one(units: Sequence[Unit]) -> list[WorkUnit]:
    """Each network a work unit of its own; families take turns, so that half a zoo holds half of each."""
    return [(unit,) for unit in sorted(units, key=lambda unit: unit.index)]


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
    """Makes the zoo of a recipe. Interrupted at any moment, the same call goes on where it was.

    Args:
        path: the zoo's folder.
        recipe: what decides the zoo's content.
        images: the image set of the recipe.
        executor: where networks are trained.
        trainer: how those of a work unit are.
        grouping: cuts the networks that are not trained yet into work units; it may add others to them.
        progress: called with runs done and runs in all, at the start and after each run.

    Returns:
        The zoo, opened.

    Raises:
        ZooError: the folder holds something else, a network cannot be trained, or the disk is full.
    """
    path = Path(path)
    with claimed(path, recipe) as folder:
        if folder is not None:
            with RunPacks(folder) as runs:
                _train(runs, Job(recipe, images, trainer), grouping, executor, progress)
                assemble(path, recipe, runs)
    return Zoo.open(path)


def _train(runs: RunPacks, job: Job, grouping: Grouping, executor: Executor, progress: Progress | None) -> None:
    """Trains every run that is not there yet."""
    units = job.recipe.units()
    missing = [unit for unit in units if unit.run not in runs]
    done = len(units) - len(missing)
    if progress:
        progress(done, len(units))
    if not missing:
        return
    with closing(executor.train(job, grouping(missing))) as finished:
        for run in finished:
            if run.unit.run in runs:  # of a stack that was trained again for others
                continue
            runs.append(run.unit.run, run.data)
            done += 1
            if progress:
                progress(done, len(units))
