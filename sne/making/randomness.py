"""The random numbers of a network, which are derived from the seed of the zoo, the family and the index alone.

Numbers are drawn one after another (`SequentialDraws`), or are functions of step and position (`CounterDraws`). In the
second case, networks can be trained together in any groups, and each gets the numbers that it would get alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from sne.making.families.blocks import ByteDropout
from sne.making.hashing import batch_rows, key_of, mask_keys

_STEPS_AHEAD = 64


@dataclass(frozen=True)
class Seeds:
    """The seeds of one network, one per purpose.

    Args:
        source: Seed sequence of the network, see `RunId.seeds`.
    """

    source: np.random.SeedSequence

    def hyperparameters(self) -> np.random.Generator:
        """Returns the generator that draws the hyper-parameters."""
        return np.random.default_rng(self.source.spawn(1)[0])

    @property
    def initial(self) -> int:
        """Seed of the initial weights."""
        return self._words[0]

    @property
    def data(self) -> int:
        """Seed of the choice and the order of the training data."""
        return self._words[1]

    @property
    def masks(self) -> int:
        """Seed of the dropout masks."""
        return self._words[2]

    @property
    def _words(self) -> list[int]:
        return [int(n) for n in self.source.generate_state(3, np.uint64) >> np.uint64(1)]


@runtime_checkable
class Draws(Protocol):
    """The random numbers that the training of one network draws."""

    def batches(self, count: int, batch_size: int) -> Iterator[Int[Tensor, " batch"]]:
        """Yields the rows of one batch after another, without end. Incomplete batches of an epoch are omitted."""
        ...

    def begin_step(self, module: nn.Module, step: int) -> None:
        """Prepares the dropout of a module for a step, numbered from 1."""
        ...


class SequentialDraws:
    """Draws by torch's generators, one after another: the fastest way for one network on a CPU.

    Args:
        generator: Generator of the order of the data. Masks come from torch's default generator.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def batches(self, count: int, batch_size: int) -> Iterator[Int[Tensor, " batch"]]:
        """Yields the rows of one batch after another, without end. Incomplete batches of an epoch are omitted."""
        while True:
            order = torch.randperm(count, generator=self._generator)
            for start in range(0, count - batch_size + 1, batch_size):
                yield order[start : start + batch_size]

    def begin_step(self, module: nn.Module, step: int) -> None:
        """Does nothing."""


class CounterDraws:
    """Draws by hashes of seed, step and position, which do not depend on the other networks of a stack.

    Args:
        seeds: Seeds of the network.
        device: Device on which rows and masks are needed.
    """

    def __init__(self, seeds: Seeds, device: torch.device | str = "cpu") -> None:
        self._data = key_of(seeds.data, device)
        self._masks = key_of(seeds.masks, device)

    def batches(self, count: int, batch_size: int) -> Iterator[Int[Tensor, " batch"]]:
        """Yields the rows of one batch after another, without end. Incomplete batches of an epoch are omitted."""
        counts = torch.tensor([count], device=self._data.device)
        step = 1
        while True:
            yield from batch_rows(self._data, counts, batch_size, step, _STEPS_AHEAD)[0]
            step += _STEPS_AHEAD

    def begin_step(self, module: nn.Module, step: int) -> None:
        """Sets the keys of the masks of a step."""
        for layer in dropouts(module):
            layer.key = mask_keys(self._masks, step, layer.salt)[0]


def dropouts(module: nn.Module) -> list[ByteDropout]:
    """Returns the dropout layers of a module."""
    return [layer for layer in module.modules() if isinstance(layer, ByteDropout)]
