"""Taking a folder for a zoo in the making: nobody else's, and of one recipe."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sne.errors import ZooError
from sne.making.recipe import Recipe
from sne.work import replacing
from sne.zoo.store.folder import FolderLock
from sne.zoo.store.index import INDEX

RECIPE = "recipe.json"
RUNS = ".making"


@contextmanager
def claimed(path: Path, recipe: Recipe) -> Iterator[Path | None]:
    """Holds a zoo's folder while it is being made; no other maker is let in.

    A folder that is refused is left as it was. When the block ends well, the folder for finished runs goes.

    Args:
        path: of the zoo; made if missing.
        recipe: what the zoo is made from; noted in the folder.

    Yields:
        The folder for finished runs; None if the zoo is there already.

    Raises:
        ZooError: the folder holds something else, or another process is making the zoo.
    """
    _check(path, recipe)
    runs = path / RUNS
    if is_made(path) and not runs.exists():
        yield None
        return
    runs.mkdir(parents=True, exist_ok=True)
    with FolderLock(runs, "is taken: the zoo is being made by another process"):
        _check(path, recipe)  # again: another maker may have been first
        if not (path / RECIPE).exists():
            with replacing(path / RECIPE) as partial:
                recipe.save(partial)
        yield None if is_made(path) else runs
        shutil.rmtree(runs, ignore_errors=True)


def is_made(path: Path) -> bool:
    """Whether a folder holds a whole zoo."""
    return (path / INDEX).exists()


def _check(path: Path, recipe: Recipe) -> None:
    if path.exists() and not path.is_dir():
        raise ZooError(f"{path} is a file, expected a folder for the zoo")
    if (path / RECIPE).exists():
        different = recipe.differences(Recipe.load(path / RECIPE))
        if different:
            raise ZooError(f"{path} holds a zoo of another recipe (different {', '.join(different)})")
    elif path.exists() and not all(file.name == RUNS or file.name.endswith(".partial") for file in path.iterdir()):
        raise ZooError(f"{path} holds other files; choose a new folder")
