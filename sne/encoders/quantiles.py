"""Quantiles: by sorting, and for tensors that are read in pieces by counting bfloat16 numbers.

Both ways see every entry, and neither depends on the order of the entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

NUM_PATTERNS = 1 << 16


def ascending(values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Sorts the last axis of a tensor on the CPU.

    NumPy sorts float32 with vector instructions, about thirty times faster than PyTorch.
    """
    return torch.from_numpy(np.sort(values.numpy(), axis=-1))


def sorted_quantiles(ordered: Float[Tensor, "batch n"], at: Sequence[float]) -> Float[Tensor, "batch q"]:
    """Interpolates quantiles linearly between the entries of rows that are already sorted.

    Args:
        ordered: Rows in ascending order.
        at: Fractions, from 0 (the smallest entry) to 1 (the largest).

    Returns:
        One value per row and fraction.
    """
    low, high, share = _places(ordered.shape[-1], tuple(at), ordered.dtype)
    return torch.lerp(ordered[:, low], ordered[:, high], share.expand(len(ordered), -1))


@cache
def _places(size: int, at: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the indices of the entries below and above each fraction, and the share of the upper one."""
    position = torch.tensor(at, dtype=torch.float64) * (size - 1)
    low = position.floor()
    return low.long(), position.ceil().long(), (position - low).to(dtype)


@dataclass(frozen=True)
class CountedNumbers:
    """Numbers, and how often each occurs.

    Args:
        numbers: The numbers, in ascending order.
        counts: At least 1 for each.
    """

    numbers: Float[np.ndarray, " numbers"]
    counts: Int[np.ndarray, " numbers"]

    def quantiles(self, at: Sequence[float]) -> Float[np.ndarray, " q"]:
        """Interpolates quantiles linearly between entries.

        Args:
            at: Fractions, from 0 (the smallest entry) to 1 (the largest).
        """
        ends = self.counts.cumsum()
        position = np.array(at) * (ends[-1] - 1)
        ranks = np.searchsorted(ends, [np.floor(position), np.ceil(position)], side="right")
        low, high = self.numbers[ranks]
        return low + (high - low) * (position % 1)

    def moment(self, power: int, *, centre: float = 0.0, is_absolute: bool = False) -> float:
        """Computes the mean of a power of the entries.

        Args:
            power: The power.
            centre: Number that is subtracted from the entries.
            is_absolute: Whether the magnitudes are taken.
        """
        numbers = self.numbers - centre
        return float(((abs(numbers) if is_absolute else numbers) ** power) @ self.counts / self.counts.sum())


class NumberCounts:
    """Counts the entries of a tensor by their nearest bfloat16 number.

    The numbers are exact for weights that are stored in bfloat16, and within a factor of 1 +- 2^-8 otherwise. The
    memory does not depend on the number of entries, and counts of several pieces add up.

    Example:
        >>> counts = NumberCounts()
        >>> counts.add(torch.tensor([3.0, -1.0, 0.5]))
        >>> counts.add(torch.tensor([2.0, 8.0]))
        >>> found = counts.counted()
        >>> found.quantiles((0.0, 0.5, 0.75)).tolist(), found.moment(2)
        ([-1.0, 2.0, 3.0], 15.65)
    """

    def __init__(self) -> None:
        self._counts = np.zeros(NUM_PATTERNS, dtype=np.int64)
        self._rounded = torch.empty(0, dtype=torch.bfloat16)  # memory for the next piece

    def add(self, values: Float[Tensor, "..."]) -> None:
        """Counts the entries of a piece; all are finite, and below the largest bfloat16 number."""
        if self._rounded.numel() < values.numel():
            self._rounded = torch.empty(values.numel(), dtype=torch.bfloat16)
        rounded = self._rounded[: values.numel()].view(values.shape).copy_(values)
        patterns = rounded.view(torch.int16).numpy().view(np.uint16)
        self._counts += np.bincount(patterns.ravel(), minlength=NUM_PATTERNS)

    def counted(self) -> CountedNumbers:
        """Returns the numbers that occur, with their counts."""
        in_order = self._counts[_ORDER]
        seen = np.flatnonzero(in_order)
        return CountedNumbers(_NUMBERS[_ORDER[seen]], in_order[seen])


_NUMBERS = torch.arange(NUM_PATTERNS, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).double().numpy()
"""The number that each bit pattern stands for."""
_ORDER = np.concatenate([np.arange(NUM_PATTERNS // 2, NUM_PATTERNS)[::-1], np.arange(NUM_PATTERNS // 2)])
"""The bit patterns in the order of their numbers; those that stand for infinity and NaN are not met."""
