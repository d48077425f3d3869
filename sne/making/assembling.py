"""From finished runs to a zoo."""

from pathlib import Path

from sne.making.finished_run import run_from_bytes
from sne.making.packs import RunPacks
from sne.making.recipe import Recipe
from sne.zoo.store.writing import ZooWriter


def assemble(path: Path, recipe: Recipe, runs: RunPacks) -> None:
    """Writes the zoo in the order of the recipe, whatever the order in which its runs were finished.

    Args:
        path: folder of the zoo.
        recipe: of the zoo.
        runs: every run of the recipe.

    Raises:
        ZooError: a run cannot be read, or the zoo cannot be written.
    """
    with ZooWriter(path, storage=recipe.storage) as writer:
        for unit in recipe.units():
            run = run_from_bytes(runs.read(unit.run), unit.run)
            for kept in run.kept:
                writer.add_flat(
                    id=f"{unit.run}@{kept.step}",
                    run=unit.run,
                    family=unit.family,
                    dataset=run.dataset or recipe.images,
                    step=kept.step,
                    layout=run.layout,
                    vector=kept.vector,
                    properties=kept.properties,
                    hyperparameters=run.hyperparameters,
                    symmetry=run.symmetry,
                )
