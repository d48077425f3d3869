"""Quantised tensors: values on few levels, near the values of another tensor."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
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

TRIED_ENTRIES = 16
"""Number of entries of the first piece that are tried on all levels before any others: most tensors lie on none."""

MOST_STEPS_IN_GAP = 4
"""Largest number of steps that are tried for the smallest gap between entries of a piece."""

MOST_CLIPPED = 0.5
"""Largest share of entries beyond the smallest and the largest level, to which they were clipped."""

DIGITS = (3, 4, 8, 11)
"""Numbers of significant binary digits of the narrow types float8_e5m2, float8_e4m3, bfloat16 and float16."""

FULL_DIGITS = 22
"""Number of binary digits of single precision that count; the last two are lost where values are scaled."""

LEAST_CERTAIN = 1000
"""Least number of entries by which a rounded copy of a quantised tensor is told from another copy of its original."""

_FITTED = (32, 64, 64)  # numbers of steps up to which places are certain, the better fitted the more
_CERTAIN_PLACE = 0.25  # largest tolerance of the places that show that values lie on levels
_LEAST_SHOWN = 0.1  # least share of entries with such places

_CODE_TOLERANCE = 0.012  # as shares, too: scales and values may have been rounded to bfloat16
_TOLERANCE = 0.1  # of a step; values may have been rounded to half precision after they were scaled
_LEVELS = {
    2: ((1, 2), 3),
    3: ((3, 4), 7),
    4: ((7, 8), 15),
    8: ((127, 128), 255),
}  # by bits: steps from zero to the largest magnitude, and steps from the smallest to the largest entry


@dataclass(frozen=True)
class Levels:
    """The levels on which a quantised tensor lies.

    Args:
        name: Type of the levels: "int2", "int3", "int4", "int8" or "nf4".
        lower: Lower end of the interval that is rounded to each entry; infinite where smaller values were clipped.
        upper: Upper end of this interval.
    """

    name: str
    lower: Float[Tensor, "rows columns"]
    upper: Float[Tensor, "rows columns"]


def significant_digits(values: Tensor) -> int:
    """Returns the number of binary digits that the values need, of the narrowest type that holds all of them.

    Example:
        >>> significant_digits(torch.tensor([1.0, 1.5, 0.0])), significant_digits(torch.tensor([0.1]))
        (3, 22)
    """
    for some in (values.flatten()[:FEW_ENTRIES], values):  # a few entries show that most tensors need all digits
        mantissa = torch.frexp(some.double()).mantissa
        if not _are_whole(mantissa * 2 ** DIGITS[-1]):
            return FULL_DIGITS
    return next(digits for digits in DIGITS if _are_whole(mantissa * 2**digits))


def _are_whole(values: Float[Tensor, "..."]) -> bool:
    return bool((values.frac() == 0).all())


def find_levels(original: Float[Tensor, "rows columns"], made: Float[Tensor, "rows columns"]) -> Levels | None:
    """Returns the levels to which a tensor was quantised.

    The values must lie on levels of equal distance, per tensor, row, group of entries, or column, or on those of NF4.
    They must be no further than one step from the original, or the last level before it, and the original must not lie
    on such levels itself.

    Args:
        original: Values before.
        made: Values that may have been quantised and scaled back.

    Returns:
        The levels; None if the values are not of this kind.

    Example:
        >>> values = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
        >>> step = values.abs().max() / 127
        >>> find_levels(values, (values / step).round() * step).name
        'int8'
    """
    has_few = _has_few_values(made)
    cuts = [(cut, cut.start(made)) for cut in _cuts(made) if cut.size >= LEAST_VALUES]
    for bits, steps in _LEVELS.items() if has_few else ((8, _LEVELS[8]),):
        for cut, start in cuts:
            if start.may_lie_on(steps) and (found := _on_equal_levels(cut, original, made, steps)) is not None:
                return Levels(f"int{bits}", *found)
    for cut, start in cuts if has_few else ():
        if start.may_have_code() and (found := _on_normal_float(cut, original, made)) is not None:
            return Levels("nf4", *found)
    return None


def lies_on_levels(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether all values of a tensor lie on the levels of a type, whatever they were before.

    Pieces that lie on levels of their own have other magnitudes than each other. Pieces that share theirs, as in tables
    with symmetries, do not count: the few magnitudes of each lie on some levels by chance.
    """
    has_few = _has_few_values(values)
    types = list(_LEVELS.values()) if has_few else [_LEVELS[8]]
    for cut in _cuts(values):
        if cut.size < LEAST_VALUES:
            continue
        start = cut.start(values)
        types_left = [steps for steps in types if start.may_lie_on(steps)]
        may_be_code = has_few and start.may_have_code()
        if not (types_left or may_be_code):
            continue
        some = cut.pieces(values)
        is_code = may_be_code and _has_code(some[:FIRST_PIECES]) and _has_code(some)
        if is_code or any(_all_on_levels(some, steps) for steps in types_left):
            counts = (some.abs().sort(dim=1).values.diff(dim=1) > 0).sum(1) + 1
            return 2 * len(some.abs().unique()) >= int(counts.sum())
    return False


