"""Running networks of a zoo: a row's module is rebuilt from its family and hyper-parameters, and run with its weights.

Networks that have the same module are run side by side.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from sne.errors import CannotTakeError, ZooError
from sne.making import FAMILIES, Recipe
from sne.making.families.blocks import Siren
from sne.making.families.gpt import LanguageModel
from sne.making.families.overriding import ends
from sne.making.stacked.layers import use_stackable_layers
from sne.zoo import Layout, Zoo

InputShape = tuple[int, ...]
"""Shape of one input: (channels, height, width) of an image, or (coordinates,) of a point."""

_RECIPE = "recipe.json"
_CONFIG = "config."
_USUAL_SIDES = (28, 32, 20)
_SIDES = range(8, 65)
_CHANNELS = (1, 3)

_TRAINING_ONLY = frozenset(
    ("optimizer", "learning_rate", "weight_decay", "batch_size", "train_fraction", "dropout", "init", "init_std")
)
"""Hyper-parameters that affect a network in evaluation mode through its weights only."""

_LARGEST_OUTPUT = 1e6  # diverged networks give larger or non-finite outputs


class _NoModuleError(CannotTakeError):
    """A network cannot be rebuilt for inputs of any shape."""


class NetworkRunner:
    """Runs networks of a zoo. Each architecture's module is built once and kept.

    Args:
        zoo: Zoo of the networks.
        shape: Shape of one input.
        device: Device on which the networks run.
    """

    def __init__(self, zoo: Zoo, shape: InputShape, device: torch.device | str = "cpu") -> None:
        self._zoo = zoo
        self._shape = shape
        self._device = torch.device(device)
        self._modules: dict[object, nn.Module] = {}
        self._keys: dict[int, object] = {}

    def num_outputs(self, rows: Sequence[int]) -> int:
        """Returns the number of outputs that the networks share.

        Args:
            rows: Row numbers; at least one.

        Raises:
            CannotTakeError: If the networks have different numbers of outputs, or one cannot be rebuilt.
        """
        found = {self._zoo.layout(row).slots[-1].num_entries: row for row in rows if self._key(row)}
        if len(found) > 1:
            (one, first), (two, second) = list(found.items())[:2]
            ids = self._zoo.ids
            raise CannotTakeError(
                f"{self._zoo.path}: {ids[first]} has {one} outputs and {ids[second]} has {two}, expected equal numbers"
            )
        return next(iter(found))

    def __call__(
        self, rows: Sequence[int], inputs: Float[Tensor, "inputs ..."]
    ) -> Float[Tensor, "networks inputs outputs"]:
        """Returns the outputs of networks. Gradients flow to the inputs.

        Outputs are clipped at plus and minus one million, and NaN becomes 0.

        Args:
            rows: Row numbers.
            inputs: Inputs of the runner's shape, the same for all networks.

        Raises:
            CannotTakeError: If a network cannot be rebuilt.
        """
        groups: dict[object, list[int]] = {}
        for position, row in enumerate(rows):
            groups.setdefault(self._key(row), []).append(position)
        outputs = [self._run(key, [rows[one] for one in positions], inputs) for key, positions in groups.items()]
        order = torch.tensor([one for positions in groups.values() for one in positions], device=self._device)
        joined = torch.cat(outputs)[order.argsort()]
        return joined.nan_to_num(0.0, _LARGEST_OUTPUT, -_LARGEST_OUTPUT).clamp(-_LARGEST_OUTPUT, _LARGEST_OUTPUT)

    def _key(self, row: int) -> object:
        """Returns a key that is equal for networks with the same module, and builds the module if it is new."""
        if row not in self._keys:
            drawn = hyperparameters_of(self._zoo, row)
            deciding = sorted((name, repr(value)) for name, value in drawn.items() if name not in _TRAINING_ONLY)
            key = self._zoo.families[row], self._zoo.layout(row).id, tuple(deciding)
            if key not in self._modules:
                module = build_module(self._zoo, row, self._shape)
                use_stackable_layers(module)
                self._modules[key] = module.requires_grad_(False).to(self._device)
            self._keys[row] = key
        return self._keys[row]

    def _run(
        self, key: object, rows: Sequence[int], inputs: Float[Tensor, "inputs ..."]
    ) -> Float[Tensor, "networks inputs outputs"]:
        module, layout = self._modules[key], self._zoo.layout(rows[0])
        vectors = self._zoo.weight_rows(rows)[0].view(len(rows), -1).to(self._device)
        state = {
            s.name: vectors[:, s.offset : s.offset + s.num_entries].unflatten(1, s.shape or (1,)) for s in layout.slots
        }

        def run_one(state: Mapping[str, Tensor]) -> Tensor:
            return functional_call(module, dict(state), (inputs,))

        with sdpa_kernel(SDPBackend.MATH):  # vmap does not support the fused kernels on all devices
            return vmap(run_one)(state)


def input_shape(zoo: Zoo, rows: NDArray[np.int64], side: int | None = None) -> InputShape:
    """Finds an input shape that all given networks can read.

    A zoo does not store it. The candidates are, in this order: images of height and width `side`, of the size in the
    zoo's recipe, of 28, 32 and 20, and of every size from 8 to 64, each with one channel and with three. The first
    candidate that fits the tensors of every family and layout is returned. Networks that end in a mean over positions
    fit every size.

    Args:
        zoo: Zoo of the networks.
        rows: Row numbers; at least one.
        side: Height and width of the images, if known.

    Raises:
        CannotTakeError: If a network cannot be rebuilt, or the networks share no input shape.
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
    raise CannotTakeError(f"{zoo.path}: {zoo.ids[one]} and {zoo.ids[others[0]]} share no input shape")


