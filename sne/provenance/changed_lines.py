"""Rows and columns in which two tensors differ, where these are few, as after an edit of one token."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sne.provenance.entry_sums import PIECE
from sne.provenance.places import Place

FEW_LINES = 0.25
"""Largest share of the rows, or of the columns, of a matrix in which others are equal for these to be named."""

MOST_NAMED = 8
"""Largest number of rows or columns that are named one by one."""


class ChangedLines:
    """Rows and columns in which two tensors differ, as far as these are few.

    Args:
        shape: Numbers of rows, columns and kernel positions.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._lines = tuple(torch.zeros(size, dtype=torch.bool) for size in shape[:2])

    def add(
        self, rows: slice, columns: slice, one: Float[Tensor, "r c kernel"], other: Float[Tensor, "r c kernel"]
    ) -> None:
        """Adds entries of some rows and columns that correspond to each other."""
        height = max(1, PIECE // max(1, one[:1].numel()))  # after a few rows, most tensors differ in all lines
        for start in range(0, len(one), height):
            if not any(map(_are_few, self._lines)):
                return  # all that is asked is known
            here, there = one[start : start + height], other[start : start + height]
            differs = (here != there) & ~(here.isnan() & there.isnan())
            self._lines[0][rows][start : start + height] |= differs.flatten(1).any(1)
            self._lines[1][columns] |= differs.any(2).any(0)

    def named(self, place: Place) -> str:
        """Returns the rows or columns as they are stored; empty if there are none, or many of both."""
        for lines, axis in zip(self._lines, (place.part.out_axis, place.part.in_axis), strict=True):
            if axis is not None and len(lines) > 1 and bool(lines.any()) and _are_few(lines):
                numbers = torch.nonzero(lines)[:, 0].tolist()
                if axis == place.part.axis:
                    numbers = [place.part.indices[number] for number in numbers]
                kind = ("row", "column")[axis] if axis < 2 else f"index of axis {axis}"
                listed = ", ".join(map(str, numbers[:MOST_NAMED]))
                others = f" and {len(numbers) - MOST_NAMED} others" if len(numbers) > MOST_NAMED else ""
                return f"{kind}{'s' * (len(numbers) > 1 and axis < 2)} {listed}{others}"
        return ""


def _are_few(lines: Bool[Tensor, " lines"]) -> bool:
    return float(lines.double().mean()) <= FEW_LINES
