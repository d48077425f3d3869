"""Which networks can be trained in one stack."""

from collections.abc import Callable, Sequence

from sne.making.images import ImageSet
from sne.making.randomness import Seeds
from sne.making.recipe import Recipe, Unit

FREE = ("learning_rate", "weight_decay", "dropout", "init", "init_std", "train_fraction")
"""Hyper-parameters that may differ within a stack; all others decide shapes, kernels or the optimiser."""


def group_units(
    recipe: Recipe, images: ImageSet, largest: int = 1024
) -> Callable[[Sequence[Unit]], list[tuple[Unit, ...]]]:
    """A grouping of a zoo's networks into stacks of one shape.

    Args:
        recipe: of the zoo.
        images: its images: their number bounds batches.
        largest: the most networks in a stack.

    Returns:
        A function from networks that are wanted to the stacks that hold them. Stacks are cut from all networks of the
        zoo, so that a network's company, and with it its last bits, are the same after an interruption.
    """

    def group(units: Sequence[Unit]) -> list[tuple[Unit, ...]]:
        wanted = set(units)
        stacks: dict[tuple[object, ...], list[Unit]] = {}
        for unit in recipe.units():
            stacks.setdefault(_shape(recipe, unit, images), []).append(unit)
        return [
            tuple(stack[start : start + largest])
            for stack in stacks.values()
            for start in range(0, len(stack), largest)
            if not wanted.isdisjoint(stack[start : start + largest])
        ]

    return group


def _shape(recipe: Recipe, unit: Unit, images: ImageSet) -> tuple[object, ...]:
    """What the networks of a stack have in common."""
    family = recipe.family(unit.family)
    drawn = family.sample(Seeds(unit.seeds(recipe.seed)).hyperparameters())
    fixed = tuple((name, value) for name, value in drawn.items() if name not in FREE and name not in family.labels)
    if "train_fraction" not in drawn:
        return unit.family, fixed
    examples = max(round(drawn["train_fraction"] * len(images.x_train)), 1)
    batch_size = min(drawn["batch_size"], examples)
    return unit.family, fixed, batch_size, examples // batch_size if recipe.unit == "epochs" else 0
