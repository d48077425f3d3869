"""Running networks of a zoo on shared inputs: those that are one module but for their weights side by side."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from sne.errors import CannotTakeError
from sne.lab.probing.modules import InputShape, build_module, hyperparameters_of
from sne.making.stacked.layers import use_stackable_layers
from sne.zoo import Zoo

_OF_TRAINING = frozenset(
    ("optimizer", "learning_rate", "weight_decay", "batch_size", "train_fraction", "dropout", "init", "init_std")
)
"""Hyper-parameters that decide nothing of a network in evaluation mode but its weights."""

_LARGEST_OUTPUT = 1e6  # networks that diverged give more, or nothing that is finite


class NetworkRunner:
    """Runs rows of a zoo. Modules are built once for each architecture and kept.

    Args:
        zoo: where the rows are.
        shape: of one input.
        device: where they run.
    """

    def __init__(self, zoo: Zoo, shape: InputShape, device: torch.device | str = "cpu") -> None:
        self._zoo = zoo
        self._shape = shape
        self._device = torch.device(device)
        self._modules: dict[object, nn.Module] = {}
        self._keys: dict[int, object] = {}

    def outputs(self, rows: Sequence[int]) -> int:
        """How many outputs these networks have.

        Args:
            rows: row numbers, at least one.

        Raises:
            CannotTakeError: the networks differ in it, or one cannot be rebuilt.
        """
        found = {self._zoo.layout(row).slots[-1].num_entries: row for row in rows if self._group(row)}
        if len(found) > 1:
            (one, first), (two, second) = list(found.items())[:2]
            ids = self._zoo.ids
            raise CannotTakeError(
                f"{self._zoo.path}: {ids[first]} has {one} outputs, {ids[second]} {two}; expected equally many"
            )
        return next(iter(found))

    def __call__(
        self, rows: Sequence[int], inputs: Float[Tensor, "inputs ..."]
    ) -> Float[Tensor, "networks inputs outputs"]:
        """What networks answer to inputs; gradients reach the inputs.

        Answers beyond a million are a million; those that are no number are 0.

        Args:
            rows: row numbers.
            inputs: of the runner's shape, for all networks.

        Raises:
            CannotTakeError: a network cannot be rebuilt.
        """
        groups: dict[object, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(self._group(row), []).append(place)
        answers = [self._run(key, [rows[place] for place in places], inputs) for key, places in groups.items()]
        order = torch.tensor([place for places in groups.values() for place in places], device=self._device)
        joined = torch.cat(answers)[order.argsort()]
        return joined.nan_to_num(0.0, _LARGEST_OUTPUT, -_LARGEST_OUTPUT).clamp(-_LARGEST_OUTPUT, _LARGEST_OUTPUT)

    def _group(self, row: int) -> object:
        """What a network has in common with those that run beside it."""
        if row not in self._keys:
            drawn = hyperparameters_of(self._zoo, row)
            deciding = sorted((name, repr(value)) for name, value in drawn.items() if name not in _OF_TRAINING)
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

        def answer(state: Mapping[str, Tensor]) -> Tensor:
            return functional_call(module, dict(state), (inputs,))

        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels cannot run under vmap everywhere
            return vmap(answer)(state)
