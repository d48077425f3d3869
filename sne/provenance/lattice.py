"""Quantised tensors: values on few levels, near the values of another tensor."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GROUPS = (0, 128, 64, 32)
"""Numbers of neighbouring entries of a row that share a scale; 0 for whole rows. The whole tensor is tried first."""

LEAST_VALUES = 8
"""Least number of entries that share a scale; fewer lie on some levels by chance."""

FIRST_PIECES = 8
FIRST_ENTRIES = 512
"""Numbers of pieces, and of entries of each, that are tried first."""

NORMAL_FLOAT = (
    -1.0, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0,
)  # fmt: skip
"""Levels of NF4, as shares of the largest magnitude of a block."""

FEW_LEVELS = 16
FEW_ENTRIES = 32
"""Number of levels of 4 bits, and of neighbouring entries of a row or column that share them: the smallest group."""

MOST_STEPS_IN_GAP = 4
"""Largest number of steps that are tried for the smallest gap between entries of a piece."""

_CODE_TOLERANCE = 0.012  # as shares, too: scales and values may have been rounded to bfloat16
_TOLERANCE = 0.1  # of a step; values may have been rounded to half precision after they were scaled
_LEVELS = {
    2: ((1, 2), 3),
    3: ((3, 4), 7),
    4: ((7, 8), 15),
    8: ((127, 128), 255),
}  # by bits: steps from zero to the largest magnitude, and steps from the smallest to the largest entry


def named_levels(original: Float[Tensor, "rows columns"], made: Float[Tensor, "rows columns"]) -> str:
    """Returns the type of the levels that a tensor was quantised to: "int2", "int3", "int4", "int8" or "nf4".

    Args:
        original: Values before.
        made: Values that may have been quantised and scaled back.

    Returns:
        The type; empty if the values are not of this kind.

    Example:
        >>> values = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
        >>> largest = values.abs().amax(1, keepdim=True)
        >>> nearest = (values[..., None] / largest[..., None] - torch.tensor(NORMAL_FLOAT)).abs().argmin(-1)
        >>> named_levels(values, largest * torch.tensor(NORMAL_FLOAT)[nearest])
        'nf4'
    """
    bits = lattice_bits(original, made)
    if bits:
        return f"int{bits}"
    return "nf4" if _has_few_values(made) and _is_normal_float(original, made) else ""


def _has_few_values(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether neighbouring entries of the first rows or columns have no more values than 4 bits have levels."""
    return any(
        all(len(line.unique()) <= FEW_LEVELS for line in some[:FIRST_PIECES, :FEW_ENTRIES])
        for some in (values, values.T)
    )


def lattice_bits(original: Float[Tensor, "rows columns"], made: Float[Tensor, "rows columns"]) -> int:
    """Returns the number of bits of a tensor that was made by quantising another one.

    The values must lie on levels of equal distance, per tensor, row, group of entries, or column, must be no further
    than one step from the original, and the original must not lie on such levels itself.

    Args:
        original: Values before.
        made: Values that may have been quantised and scaled back.

    Returns:
        2, 3, 4 or 8; 0 if the values are not of this kind.

    Example:
        >>> values = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
        >>> step = values.abs().max() / 127
        >>> lattice_bits(values, (values / step).round() * step)
        8
    """
    has_few = _has_few_values(made)
    for bits, steps in _LEVELS.items():
        for one, other in () if 2**bits <= FEW_LEVELS and not has_few else _pieces(original, made):
            if one.shape[1] < LEAST_VALUES or not _may_be_levels(other, steps):
                continue
            width, is_lattice = _on_levels(other, steps)
            is_constant = other.amax(1) == other.amin(1)
            is_near = ((one - other).abs() <= 1.01 * width[:, None]).all(1)
            if bool(is_constant.all()) or not bool((is_constant | (is_lattice & is_near)).all()):
                continue
            if not bool(_on_levels(one, steps)[1][~is_constant].all()):
                return bits
    return 0