def build_module(zoo: Zoo, row: int, shape: InputShape) -> nn.Module:
    """Builds the module of a row in evaluation mode, with arbitrary weights in place of the row's.

    Args:
        zoo: Zoo of the network.
        row: Row number.
        shape: Shape of the inputs that the module shall read.

    Raises:
        CannotTakeError: If the family is not known here, or its module does not have the row's tensors.
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
        with torch.random.fork_rng(devices=[]):  # building a module draws initial weights, which are not used
            module = family.module(hyperparameters_of(zoo, row), images, layout.slots[-1].num_entries)
    except ZooError as error:
        raise CannotTakeError(f"{where} cannot be run on inputs of {list(shape)}: {error}") from None
    except KeyError as error:
        raise _NoModuleError(
            f"{where} cannot be run: the family {name} needs the column config.{error.args[0]}"
        ) from None
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise CannotTakeError(f"{where} cannot be run: the family {name} rejects its columns: {error}") from None
    if isinstance(module, LanguageModel):
        raise CannotTakeError(f"{where} cannot be run: the family {name} reads tokens, and probes are learned images")
    difference = _difference(layout, module)
    if difference or (isinstance(module, Siren) != (len(shape) == 1)) or _coordinates(module) not in (None, shape):
        raise CannotTakeError(
            f"{where}: the module of family {name} for inputs of {list(shape)} does not have the network's tensors"
            + (f": {difference}" if difference else "")
        )
    return module.eval()


def hyperparameters_of(zoo: Zoo, row: int) -> dict[str, Any]:
    """Returns the hyper-parameters of a row, without the prefix "config.", in the types that its family expects.

    Args:
        zoo: Zoo of the network.
        row: Row number.
    """
    family = FAMILIES.get(zoo.families[row])
    found: dict[str, Any] = {"dropout": 0.0}  # inactive in evaluation mode, and not every zoo stores it
    for column in zoo.hyperparameter_names:
        value, name = zoo.table[column][row].as_py(), column.removeprefix(_CONFIG)
        if value is None or value != value:
            continue
        if isinstance(value, float) and value.is_integer() and family and name in family.space:
            # a column is float as soon as another family has fractions there
            is_whole = all(type(end) is int for end in ends(family.space[name]))
            value = int(value) if is_whole else value
        found[name] = value
    return found


def _first_failure(zoo: Zoo, rows: list[int], shape: InputShape) -> tuple[int, CannotTakeError] | None:
    with torch.device("meta"):  # only shapes are needed
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
    """Returns the image size that the zoo's recipe states, if it has a recipe that states one."""
    if not (zoo.path / _RECIPE).is_file():
        return []
    recipe = Recipe.load(zoo.path / _RECIPE)
    if recipe.image_size is not None:
        return [recipe.image_size]
    return [20] if recipe.images == "digits" else []


def _coordinates(module: nn.Module) -> InputShape | None:
    """Returns the input shape of a network that reads points, None for one that reads images."""
    if not isinstance(module, Siren):
        return None
    first = module.layers[0]
    assert isinstance(first, nn.Linear)
    return (first.in_features,)


def _difference(layout: Layout, module: nn.Module) -> str:
    """Describes the first tensor in which a module differs from a layout; empty if there is none."""
    expected = {n: tuple(t.shape) for n, t in module.state_dict().items() if t.is_floating_point()}
    found = {slot.name: slot.shape for slot in layout.slots}
    for name in (*found, *expected):
        if found.get(name) != expected.get(name):
            came, wanted = (str(list(one[name])) if name in one else "missing" for one in (found, expected))
            return f"{name} is {came}, expected {wanted}"
    return ""
