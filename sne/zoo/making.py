"""Making a zoo: a pool of one-thread workers, resumable, the same whatever their number."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sne.zoo.atomic import write_atomically
from sne.zoo.errors import ZooError
from sne.zoo.families import find_families
from sne.zoo.images import ImageSet, load_images
from sne.zoo.layout import Layout
from sne.zoo.recipe import Recipe, Unit, default_keep
from sne.zoo.running import Kept, TrainedRun, train_run
from sne.zoo.store import Zoo
from sne.zoo.writing import INDEX, ZooWriter

RECIPE = "recipe.json"
_RUNS = ".making"

Progress = Callable[[int, int], None]


def make(
    path: Path | str,
    *,
    families: Sequence[str],
    images: Path | str = "digits",
    networks: int = 60,
    steps: int | None = None,
    epochs: int | None = None,
    keep: Sequence[int] | None = None,
    workers: int = 2,
    seed: int = 0,
    image_size: int | None = None,
    eval_images: int = 2000,
    storage: str = "float32",
    progress: Progress | None = None,
) -> Zoo:
    """Trains networks and stores them as a zoo. Interrupted, the same call goes on where it was.

    Args:
        path: the zoo's folder.
        families: names of the families, see `FAMILIES`.
        images: "digits" or an .npz file, see `load_images`.
        networks: training runs of each family.
        steps: optimiser steps of each run; 400 if neither steps nor epochs are given.
        epochs: passes over the network's own training images, in place of steps.
        keep: steps (or epochs) after which to keep a checkpoint; by default the last, a third, a ninth.
        workers: processes, one thread each. The zoo does not depend on it.
        seed: of the zoo; with a network's family and number it decides everything about that network.
        image_size: height and width to resample the images to.
        eval_images: the most images to measure accuracies on.
        storage: "float32" or "float16".
        progress: called with runs done and runs in all, at the start and after each run.

    Returns:
        The zoo, opened.

    Raises:
        ZooError: a setting is impossible, the images do not suit, or the folder holds something else.
    """
    if steps is not None and epochs is not None:
        raise ZooError("steps and epochs were both given, expected one")
    if workers < 1:
        raise ZooError(f"workers is {workers}, expected at least 1")
    path = Path(path)
    chosen = find_families(families)
    length = epochs if epochs is not None else steps if steps is not None else 400
    loaded = load_images(images, image_size)
    for family in chosen:
        family.check(loaded.shape)
    recipe = Recipe(
        families=tuple(families),
        images=loaded.name,
        images_checksum=loaded.checksum,
        image_size=image_size,
        networks=networks,
        length=length,
        unit="steps" if epochs is None else "epochs",
        keep=tuple(default_keep(length) if keep is None else keep),
        eval_images=eval_images,
        seed=seed,
        storage=storage,
    )
    _claim(path, recipe)
    if not (path / INDEX).exists():
        with _Lock(path / _RUNS):
            _train(path / _RUNS, recipe, str(images), workers, progress)
            _assemble(path, recipe)
    shutil.rmtree(path / _RUNS, ignore_errors=True)
    return Zoo.open(path)


def _claim(path: Path, recipe: Recipe) -> None:
    """Takes an empty folder for the recipe, or finds that it is this recipe's already."""
    if path.exists() and not path.is_dir():
        raise ZooError(f"{path} is a file, expected a folder for the zoo")
    if (path / RECIPE).exists():
        different = recipe.differences(Recipe.load(path / RECIPE))
        if different:
            raise ZooError(f"{path} holds a zoo of another recipe (different {', '.join(different)})")
    elif path.exists() and not all(file.name.endswith(".draft") for file in path.iterdir()):
        raise ZooError(f"{path} holds other files; choose a new folder")
    else:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / RECIPE, recipe.save)
    (path / _RUNS).mkdir(exist_ok=True)


class _Lock:
    """Lets one maker at a time into a folder; released by the system when the process ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        try:
            import fcntl
        except ImportError:  # no such lock on Windows
            self._handle = None
            return
        self._handle = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise ZooError(f"{self._folder.parent} is being made by another process") from None

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)


def _train(runs: Path, recipe: Recipe, images: str, workers: int, progress: Progress | None) -> None:
    """Trains every run that has no file yet; families take turns, so that half a zoo holds half of each."""
    units = recipe.units()
    order = sorted(range(len(units)), key=lambda i: (units[i].index, i))
    missing = [units[i] for i in order if not _run_file(runs, units[i]).exists()]
    done = len(units) - len(missing)
    if progress:
        progress(done, len(units))
    if not missing:
        return
    pool = ProcessPoolExecutor(
        min(workers, len(missing)), get_context("spawn"), initializer=_start, initargs=(recipe, images)
    )
    try:
        futures: list[Future[None]] = [pool.submit(_work, runs, unit) for unit in missing]
        for future in as_completed(futures):
            future.result()
            done += 1
            if progress:
                progress(done, len(units))
    except BrokenProcessPool:
        raise ZooError(f"a worker process ended early, {done} runs are done; the same call goes on") from None
    finally:
        pool.shutdown(cancel_futures=True)


_state: tuple[Recipe, ImageSet] | None = None  # of a worker process


def _start(recipe: Recipe, images: str) -> None:
    """Readies a worker: one thread, the images in memory, and an end when the parent ends."""
    global _state
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent lets the networks in flight end
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    loaded = load_images(images, recipe.image_size)
    _state = recipe, loaded


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(runs: Path, unit: Unit) -> None:
    assert _state is not None
    recipe, images = _state
    save_run(_run_file(runs, unit), train_run(recipe, unit, images))


def _run_file(runs: Path, unit: Unit) -> Path:
    return runs / f"{unit.run}.safetensors"


def save_run(path: Path, run: TrainedRun) -> None:
    """Writes a training run, atomically. Inverse: `load_run`."""
    described: dict[str, Any] = {
        "layout": run.layout.to_json(),
        "hyperparameters": run.hyperparameters,
        "kept": [{"step": kept.step, "properties": kept.properties} for kept in run.kept],
    }
    vectors = {str(i): kept.vector for i, kept in enumerate(run.kept)}
    write_atomically(path, lambda draft: save_file(vectors, draft, {"run": json.dumps(described)}))


def load_run(path: Path) -> TrainedRun:
    """Reads a training run. Inverse of `save_run`.

    Raises:
        ZooError: the file is not whole.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads(file.metadata()["run"])
            kept = tuple(
                Kept(row["step"], file.get_tensor(str(i)), row["properties"]) for i, row in enumerate(described["kept"])
            )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ZooError(f"{path} cannot be read ({error!r}); delete it to train that network again") from None
    return TrainedRun(Layout.from_json(described["layout"], str(path)), described["hyperparameters"], kept)


def _assemble(path: Path, recipe: Recipe) -> None:
    """Writes the zoo from the files of its runs, in the order of the index."""
    with ZooWriter(path, storage=recipe.storage) as writer:
        for unit in recipe.units():
            run = load_run(_run_file(path / _RUNS, unit))
            for kept in run.kept:
                writer.add_flat(
                    id=f"{unit.run}@{kept.step}",
                    run=unit.run,
                    family=unit.family,
                    dataset=recipe.images,
                    step=kept.step,
                    layout=run.layout,
                    vector=kept.vector,
                    properties=kept.properties,
                    hyperparameters=run.hyperparameters,
                )