def _all_on_levels(pieces: Float[Tensor, "pieces entries"], steps: tuple[tuple[int, ...], int]) -> bool:
    return _may_be_levels(pieces, steps) and bool((_is_constant(pieces) | _on_levels(pieces, steps)[1]).all())


def may_be_made_from(
    original: Float[Tensor, "rows columns"], made: Float[Tensor, "rows columns"], levels: Levels
) -> bool:
    """Whether a quantised tensor was made from another tensor, and not both of them from a third one.

    If the other tensor has full precision, it is the original. If it was rounded itself, the two may be copies of one
    original, whose entries are next to the borders between levels at other places. A rounded copy of a quantised tensor
    is the nearest one without exception. Tensors of narrow floating types are taken for the original, too, if other
    errors than those of rounding are there, as they are after quantisation that corrects errors.

    Args:
        original: Values before.
        made: Quantised values.
        levels: Their levels.
    """
    digits = significant_digits(original)
    is_quantised = lies_on_levels(original)
    if digits == FULL_DIGITS and not is_quantised:
        return True
    outside = torch.maximum(levels.lower - original, original - levels.upper)
    width = torch.where((levels.upper - levels.lower).isfinite(), levels.upper - levels.lower, 0.0)
    tolerance = 1e-3 * width + 2.0 ** -significant_digits(made) * made.abs()
    is_outside = outside > tolerance
    if is_quantised:
        return made.numel() >= LEAST_CERTAIN and not bool(is_outside.any())
    return not bool(is_outside.any()) or bool((outside > tolerance + 2.0**-digits * original.abs()).any())


