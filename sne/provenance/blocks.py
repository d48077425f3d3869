"""Networks that repeat a block: which blocks of a deeper network are those of a network with fewer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float

from sne.networks import Network
from sne.provenance.places import Place, spaced

LEAST_ALIKE = 0.5
"""Least mean cosine of the matrices of two blocks that are taken for one block."""

ROWS = 8
COLUMNS = 256
"""Numbers of rows at equal distances, and of first columns, of each matrix by which blocks are compared."""

_Stack: TypeAlias = dict[int, list[tuple[str, Place]]]


@dataclass(frozen=True)
class Removed:
    """Blocks that one network has and the other one has not.

    Args:
        child: 1 if the second network lacks them, -1 if the first one does.
        names: Names of the blocks.
    """

    child: int
    names: tuple[str, ...]


def renumbered_pairs(
    left: Sequence[Place], right: Sequence[Place], first: Network, second: Network
) -> Iterator[tuple[Place, Place]]:
    """Yields the places of blocks that two networks have in common, where one has more blocks of a kind.

    Blocks are told apart by the values of their matrices. They keep their order. Nothing is yielded unless every block
    of the network with fewer blocks has a counterpart.

    Args:
        left: Places of the first network.
        right: Places of the second network.
        first: The first network.
        second: The second network.
    """
    stacks = _stacks(left), _stacks(right)
    taken: set[int] = set()
    for prefix, one in stacks[0].items():
        other = stacks[1].get(prefix, {})
        if not other or len(one) == len(other):
            continue
        similar = _similarities(one, other, first, second)
        order = _in_order(similar) if len(one) < len(other) else _in_order(similar.T)
        if order is None:
            continue
        pairs = [(low, high) if len(one) < len(other) else (high, low) for low, high in enumerate(order)]
        blocks = sorted(one), sorted(other)
        for here, there in pairs:
            others = dict(other[blocks[1][there]])
            for name, place in one[blocks[0][here]]:
                counterpart = others.get(name)
                if counterpart is not None and counterpart.shape == place.shape and id(place) not in taken:
                    taken.add(id(place))
                    yield place, counterpart


def removed_blocks(
    pairs: Sequence[tuple[Place, Place]], only_first: Sequence[Place], only_second: Sequence[Place]
) -> Removed | None:
    """Returns the blocks that one network lacks; None if it lacks something else, or if both lack something.

    Args:
        pairs: Places that both networks have.
        only_first: Places of the first network without a counterpart.
        only_second: Places of the second network without a counterpart.
    """
    if bool(only_first) == bool(only_second):
        return None
    lacking = _stacks(only_first or only_second)
    kept = _stacks([pair[1 if only_second else 0] for pair in pairs])
    names, places = [], set()
    for prefix, stack in lacking.items():
        blocks = kept.get(prefix, {})
        patterns = {frozenset(name for name, _ in block) for block in blocks.values()}
        for number, block in sorted(stack.items()):
            if number not in blocks and frozenset(name for name, _ in block) in patterns:
                names.append(f"{prefix}{number}")
                places |= {id(place) for _, place in block}
    is_all = all(id(place) in places for place in (*only_first, *only_second))
    return Removed(1 if only_first else -1, tuple(names)) if is_all else None


def _stacks(places: Sequence[Place]) -> dict[str, _Stack]:
    """Returns blocks by number, by what stands before the number: places with the rest of their names."""
    found: dict[str, _Stack] = {}
    for place in places:
        words = place.name.split(".")
        for position, word in enumerate(words[:-2]):  # after the last one stands the role alone
            if word.isdecimal():
                prefix, rest = "".join(f"{one}." for one in words[:position]), ".".join(words[position + 1 :])
                found.setdefault(prefix, {}).setdefault(int(word), []).append((rest, place))
    return found


def _similarities(one: _Stack, other: _Stack, first: Network, second: Network) -> Float[np.ndarray, "blocks others"]:
    """Returns the mean cosine of the matrices of each block of one network with those of each block of the other."""
    samples = [
        [_samples(stack[number], network) for number in sorted(stack)]
        for stack, network in ((one, first), (other, second))
    ]
    found = np.zeros((len(samples[0]), len(samples[1])))
    for row, here in enumerate(samples[0]):
        for column, there in enumerate(samples[1]):
            shared = [name for name in here if name in there and len(here[name]) == len(there[name])]
            found[row, column] = np.mean([here[name] @ there[name] for name in shared]) if shared else 0.0
    return found


def _samples(block: Sequence[tuple[str, Place]], network: Network) -> dict[str, Float[np.ndarray, " entries"]]:
    """Returns some entries of each matrix of a block, at norm 1."""
    found = {}
    for name, place in block:
        rows, columns, kernel = place.shape
        if place.part.in_axis is None or columns * kernel < 2:
            continue
        values = network.read_sample(place.part, spaced(rows, ROWS), torch.arange(min(columns, COLUMNS)))
        flat = values.flatten().nan_to_num(0.0, 0.0, 0.0).double().numpy()
        found[name] = flat / max(float(np.linalg.norm(flat)), 1e-30)
    return found


def _in_order(similar: Float[np.ndarray, "few many"]) -> list[int] | None:
    """Returns for each row a column, in increasing order, so that the sum is largest; None if one is unlike.

    Example:
        >>> _in_order(np.array([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]]))
        [0, 2]
    """
    few, many = similar.shape
    best = np.full((few + 1, many + 1), -np.inf)
    best[0] = 0.0
    for row in range(1, few + 1):
        for column in range(row, many + 1):
            best[row, column] = max(best[row, column - 1], best[row - 1, column - 1] + similar[row - 1, column - 1])
    found, column = [], many
    for row in range(few, 0, -1):
        while best[row, column - 1] == best[row, column]:
            column -= 1
        column -= 1
        found.append(column)
    found.reverse()
    return found if all(similar[row, place] >= LEAST_ALIKE for row, place in enumerate(found)) else None
