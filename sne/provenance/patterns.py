"""Patterns: values that follow from the places of entries, which independent networks may have in common."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LEAST_DISTINCT = 12
"""Least number of different values of weights that look random, and of entries of a line that is searched for waves."""

SAMPLE_SIZES = (64, 4096)
"""Numbers of entries among which different values are counted first."""

PART_OF_LINES = 8
"""One of so many lines is searched for waves and mirror images first."""

MOST_SMOOTH = 0.8
"""Largest correlation of neighbouring entries of weights that look random."""

MOST_FORESEEN = 0.1
"""Largest share of the energy of a table of waves that does not follow from two neighbouring entries."""

LEAST_KERNEL = 5
"""Least height and width of kernels that are searched for waves; smaller ones have too few inner entries."""

MOST_BETWEEN = 0.03
"""Largest share of the energy of kernels with waves that does not follow from the eight entries around each entry."""

LEAST_MIRRORED = 0.9
"""Least share of the entries of a table that are those of its mirror image."""

FINEST = 16
"""Magnitudes are the same if they are equal to so many binary digits of the largest one: sines of large angles are no
more precise."""

LEAST_EMPTY = 0.5
"""Least share of zeros of a band, such as a filter bank."""

MOST_RUNS = 1.5
"""Largest mean number of runs of other entries in a line of a band."""

LEAST_DIAGONAL = 6.0
"""Least mean of a diagonal that stands out, in standard errors of the mean of as many other entries."""

MOST_PEAKS = 0.25
"""Largest share of entries that stand out as peaks."""

LEAST_PEAK = 4.0
"""Least mean size of peaks, as a multiple of the root mean square of the other entries."""

MOST_SPREAD = 3.0
"""Largest standard deviation of the sizes of peaks, as a multiple of the root mean square of the other entries."""

MOST_MEDIANS = 4.0
"""Entries are clipped at this multiple of the median distance from the median, of those that differ from it."""


def looks_random(values: Float[Tensor, "rows columns"], kernel: Sequence[int] = ()) -> bool:
    """Whether a sample has many values that do not follow from their places.

    Initial and trained weights look so; constants, identities, tables of waves and filter banks do not. What is smooth
    is taken for a table.

    Args:
        values: The sample.
        kernel: Sizes of the kernel whose positions stand next to one another in a row; empty if there is none.

    Example:
        >>> looks_random(torch.randn(16, 16)), looks_random(torch.eye(16)), looks_random(torch.ones(16, 16))
        (True, False, False)
    """
    return not (is_table(values, kernel) or is_smooth(values))


def is_smooth(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether neighbouring entries of a sample are alike, in rows or in columns."""
    centred = _centred(values)
    for one in (centred, centred.T):
        before, after = one[:, :-1], one[:, 1:]
        norms = float(before.norm() * after.norm())
        if one.shape[1] >= LEAST_DISTINCT and norms > 0 and float((before * after).sum()) > MOST_SMOOTH * norms:
            return True
    return False


def is_table(values: Float[Tensor, "rows columns"], kernel: Sequence[int] = ()) -> bool:
    """Whether a sample needs few numbers to be described.

    That is so if it has few different values, if it is a table of waves or ramps along its axes or those of kernels, if
    it has a band beside which it is zero, or if it is its own mirror image, but for signs.

    Args:
        values: The sample.
        kernel: Sizes of the kernel whose positions stand next to one another in a row; empty if there is none.

    Example:
        >>> times = torch.arange(32.0)[:, None]
        >>> is_table(torch.sin(times * torch.linspace(0.1, 3.0, 16)))
        True
    """
    if _has_few_values(values):
        return True
    return has_common_waves(values, values, kernel) or _is_band(values) or _is_mirrored(values)


