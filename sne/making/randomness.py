"""Where a network's randomness comes from: the seed of the zoo, its family, its number, and nothing else.

On one device after another (`SequentialDraws`), or as a function of step and place (`CounterDraws`): then many
networks can be trained side by side, in whatever groups, and each still draws what it would draw alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from sne.making.families.dropout import ByteDropout
from sne.making.hashing import batch_rows, key_of, mask_keys

_STEPS_AHEAD = 64


@dataclass(frozen=True)
class Seeds:
    """The seeds of one network, one a purpose.

    Args:
        source: made from the zoo's seed, the family and the number.
    """

    source: np.random.SeedSequence

    def hyperparameters(self) -> np.random.Generator:
        """Draws the hyper-parameters."""
        return np.random.default_rng(self.source.spawn(1)[0])

    @property
    def initial(self) -> int:
        """Of the first weights."""
        return self._words[0]

    @property
    def data(self) -> int:
        """Of its own part of the data and their order."""
        return self._words[1]

    @property
    def masks(self) -> int:
        """Of dropout."""
        return self._words[2]

    @property
    def _words(self) -> list[int]:
        return [int(n) for n in self.source.generate_state(3, np.uint64) >> np.uint64(1)]


@runtime_checkable
class Draws(Protocol):
    """What is drawn while one network is trained."""

    def batches(self, count: int, batch_size: int) -> Iterator[Int[Tensor, " batch"]]:
        """Rows of one batch after another, without end; each epoch a new order, its last short batch left out."""
        ...

    def begin_step(self, module: nn.Module, step: int) -> None:
        """Readies the dropout of a module for a step, numbered from 1."""
        ...


class SequentialDraws:
    """Draws by torch's generators, one after another: the fastest for one network on a CPU.

    Args:
        generator: of the orders of the data. Masks come from torch's default generator.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def batches(self, count: int, batch_size: int) -> Iterator[Int[Tensor, " batch"]]:
        """Rows of one batch after another, without end; each epoch a new order, its last short batch left out."""
        while True:
            order = torch.randperm(count, generator=self._generator)
            for start in range(0, count - batch_size + 1, batch_size):
                yield order[start : start + batch_size]

    def begin_step(self, module: nn.Module, step: int) -> None:
        """Nothing to ready."""


class CounterDraws:
    """Draws by hashes of seed, step and place: the same whoever computes them, and in whatever company.

    Args:
        seeds: of the network.
        device: where rows and masks are needed.
    """

    def __init__(self, seeds: Seeds, device: torch.device | str = "cpu") -> None:
        self._data = key_of(seeds.data, device)
        self._masks = key_of(seeds.masks, device)

    def batches(self, count: int, batch_size: int) -> Iterator[Int[Tensor, " batch"]]:
        """Rows of one batch after another, without end; each epoch a new order, its last short batch left out."""
        counts = torch.tensor([count], device=self._data.device)
        step = 1
        while True:
            yield from batch_rows(self._data, counts, batch_size, step, _STEPS_AHEAD)[0]
            step += _STEPS_AHEAD

    def begin_step(self, module: nn.Module, step: int) -> None:
        """Sets the keys of the step's masks."""
        for layer in dropouts(module):
            layer.key = mask_keys(self._masks, step, layer.salt)[0]


def dropouts(module: nn.Module) -> list[ByteDropout]:
    """The dropout layers of a module."""
    return [layer for layer in module.modules() if isinstance(layer, ByteDropout)]
