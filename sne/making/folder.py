"""The folder of a zoo that is being made: claimed by one process, and filled from finished runs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sne.errors import ZooError
from sne.making.packs import RunPacks
from sne.making.recipe import Recipe
from sne.making.workers import run_from_bytes
from sne.work import replacing
from sne.zoo.store.folder import INDEX, FolderLock
from sne.zoo.store.writing import ZooWriter

RECIPE = "recipe.json"
RUNS = ".making"


@contextmanager
def claimed(path: Path, recipe: Recipe) -> Iterator[Path | None]:
    """Claims the folder of a zoo while the zoo is made; no other process can claim it meanwhile.

    A folder that is refused stays unchanged. When the block ends without an error, the folder for finished runs is
    removed.

    Args:
        path: Folder of the zoo; it is created if it does not exist.
        recipe: Recipe of the zoo; it is stored in the folder.

    Yields:
        The folder for finished runs; None if the zoo is finished already.

    Raises:
        ZooError: The folder holds something else, or another process is making the zoo.
    """
    _check(path, recipe)
    runs = path / RUNS
    if is_made(path) and not runs.exists():
        yield None
        return
    runs.mkdir(parents=True, exist_ok=True)
    with FolderLock(runs, "is taken: the zoo is being made by another process"):
        _check(path, recipe)  # again: another process may have been first
        if not (path / RECIPE).exists():
            with replacing(path / RECIPE) as partial:
                recipe.save(partial)
        yield None if is_made(path) else runs
        shutil.rmtree(runs, ignore_errors=True)


def is_made(path: Path) -> bool:
    """Whether a folder holds a finished zoo."""
    return (path / INDEX).exists()


def _check(path: Path, recipe: Recipe) -> None:
    if path.exists() and not path.is_dir():
        raise ZooError(f"{path} is a file, expected a folder for the zoo")
    if (path / RECIPE).exists():
        different = recipe.differences(Recipe.load(path / RECIPE))
        if different:
            names = ", ".join(different)
            raise ZooError(f"{path} holds a zoo of another recipe (different {names}); choose a new folder")
    elif path.exists() and not all(file.name == RUNS or file.name.endswith(".partial") for file in path.iterdir()):
        raise ZooError(f"{path} holds other files; choose a new folder")


def assemble(path: Path, recipe: Recipe, runs: RunPacks) -> None:
    """Writes the zoo in the order of the recipe, regardless of the order in which its runs were finished.

    Args:
        path: Folder of the zoo.
        recipe: Recipe of the zoo.
        runs: All runs of the recipe, finished.

    Raises:
        ZooError: A run cannot be read.
        WriteError: The zoo cannot be written.
    """
    with ZooWriter(path, storage=recipe.storage) as writer:
        for run_id in recipe.run_ids():
            run = run_from_bytes(runs.read(run_id.name), run_id.name)
            for kept in run.kept:
                writer.add_flat(
                    id=f"{run_id.name}@{kept.step}",
                    run=run_id.name,
                    family=run_id.family,
                    dataset=run.dataset or recipe.images,
                    step=kept.step,
                    layout=run.layout,
                    vector=kept.vector,
                    properties=kept.properties,
                    hyperparameters=run.hyperparameters,
                    symmetry=run.symmetry,
                )