def _has_few_values(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether there are few different values beside zero."""
    least = min(LEAST_DISTINCT, values.numel() // 2)
    for number in SAMPLE_SIZES:
        some = values[: -(-number // max(1, values.shape[1]))]
        if len(some[some != 0].unique()) >= least:
            return False
    return len(values[values != 0].unique()) < least


def has_common_waves(
    one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"], kernel: Sequence[int] = ()
) -> bool:
    """Whether what two samples have in common are waves, in rows, in columns or in the planes of kernels.

    Only products of entries of one sample with entries of the other one count, so that noise of its own in each of them
    does not hide the waves.

    Args:
        one: A sample.
        other: Another one; the same one to ask whether a sample consists of waves.
        kernel: Sizes of the kernel whose positions stand next to one another in a row; empty if there is none.
    """
    centred = _centred(one)
    others = None if other is one else _centred(other)
    if _has_common_waves(centred, others) or _has_common_waves(centred.T, None if others is None else others.T):
        return True
    if len(kernel) < 2 or min(kernel[-2:]) < LEAST_KERNEL or one.shape[1] < kernel[-2] * kernel[-1]:
        return False
    return _unforeseen_between(*(_planes(values, kernel[-2], kernel[-1]) for values in (one, other))) < MOST_BETWEEN


def _centred(values: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    centred = values.nan_to_num(0.0, 0.0, 0.0).double()
    return centred - centred.mean()


def _planes(values: Float[Tensor, "rows columns"], height: int, width: int) -> Float[Tensor, "planes height width"]:
    """Returns the planes of whole kernels."""
    whole = values.shape[1] // (height * width) * height * width
    return values[:, :whole].nan_to_num(0.0, 0.0, 0.0).double().reshape(-1, height, width)


def _has_common_waves(one: Float[Tensor, "lines entries"], other: Float[Tensor, "lines entries"] | None) -> bool:
    """Whether two samples have waves along their lines in common; without another sample, whether one consists of them.

    What some lines leave of their own energy, all lines leave at least, so that a few of them tell most weights from
    waves. Of common energy, other lines may leave less than nothing.
    """
    if one.shape[1] < LEAST_DISTINCT:
        return False
    if other is None and len(one) >= PART_OF_LINES:
        left, _ = _unforeseen(one[: len(one) // PART_OF_LINES], None)
        if left > 1.001 * MOST_FORESEEN * float(one[:, 2:].square().sum()):  # beyond rounding
            return False
    left, energy = _unforeseen(one, other)
    return energy > 0 and left / energy < MOST_FORESEEN


def _unforeseen(
    one: Float[Tensor, "lines entries"], other: Float[Tensor, "lines entries"] | None
) -> tuple[float, float]:
    """Returns the common energy that is left when each entry is foreseen by the two before it, and all of it.

    The two weights are fitted to each line. A wave of any frequency, a ramp and an exponential leave nothing. Without
    another sample, the energy is that of the only one.
    """
    samples = (one,) if other is None else (one, other)
    shifted = [(lines[:, 2:], lines[:, 1:-1], lines[:, :-2]) for lines in samples]  # now, before, and before that

    def product(left: int, right: int) -> Float[Tensor, " lines"]:
        if other is None:
            return (shifted[0][left] * shifted[0][right]).sum(1)
        return (shifted[0][left] * shifted[1][right] + shifted[0][right] * shifted[1][left]).sum(1) / 2

    squares = [product(*numbers) for numbers in ((1, 1), (2, 2), (1, 2), (0, 1), (0, 2))]
    size = squares[0] * squares[1] - squares[2].square()
    is_plane = size > 1e-12 * squares[0] * squares[1]
    size = torch.where(is_plane, size, torch.ones_like(size))
    first = (squares[3] * squares[1] - squares[4] * squares[2]) / size
    first = torch.where(is_plane, first, squares[3] / squares[0].clamp_min(1e-300))
    second = torch.where(is_plane, (squares[4] * squares[0] - squares[3] * squares[2]) / size, torch.zeros_like(size))
    rest = [now - first[:, None] * before - second[:, None] * earlier for now, before, earlier in shifted]
    return float((rest[0] * rest[-1]).sum()), float(product(0, 0).sum())


def _unforeseen_between(
    one: Float[Tensor, "planes height width"], other: Float[Tensor, "planes height width"]
) -> float:
    """Returns the share of the common energy of inner entries that is left when those around them foresee them.

    Each pair of opposite entries has one weight per plane, which is fitted to the mean of both. Waves of any direction
    leave nothing, and those under a window little.
    """
    inner, around = zip(*map(_with_surroundings, (one, other)), strict=True)
    fitted, targets = (around[0] + around[1]) / 2, (inner[0] + inner[1]) / 2
    weights = torch.linalg.pinv(fitted, rtol=1e-6) @ targets[:, :, None]
    rest = [target - (near @ weights)[:, :, 0] for target, near in zip(inner, around, strict=True)]
    energy = float((inner[0] * inner[1]).sum())
    return float((rest[0] * rest[1]).sum()) / energy if energy > 0 else 1.0


def _with_surroundings(
    planes: Float[Tensor, "planes height width"],
) -> tuple[Float[Tensor, "planes inner"], Float[Tensor, "planes inner pairs"]]:
    """Returns the inner entries of planes, and for four directions the sums of the two entries beside each."""
    height, width = planes.shape[1:]

    def moved(down: int, right: int) -> Float[Tensor, "planes inner"]:
        return planes[:, 1 + down : height - 1 + down, 1 + right : width - 1 + right].flatten(1)

    around = [moved(down, right) + moved(-down, -right) for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))]
    return moved(0, 0), torch.stack(around, 2)


def _is_mirrored(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether most rows, or columns, are their own mirror image or its negative, as in tables of cosines."""
    values = values.nan_to_num(0.0, 0.0, 0.0)
    step = float(values.abs().max()) * 2.0**-FINEST
    for lines in (values, values.T):
        if lines.shape[1] < LEAST_DISTINCT:
            continue
        first = len(lines) // PART_OF_LINES
        missing = first * (1 - _mirrored_share(lines[:first], step)) if first else 0.0
        if missing / len(lines) < 1.001 * (1 - LEAST_MIRRORED) and _mirrored_share(lines, step) > LEAST_MIRRORED:
            return True
    return False


def _mirrored_share(lines: Float[Tensor, "lines entries"], step: float) -> float:
    """Returns the share of entries that are those of the mirror image of their line, or of its negative."""
    image = lines.flip(1)
    shares = torch.stack([((lines - sign * image).abs() <= step).double().mean(1) for sign in (1, -1)])
    return float(shares.amax(0).mean())


def _is_band(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether the entries that are not zero lie in one run per row and per column, as those of filter banks do."""
    filled = values != 0
    if min(filled.shape) < LEAST_DISTINCT or int(filled.count_nonzero()) > (1 - LEAST_EMPTY) * filled.numel():
        return False  # rows and columns of zeros are removed next, which leaves a larger share of others
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


def have_common_peaks(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]) -> bool:
    """Whether some entries of one size stand out at the same places of two matrices, as those of shared identities do.

    Example:
        >>> pair = [torch.eye(32).repeat(2, 1) + 0.1 * noise for noise in torch.randn(2, 64, 32)]
        >>> have_common_peaks(*pair), have_common_peaks(*torch.randn(2, 64, 32))
        (True, False)
    """
    if (first := _peaks(one)) is None or (second := first if other is one else _peaks(other)) is None:
        return False
    return 2 * int((first & second).sum()) >= max(int(first.sum()), int(second.sum()))


def _peaks(values: Float[Tensor, "rows columns"]) -> Bool[Tensor, "rows columns"] | None:
    """Returns which entries stand out; None unless all of them are of one size, and all others are small."""
    sizes = values.nan_to_num(0.0, 0.0, 0.0).double().abs()
    peaks = sizes > sizes.max() / 2
    if not LEAST_DISTINCT <= int(peaks.sum()) <= MOST_PEAKS * sizes.numel():
        return None
    mean, spread = float(sizes[peaks].mean()), float(sizes[peaks].std())
    rest = float(sizes[~peaks].square().mean()) ** 0.5
    return peaks if LEAST_PEAK * rest < mean and spread < MOST_SPREAD * rest + 0.01 * mean else None


def own_cosine(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]) -> float:
    """Returns the cosine of two matrices without what all entries of a row or a column have in common.

    Large entries are clipped, so that a diagonal counts little, and entries that are zero in both do not count.
    Independent matrices that lie near the same constant or identity have a cosine near 1, and an own cosine near 0.

    Example:
        >>> noise = 0.01 * torch.randn(2, 32, 32)
        >>> all(abs(own_cosine(near + noise[0], near + noise[1])) < 0.5 for near in (torch.eye(32), torch.ones(32, 32)))
        True
    """
    if min(one.shape) < 2:
        return 0.0  # nothing is left of a single row or column
    is_filled = (one != 0) | (other != 0)
    own = [_own(values, is_filled) for values in (one, other)]
    norms = float(own[0].norm() * own[1].norm())
    return float((own[0] * own[1]).sum()) / norms if norms > 0 else 0.0


def _own(values: Float[Tensor, "rows columns"], is_filled: Bool[Tensor, "rows columns"]) -> Tensor:
    values = values.nan_to_num(0.0, 0.0, 0.0).double()
    middle = values[is_filled].median() if bool(is_filled.any()) else 0.0
    values = torch.where(is_filled, values - middle, 0.0)  # zeros of a mask that both share say nothing
    sizes = values.abs()
    most = MOST_MEDIANS * float(sizes[sizes > 0].median()) if bool((sizes > 0).any()) else 0.0
    values = values.clamp(-most, most)  # first: a diagonal moves the means of its rows and columns
    values = values - values.mean(0)
    return values - values.mean(1, keepdim=True)
