"""From a row of a zoo back to the module that it was trained as: family and hyper-parameters say which."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sne.errors import CannotTakeError
from sne.making import FAMILIES, Recipe
from sne.making.families.overriding import ends
from sne.making.families.siren import Siren
from sne.zoo import Layout, Zoo, ZooError

InputShape = tuple[int, ...]
"""Of one input: channels, height, width; or the coordinates of a point alone."""

_RECIPE = "recipe.json"
_CONFIG = "config."
_USUAL_SIDES = (28, 32, 20)
_SIDES = range(8, 65)
_CHANNELS = (1, 3)


class _NoModuleError(CannotTakeError):
    """No shape of inputs would help."""


def hyperparameters_of(zoo: Zoo, row: int) -> dict[str, Any]:
    """The hyper-parameters that a row has, without their prefix, as its family wants them.

    Args:
        zoo: where the row is.
        row: its number.
    """
    family = FAMILIES.get(zoo.families[row])
    found: dict[str, Any] = {"dropout": 0.0}  # is off when a network is run, and not every zoo tells it
    for column in zoo.hyperparameter_names:
        value, name = zoo.table[column][row].as_py(), column.removeprefix(_CONFIG)
        if value is None or value != value:
            continue
        if isinstance(value, float) and value.is_integer() and family and name in family.space:
            is_whole = all(type(end) is int for end in ends(family.space[name]))
            value = int(value) if is_whole else value  # where networks of other families have halves
        found[name] = value
    return found


def build_module(zoo: Zoo, row: int, shape: InputShape) -> nn.Module:
    """The module of a row, in evaluation mode; its weights are not the row's, they are to be put in.

    Args:
        zoo: where the row is.
        row: its number.
        shape: of the inputs that it is to read.

    Raises:
        CannotTakeError: the family is not known here, or what it makes does not have the row's tensors.
    """
    name, layout = zoo.families[row], zoo.layout(row)
    where = f"{zoo.path}: {zoo.ids[row]}"
    if name not in FAMILIES:
        raise _NoModuleError(
            f"{where} is of family {name!r}, which cannot be run; expected one of {', '.join(FAMILIES)}"
        )
    family = FAMILIES[name]
    images = shape if len(shape) == 3 else (layout.slots[-1].num_entries, 1, 1)
    try:
        if len(shape) == 3:
            family.check(images)
        with torch.random.fork_rng(devices=[]):  # modules draw first weights, which nobody needs
            module = family.module(hyperparameters_of(zoo, row), images, layout.slots[-1].num_entries)
    except ZooError as error:
        raise CannotTakeError(f"{where} cannot be run on inputs of {list(shape)}: {error}") from None
    except KeyError as error:
        raise _NoModuleError(
            f"{where} cannot be run: the family {name} needs the column config.{error.args[0]}"
        ) from None
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise CannotTakeError(f"{where} cannot be run: the family {name} refuses its columns: {error}") from None
    difference = _difference(layout, module)
    if difference or (isinstance(module, Siren) != (len(shape) == 1)) or _coordinates(module) not in (None, shape):
        raise CannotTakeError(
            f"{where}: family {name} on inputs of {list(shape)} does not give its tensors"
            + (f": {difference}" if difference else "")
        )
    return module.eval()


def input_shape(zoo: Zoo, rows: NDArray[np.int64], side: int | None = None) -> InputShape:
    """The shape of inputs that all these networks can read.

    A zoo does not state it. It is the first that fits the tensors of every family and layout, of: `side`; the
    recipe's size; 28, 32, 20; any side from 8 to 64; in one channel or three. Networks that end in a mean over places
    take any side.

    Args:
        zoo: where the rows are.
        rows: row numbers, at least one.
        side: height and width of the images, where that is known.

    Raises:
        CannotTakeError: a network cannot be rebuilt, or they do not share a shape.
    """
    firsts: dict[tuple[str, str], int] = {}
    for row in rows.tolist():
        firsts.setdefault((zoo.families[row], zoo.layout(row).id), row)
    rows_left = list(firsts.values())
    errors: dict[int, CannotTakeError] = {}
    for shape in _candidates(zoo, rows_left[0], side):
        failed = _first_failure(zoo, rows_left, shape)
        if failed is None:
            return shape
        row, error = failed
        errors.setdefault(row, error)
        if isinstance(error, _NoModuleError):
            raise error
        rows_left.insert(0, rows_left.pop(rows_left.index(row)))  # the next shape is likely to fail there too
    one, *others = errors
    if not others:
        raise errors[one]
    raise CannotTakeError(f"{zoo.path}: {zoo.ids[one]} and {zoo.ids[others[0]]} share no shape of inputs")


def _first_failure(zoo: Zoo, rows: list[int], shape: InputShape) -> tuple[int, CannotTakeError] | None:
    with torch.device("meta"):  # shapes alone
        for row in rows:
            try:
                build_module(zoo, row, shape)
            except CannotTakeError as error:
                return row, error
    return None


def _candidates(zoo: Zoo, row: int, side: int | None) -> Iterator[InputShape]:
    first = zoo.layout(row).slots[0].shape
    sides = [side] if side is not None else [*_recipe_side(zoo), *_USUAL_SIDES, *_SIDES]
    for size in dict.fromkeys(sides):
        for channels in _CHANNELS:
            yield channels, size, size
    if len(first) == 2:
        yield (first[1],)


def _recipe_side(zoo: Zoo) -> list[int]:
    """What the recipe says of the images' size, where there is a recipe."""
    if not (zoo.path / _RECIPE).is_file():
        return []
    recipe = Recipe.load(zoo.path / _RECIPE)
    if recipe.image_size is not None:
        return [recipe.image_size]
    return [20] if recipe.images == "digits" else []


def _coordinates(module: nn.Module) -> InputShape | None:
    """What a network reads that reads points in place of images."""
    if not isinstance(module, Siren):
        return None
    first = module.layers[0]
    assert isinstance(first, nn.Linear)
    return (first.in_features,)


def _difference(layout: Layout, module: nn.Module) -> str:
    """The first tensor in which a module differs from a layout; empty where there is none."""
    expected = {n: tuple(t.shape) for n, t in module.state_dict().items() if t.is_floating_point()}
    found = {slot.name: slot.shape for slot in layout.slots}
    for name in (*found, *expected):
        if found.get(name) != expected.get(name):
            came, wanted = (str(list(one[name])) if name in one else "nothing" for one in (found, expected))
            return f"{name} is {came}, expected {wanted}"
    return ""