def _has_few_values(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether neighbouring entries of the first rows or columns have no more values than 4 bits have levels."""
    return any(
        some.shape[1] <= FEW_LEVELS
        or all(len(line.unique()) <= FEW_LEVELS for line in some[:FIRST_PIECES, :FEW_ENTRIES])
        for some in (values, values.T)
    )


@dataclass(frozen=True)
class _Start:
    """The first entries of the first piece of a tensor, which tell at once that most tensors lie on no levels.

    What is ruled out here is ruled out by `_may_be_levels` and `_has_code`, too, which look at the same entries.

    Args:
        entries: The first entries of the piece, and its smallest and its largest one.
    """

    entries: Float[np.ndarray, " entries"]

    @cached_property
    def _gaps(self) -> Float[np.ndarray, " gaps"]:
        return np.diff(np.sort(self.entries))

    @cached_property
    def _error(self) -> float:
        """The relative error of rounded values, or more: others may need more digits than these."""
        return 2.0 ** -significant_digits(torch.from_numpy(self.entries[:FEW_ENTRIES]))

    def may_lie_on(self, steps: tuple[tuple[int, ...], int]) -> bool:
        """Whether some entries may lie on levels of equal distance."""
        to_largest, whole = steps
        lowest, highest = self.entries[-2:].tolist()
        span = highest - lowest
        if not 0 < span < np.inf or self._error * whole > _CERTAIN_PLACE:
            return True
        gap = self._gaps[self._gaps > 1e-2 * span / whole].min(initial=np.inf)
        counts = np.rint(np.arange(1.0, MOST_STEPS_IN_GAP + 1) * span / gap).clip(1, whole)
        from_zero = max(-lowest, highest) / np.array(to_largest)
        from_lowest = span / np.append(float(whole), counts)
        starts = np.repeat((0.0, lowest), (len(from_zero), len(from_lowest)))
        step = np.append(from_zero, from_lowest).clip(1e-30)
        places = (self.entries[:TRIED_ENTRIES, None] - starts) / step
        return bool((np.abs(places - np.rint(places)) <= _TOLERANCE).all(0).any())

    def may_have_code(self) -> bool:
        """Whether some entries may be levels of NF4."""
        lowest, highest = self.entries[-2:].tolist()
        largest = max(-lowest, highest, 1e-30)
        shares = self.entries[:TRIED_ENTRIES] / largest
        levels = np.array(NORMAL_FLOAT)
        nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, shares)]
        return bool((np.abs(shares - nearest) <= _CODE_TOLERANCE).all())


@dataclass(frozen=True)
class _Cut:
    """A way to cut tensors into pieces that may have a scale of their own.

    Args:
        is_turned: Whether columns are cut instead of rows.
        size: Number of entries of a piece.
    """

    is_turned: bool
    size: int

    def pieces(self, values: Float[Tensor, "rows columns"]) -> Float[Tensor, "pieces entries"]:
        """Cuts a tensor; `joined` is the inverse."""
        return (values.T if self.is_turned else values).reshape(-1, self.size)

    def start(self, values: Float[Tensor, "rows columns"]) -> _Start:
        """Returns the first entries of the first piece, without cutting all of the tensor."""
        lines = values.T if self.is_turned else values
        if self.size <= lines.shape[1]:
            piece = lines[0, : self.size]
            first = piece[:FIRST_ENTRIES]
        else:  # not cut: the whole tensor is the piece
            piece = lines
            first = lines[: -(-FIRST_ENTRIES // lines.shape[1])].reshape(-1)[:FIRST_ENTRIES]
        return _Start(torch.cat([first, torch.stack(piece.aminmax())]).double().numpy())

    def joined(
        self, pieces: Float[Tensor, "pieces entries"], like: Float[Tensor, "rows columns"]
    ) -> Float[Tensor, "rows columns"]:
        """Puts pieces together to a tensor of the shape of another one."""
        rows, columns = like.shape
        return pieces.reshape(columns, rows).T if self.is_turned else pieces.reshape(rows, columns)


def _cuts(values: Float[Tensor, "rows columns"]) -> Iterator[_Cut]:
    """Yields the ways to cut a tensor: not at all, into rows, into groups of entries, and into columns."""
    rows, columns = values.shape
    yield _Cut(False, rows * columns)
    for size in GROUPS if columns > 1 else ():
        if columns % (size or columns) == 0 and (rows > 1 or size):
            yield _Cut(False, size or columns)
    if min(rows, columns) > 1:  # tensors that are stored as inputs x outputs, such as those of GPT-2
        yield _Cut(True, rows)


def _is_constant(pieces: Float[Tensor, "pieces entries"]) -> Bool[Tensor, " pieces"]:
    return pieces.amax(1) == pieces.amin(1)


def _on_equal_levels(
    cut: _Cut,
    original: Float[Tensor, "rows columns"],
    made: Float[Tensor, "rows columns"],
    steps: tuple[tuple[int, ...], int],
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]] | None:
    """Returns the intervals that are rounded to each entry, if a tensor was quantised to levels of equal distance."""
    one, other = cut.pieces(original), cut.pieces(made)
    if cut.size < LEAST_VALUES or not _may_be_levels(other, steps):
        return None
    step, is_lattice = _on_levels(other, steps)
    is_constant, step = _is_constant(other), step[:, None]
    is_lowest, is_highest = (other == other.amin(1, keepdim=True)), (other == other.amax(1, keepdim=True))
    is_far = (one - other).abs() > 1.01 * step + 2.0 ** -significant_digits(other) * other.abs()
    is_clipped = is_far & ((is_lowest & (one < other)) | (is_highest & (one > other)))
    is_near = ~(is_far & ~is_clipped).any(1)
    if bool(is_constant.all()) or not bool((is_constant | (is_lattice & is_near)).all()):
        return None
    if float(is_clipped[~is_constant].double().mean()) > MOST_CLIPPED:
        return None
    some = one[~is_constant][:FIRST_PIECES]
    # digits are enough, so that each piece is judged alone
    is_separate = 2.0 ** -significant_digits(some) * steps[1] <= _CERTAIN_PLACE
    may_lie = not is_separate or bool(_on_levels(some, steps)[1].all())
    if may_lie and bool(_on_levels(one, steps)[1][~is_constant].all()):
        return None
    lower = torch.where(is_lowest | is_constant[:, None], -torch.inf, other - step / 2)
    upper = torch.where(is_highest | is_constant[:, None], torch.inf, other + step / 2)
    return cut.joined(lower, made), cut.joined(upper, made)


def _may_be_levels(values: Float[Tensor, "pieces entries"], steps: tuple[tuple[int, ...], int]) -> bool:
    """Whether the first pieces lie on levels, by some of their entries and the smallest and largest one."""
    some = values[:FIRST_PIECES]
    ends = torch.stack([some.amin(1), some.amax(1)], 1)
    some = torch.cat([some[:, :FIRST_ENTRIES], ends], 1)
    return bool((_is_constant(ends) | _on_levels(some, steps)[1]).all())


def _on_levels(
    values: Float[Tensor, "pieces entries"], steps: tuple[tuple[int, ...], int]
) -> tuple[Float[Tensor, " pieces"], Bool[Tensor, " pieces"]]:
    """Returns the distance of neighbouring levels of each piece, and whether all its values lie on such levels.

    The largest magnitude of a piece is one of the first numbers of steps, or the distance from its smallest to its
    largest entry is the last one. That is not so where entries were clipped, or where the largest one is in another
    part of a fused tensor; the smallest gap between entries is then taken for a few steps. Of several distances that
    fit, the largest is returned.

    Values may have been rounded to a narrow type after they were scaled back. Levels then count from zero, and values
    near zero have to show them, because the error of others is as large as a step.
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
    starts = torch.cat([torch.zeros_like(from_zero), lowest[:, 0].expand_as(from_lowest)])
    places = (wide - starts[..., None]) / step.clamp_min(1e-30)[..., None]
    is_lattice = (places - places.round()).abs().amax(2) <= _TOLERANCE
    error = 2.0 ** -significant_digits(values)
    if _CERTAIN_PLACE < error * whole < 1 and values.shape[1] >= FEW_ENTRIES:
        sizes = wide.abs()
        # exact, unlike gaps between large entries
        smallest = torch.where(sizes > 0, sizes, torch.inf).amin(1) / steps_in_gap
        fitted = _fitted(torch.cat([step, torch.where(smallest.isfinite(), smallest, 0.0)]), wide)
        places = wide / fitted.clamp_min(1e-30)[..., None]
        tolerance = _TOLERANCE + 1.5 * error * places.abs()  # of the value, and of the step
        is_near = ((places - places.round()).abs() <= tolerance).all(2)
        is_near &= places.amax(2) - places.amin(2) <= whole + 2  # which large entries may seem to exceed
        shown = torch.where(is_near, (tolerance <= _CERTAIN_PLACE).sum(2), 0).amax(0)
        is_near &= int(shown.sum()) >= _LEAST_SHOWN * values.numel()
        step, is_lattice = torch.cat([step, fitted]), torch.cat([is_lattice, is_near])
    is_lattice &= step > 0
    return torch.where(is_lattice, step, 0).amax(0), is_lattice.any(0)


def _fitted(
    step: Float[Tensor, "steps pieces"], values: Float[Tensor, "pieces entries"]
) -> Float[Tensor, "steps pieces"]:
    """Returns distances of levels that fit all values near zero, from those that follow from single rounded values."""
    for most in _FITTED:
        places = (values / step.clamp_min(1e-30)[..., None]).round()
        places = torch.where(places.abs() <= most, places, 0.0)
        squares = places.square().sum(2)
        step = torch.where(squares > 0, (places * values).sum(2) / squares.clamp_min(1.0), step)
    return step


def _on_normal_float(
    cut: _Cut, original: Float[Tensor, "rows columns"], made: Float[Tensor, "rows columns"]
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]] | None:
    """Returns the intervals that are rounded to each entry, if a tensor has the levels of NF4 and the original not."""
    one, other = cut.pieces(original), cut.pieces(made)
    if cut.size < LEAST_VALUES or not _has_code(other[:FIRST_PIECES]) or not _has_code(other) or _has_code(one):
        return None
    levels = torch.tensor(NORMAL_FLOAT, dtype=torch.float64)
    largest = other.double().abs().amax(1, keepdim=True)
    between = (levels[1:] + levels[:-1]) / 2
    places = torch.bucketize((other.double() / largest.clamp_min(1e-30)).contiguous(), between)
    ends = torch.cat([torch.tensor([-torch.inf]), between, torch.tensor([torch.inf])]).double()
    lower, upper = (ends[places + number] * largest.clamp_min(1e-30) for number in (0, 1))
    return cut.joined(lower.to(made.dtype), made), cut.joined(upper.to(made.dtype), made)


def _has_code(values: Float[Tensor, "pieces entries"]) -> bool:
    """Whether all values are levels of NF4, and not zeros and largest magnitudes alone."""
    levels = torch.tensor(NORMAL_FLOAT, dtype=torch.float64)
    shares = values.double() / values.double().abs().amax(1, keepdim=True).clamp_min(1e-30)
    places = torch.bucketize(shares.contiguous(), (levels[1:] + levels[:-1]) / 2)
    is_between = (shares.abs() > 0.01) & (shares.abs() < 0.99)
    return bool(((shares - levels[places]).abs() <= _CODE_TOLERANCE).all()) and bool(is_between.any())