def _may_be_levels(values: Float[Tensor, "pieces entries"], steps: tuple[tuple[int, ...], int]) -> bool:
    """Whether the first pieces lie on levels, by some of their entries and the smallest and largest one."""
    some = values[:FIRST_PIECES]
    ends = torch.stack([some.amin(1), some.amax(1)], 1)
    some = torch.cat([some[:, :FIRST_ENTRIES], ends], 1)
    is_constant = ends[:, 0] == ends[:, 1]
    return bool((is_constant | _on_levels(some, steps)[1]).all())


def _pieces(
    original: Float[Tensor, "rows columns"], made: Float[Tensor, "rows columns"]
) -> Iterator[tuple[Float[Tensor, "pieces entries"], Float[Tensor, "pieces entries"]]]:
    """Yields both tensors cut into the pieces that may have a scale of their own."""
    yield original.reshape(1, -1), made.reshape(1, -1)
    for size in GROUPS:
        if not size:
            yield original, made
        elif original.shape[1] % size == 0:
            yield original.reshape(-1, size), made.reshape(-1, size)
    yield original.T, made.T  # tensors that are stored as inputs x outputs, such as those of GPT-2


def _on_levels(
    values: Float[Tensor, "pieces entries"], steps: tuple[tuple[int, ...], int]
) -> tuple[Float[Tensor, " pieces"], Bool[Tensor, " pieces"]]:
    """Returns the distance of neighbouring levels of each piece, and whether all its values lie on such levels.

    The largest magnitude of a piece is one of the first numbers of steps, or the distance from its smallest to its
    largest entry is the last one. That is not so where entries were clipped, or where the largest one is in another
    part of a fused tensor; the smallest gap between entries is then taken for a few steps. Of several distances that
    fit, the largest is returned.
    """
    to_largest, whole = steps
    wide = values.double()
    lowest, span = wide.amin(1, keepdim=True), wide.amax(1) - wide.amin(1)
    ordered = wide.sort(dim=1).values
    gaps = ordered.diff(dim=1)
    gaps = torch.where(gaps > 1e-2 * span[:, None] / whole, gaps, torch.inf).min(dim=1).values
    from_zero = wide.abs().amax(1) / torch.tensor(to_largest, dtype=torch.float64)[:, None]
    # counted over the whole span, which has a smaller relative rounding error than a gap
    steps_in_gap = torch.arange(1, MOST_STEPS_IN_GAP + 1, dtype=torch.float64)[:, None]
    counts = (steps_in_gap * span / gaps).round().clamp(1, whole)
    from_lowest = span / torch.cat([torch.full_like(span, whole)[None], counts])
    step = torch.cat([from_zero, from_lowest])
    places = torch.cat(
        [wide / from_zero.clamp_min(1e-30)[..., None], (wide - lowest) / from_lowest.clamp_min(1e-30)[..., None]]
    )
    is_lattice = (step > 0) & ((places - places.round()).abs().amax(2) <= _TOLERANCE)
    return torch.where(is_lattice, step, 0).amax(0), is_lattice.any(0)


def _is_normal_float(original: Float[Tensor, "rows columns"], made: Float[Tensor, "rows columns"]) -> bool:
    """Whether a tensor has the levels of NF4 in some pieces with scales of their own, and the original has not."""
    for one, other in _pieces(original, made):
        if other.shape[1] >= LEAST_VALUES and _has_code(other[:FIRST_PIECES]):
            if _has_code(other) and not _has_code(one):
                return True
    return False


def _has_code(values: Float[Tensor, "pieces entries"]) -> bool:
    """Whether all values are levels of NF4, and not zeros and largest magnitudes alone."""
    levels = torch.tensor(NORMAL_FLOAT, dtype=torch.float64)
    shares = values.double() / values.double().abs().amax(1, keepdim=True).clamp_min(1e-30)
    places = torch.bucketize(shares.contiguous(), (levels[1:] + levels[:-1]) / 2)
    is_between = (shares.abs() > 0.01) & (shares.abs() < 0.99)
    return bool(((shares - levels[places]).abs() <= _CODE_TOLERANCE).all()) and bool(is_between.any())
