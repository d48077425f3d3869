"""The depth of a network as columns, in which blocks that follow one another many times are folded into one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from jaxtyping import Int

from sne.networks import Layer

LONGEST_BLOCK = 96
"""Largest number of levels of a block that is recognised as repeated."""

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Cell:
    """Layers of one level that are alike: of one type and of parts of one shape.

    Args:
        layer: The first of them.
        count: Their number.
    """

    layer: Layer
    count: int

    @property
    def num_weights(self) -> int:
        """Number of weights of all of them."""
        return self.count * sum(part.num_entries for part in self.layer.parts)


@dataclass(frozen=True)
class Column:
    """The layers of one level, which stand side by side.

    Args:
        level: Position in depth, from 0.
        cells: The layers, those that are alike together.
        names: Names of all of them.
    """

    level: int
    cells: tuple[Cell, ...]
    names: tuple[str, ...]

    @property
    def num_weights(self) -> int:
        """Number of weights of the level."""
        return sum(cell.num_weights for cell in self.cells)


@dataclass(frozen=True)
class Block:
    """Columns that follow one another, once or several times.

    Args:
        columns: The columns of its first turn.
        turns: All columns, by turn.
    """

    columns: tuple[Column, ...]
    turns: tuple[tuple[Column, ...], ...]

    @property
    def times(self) -> int:
        """How often the columns follow one another."""
        return len(self.turns)

    def names_at(self, place: int) -> list[str]:
        """Returns the names of the layers in a column of all turns."""
        return [name for turn in self.turns for name in turn[place].names]


def fold(layers: Sequence[Layer]) -> list[Block]:
    """Folds repeated blocks of a network.

    Two levels are alike if their layers have the same names but for numbers, the same types and the same shapes. From
    the input on, the block whose turns cover the most levels is folded, the shortest one of several that do.

    Args:
        layers: Layers in order of level, as a `Network` has them.

    Returns:
        Blocks in order of depth, which hold every layer once.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> net = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(5)), torch.nn.Linear(8, 2))
        >>> [(block.times, len(block.columns)) for block in fold(read_network(net).layers)]
        [(5, 1), (1, 1)]
    """
    columns = [_column(level, list(some)) for level, some in groupby(layers, key=lambda layer: layer.level)]
    numbers: dict[object, int] = {}
    signs = np.array([numbers.setdefault(_signature(column), len(numbers)) for column in columns], dtype=np.int64)
    periods = np.arange(1, min(LONGEST_BLOCK, len(columns) // 2) + 1)
    turns = [_turns(signs, int(period)) for period in periods]
    blocks: list[Block] = []
    single: list[Column] = []
    at = 0
    while at < len(columns):
        covered = [
            (int(found[at]) * period if found[at] > 1 else 0, -period) for period, found in _pairs(periods, turns)
        ]
        most, period = max(covered, default=(0, 0))
        if not most:
            single.append(columns[at])
            at += 1
            continue
        if single:
            blocks.append(Block(tuple(single), (tuple(single),)))
            single = []
        rows = [tuple(columns[start : start - period]) for start in range(at, at + most, -period)]
        blocks.append(Block(rows[0], tuple(rows)))
        at += most
    if single:
        blocks.append(Block(tuple(single), (tuple(single),)))
    return blocks


def _pairs(periods: Int[np.ndarray, " periods"], turns: list[np.ndarray]) -> list[tuple[int, np.ndarray]]:
    return list(zip((int(period) for period in periods), turns, strict=True))


def _turns(signs: Int[np.ndarray, " levels"], period: int) -> Int[np.ndarray, " levels"]:
    """Returns for each level how often the `period` levels from there on follow one another."""
    alike = np.zeros(len(signs), dtype=np.int64)
    alike[: len(signs) - period] = signs[:-period] == signs[period:]
    ends = np.where(alike == 0, np.arange(len(signs)), len(signs))
    next_end = np.minimum.accumulate(ends[::-1])[::-1]
    return 1 + (next_end - np.arange(len(signs))) // period


def _column(level: int, layers: list[Layer]) -> Column:
    cells: dict[object, list[Layer]] = {}
    for layer in layers:
        cells.setdefault(_form(layer), []).append(layer)
    return Column(
        level, tuple(Cell(some[0], len(some)) for some in cells.values()), tuple(layer.name for layer in layers)
    )


def _form(layer: Layer) -> tuple[object, ...]:
    return layer.type, tuple((part.role, part.shape, part.label) for part in layer.parts)


def _signature(column: Column) -> tuple[object, ...]:
    return tuple((_NUMBER.sub("#", cell.layer.name), _form(cell.layer), cell.count) for cell in column.cells)
