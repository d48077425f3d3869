"""Patterns: values that follow from the places of entries, which independent networks may have in common."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LEAST_DISTINCT = 12
"""Least number of different values of weights that look random, and of entries of a line that is searched for waves."""

FIRST_ENTRIES = 4096
"""Number of entries among which different values are counted first."""

MOST_SMOOTH = 0.8
"""Largest correlation of neighbouring entries of weights that look random."""

MOST_FORESEEN = 0.1
"""Largest share of the energy of a table of waves that does not follow from two neighbouring entries."""

LEAST_EMPTY = 0.5
"""Least share of zeros of a band, such as a filter bank."""

MOST_RUNS = 1.5
"""Largest mean number of runs of other entries in a line of a band."""

LEAST_DIAGONAL = 6.0
"""Least mean of a diagonal that stands out, in standard errors of the mean of as many other entries."""

MOST_MEDIANS = 4.0
"""Entries are clipped at this multiple of the median distance from the median, of those that differ from it."""


def looks_random(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether a sample has many values that do not follow from their places.

    Initial and trained weights look so; constants, identities, tables of waves and filter banks do not. What is smooth
    is taken for a table.

    Example:
        >>> looks_random(torch.randn(16, 16)), looks_random(torch.eye(16)), looks_random(torch.ones(16, 16))
        (True, False, False)
    """
    return not (is_table(values) or is_smooth(values))


def is_smooth(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether neighbouring entries of a sample are alike, in rows or in columns."""
    centred = _centred(values)
    for one in (centred, centred.T):
        before, after = one[:, :-1], one[:, 1:]
        norms = float(before.norm() * after.norm())
        if one.shape[1] >= LEAST_DISTINCT and norms > 0 and float((before * after).sum()) > MOST_SMOOTH * norms:
            return True
    return False


def is_table(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether a sample has few different values, is a table of waves or ramps, or has a band beside which it is zero.

    Example:
        >>> times = torch.arange(32.0)[:, None]
        >>> is_table(torch.sin(times * torch.linspace(0.1, 3.0, 16)))
        True
    """
    nonzero = values[values != 0]
    least = min(LEAST_DISTINCT, values.numel() // 2)
    if len(nonzero[:FIRST_ENTRIES].unique()) < least and len(nonzero.unique()) < least:
        return True
    centred = _centred(values)
    if any(one.shape[1] >= LEAST_DISTINCT and _unforeseen(one) < MOST_FORESEEN for one in (centred, centred.T)):
        return True
    return _is_band(values != 0)


def _centred(values: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    centred = values.nan_to_num(0.0, 0.0, 0.0).double()
    return centred - centred.mean()


def _unforeseen(lines: Float[Tensor, "lines entries"]) -> float:
    """Returns the share of energy that is left when each entry is foreseen by the two before it.

    The two weights are fitted to each line. A wave of any frequency, a ramp and an exponential leave nothing.
    """
    now, one, two = lines[:, 2:], lines[:, 1:-1], lines[:, :-2]
    squares = [(left * right).sum(1) for left, right in ((one, one), (two, two), (one, two), (now, one), (now, two))]
    size = squares[0] * squares[1] - squares[2].square()
    is_plane = size > 1e-12 * squares[0] * squares[1]
    size = torch.where(is_plane, size, torch.ones_like(size))
    first = (squares[3] * squares[1] - squares[4] * squares[2]) / size
    first = torch.where(is_plane, first, squares[3] / squares[0].clamp_min(1e-300))
    second = torch.where(is_plane, (squares[4] * squares[0] - squares[3] * squares[2]) / size, torch.zeros_like(size))
    rest = now - first[:, None] * one - second[:, None] * two
    energy = float(now.square().sum())
    return float(rest.square().sum()) / energy if energy > 0 else 1.0


def _is_band(filled: Bool[Tensor, "rows columns"]) -> bool:
    """Whether the entries that are not zero lie in one run per row and per column, as those of filter banks do."""
    filled = filled[filled.any(1)][:, filled.any(0)]
    if min(filled.shape) < LEAST_DISTINCT or float(filled.double().mean()) > 1 - LEAST_EMPTY:
        return False
    return all(_mean_runs(one) <= MOST_RUNS for one in (filled, filled.T))


def _mean_runs(filled: Bool[Tensor, "lines entries"]) -> float:
    starts = int((filled[:, 1:] & ~filled[:, :-1]).sum()) + int(filled[:, 0].sum())
    return starts / len(filled)


def has_diagonal(values: Float[Tensor, "rows columns"], numbers: Int[Tensor, " rows"], kernel: int) -> bool:
    """Whether the diagonal of a matrix stands out, as that of an identity to which noise was added.

    Args:
        values: Rows of the matrix with its first columns, each of which has the positions of the kernel next to one
            another.
        numbers: Numbers of these rows in the matrix.
        kernel: Number of positions of the kernel. The diagonal is sought at each of them.

    Example:
        >>> has_diagonal(torch.eye(16) + 0.3 * torch.randn(16, 16), torch.arange(16), kernel=1)
        True
    """
    size = float(values.double().square().mean()) ** 0.5
    for position in range(kernel if size > 0 else 0):
        columns = numbers * kernel + position
        is_there = columns < values.shape[1]
        diagonal = values[is_there, columns[is_there]].double()
        if len(diagonal) and abs(float(diagonal.mean())) * len(diagonal) ** 0.5 > LEAST_DIAGONAL * size:
            return True
    return False


def own_cosine(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]) -> float:
    """Returns the cosine of two matrices without what all entries of a row or a column have in common.

    Large entries are clipped, so that a diagonal counts little. Independent matrices that lie near the same constant or
    identity have a cosine near 1, and an own cosine near 0.

    Example:
        >>> noise = 0.01 * torch.randn(2, 32, 32)
        >>> all(abs(own_cosine(near + noise[0], near + noise[1])) < 0.5 for near in (torch.eye(32), torch.ones(32, 32)))
        True
    """
    own = [_own(values) for values in (one, other)]
    norms = float(own[0].norm() * own[1].norm())
    return float((own[0] * own[1]).sum()) / norms if norms > 0 else 0.0


def _own(values: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    values = values.nan_to_num(0.0, 0.0, 0.0).double()
    values = values - values.median()
    sizes = values.abs()
    most = MOST_MEDIANS * float(sizes[sizes > 0].median()) if bool((sizes > 0).any()) else 0.0
    values = values.clamp(-most, most)  # first: a diagonal moves the means of its rows and columns
    values = values - values.mean(0)
    return values - values.mean(1, keepdim=True)
