"""Drawing transformations."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sne.errors import SymmetryError
from sne.symmetry.axis_map import AxisMap, AxisMixing
from sne.symmetry.groups import ALL_KINDS, Group, Mixing
from sne.symmetry.symmetry import Symmetry
from sne.symmetry.transformation import Axis, Step, Transformation


def draw(symmetry: Symmetry, seed: int | torch.Generator, kinds: Sequence[str], fraction: float) -> Transformation:
    """Draws a transformation; see `Symmetry.sample`."""
    unknown = [kind for kind in kinds if kind not in ALL_KINDS]
    if unknown:
        raise SymmetryError(f"kind {unknown[0]!r} is not known, expected some of {', '.join(ALL_KINDS)}")
    if not 0 <= fraction <= 1:
        raise SymmetryError(f"fraction is {fraction}, expected 0 to 1")
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    changes = [
        (group, *_draw_group(group, wanted, fraction, generator))
        for group in symmetry.groups
        if (wanted := [kind for kind in group.kinds if kind in kinds])
    ]
    mixings: dict[Axis, list[AxisMixing]] = {}
    for mixing in symmetry.mixings if "mixing" in kinds else ():
        if float(torch.rand((), generator=generator)) < fraction:
            _enter_mixing(mixings, mixing, draw_invertible(mixing.size, generator))
    moved = transformation_of(symmetry, changes)
    if not mixings:
        return moved
    mixed = Step({}, {axis: tuple(several) for axis, several in mixings.items()})
    return Transformation(symmetry.shapes, symmetry.aliases, (*moved.steps, mixed))


def transformation_of(
    symmetry: Symmetry,
    changes: Iterable[tuple[Group, Int64[Tensor, " _"] | None, Float[Tensor, " _"] | None]],
) -> Transformation:
    """The transformation that orders and scales the neurons of some groups.

    Args:
        symmetry: of the network.
        changes: groups of it, in its order, each with the old place and the factor of every new neuron, float64; None
            where they stay.
    """
    maps: dict[Axis, AxisMap] = {}
    for group, order, factor in changes:
        _enter(maps, symmetry.shapes, group, torch.arange(group.size) if order is None else order, factor)
    return Transformation(symmetry.shapes, symmetry.aliases, (Step(maps),) if maps else ())


def draw_invertible(size: int, generator: torch.Generator) -> Float[Tensor, "size size"]:
    """An invertible matrix of condition 4 at most: rotations around scales of 1/2 to 2, float64."""
    left, right = (
        torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0] for _ in range(2)
    )
    return left * _scales(size, generator) @ right


def _scales(size: int, generator: torch.Generator) -> Float[Tensor, " size"]:
    return torch.exp2(2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1)


def _draw_group(
    group: Group, kinds: Sequence[str], fraction: float, generator: torch.Generator
) -> tuple[Int64[Tensor, " size"], Float[Tensor, " size"] | None]:
    chosen = torch.randperm(group.size, generator=generator)[: round(fraction * group.size)]
    order, factor = torch.arange(group.size), None
    if "permutation" in kinds:
        order[chosen] = chosen[torch.randperm(len(chosen), generator=generator)]
    if "scaling" in kinds or "sign" in kinds:
        factor = torch.ones(group.size, dtype=torch.float64)
        if "scaling" in kinds:
            factor[chosen] *= _scales(len(chosen), generator)
        if "sign" in kinds:
            factor[chosen] *= 1 - 2.0 * torch.randint(0, 2, (len(chosen),), generator=generator)
    return order, factor


def _enter(
    maps: dict[Axis, AxisMap],
    shapes: dict[str, tuple[int, ...]],
    group: Group,
    order: Int64[Tensor, " size"],
    factor: Float[Tensor, " size"] | None,
) -> None:
    """Does one group's change after those that are there, in place."""
    mine: dict[Axis, AxisMap] = {}
    for span, positions in group.places:
        axis = (span.tensor, span.dim)
        if axis not in mine:
            length = shapes[span.tensor][span.dim]
            ones = torch.ones(length, dtype=torch.float64) if factor is not None else None
            mine[axis] = AxisMap(torch.arange(length), ones)
        mine[axis].index[positions] = positions[order]
        if factor is not None and span.power:
            scale = mine[axis].factor
            assert scale is not None
            scale[positions] = (factor**span.power)[:, None]
    for axis, one in mine.items():
        if one.factor is not None and bool((one.factor == 1).all()):
            one = AxisMap(one.index)
        maps[axis] = one.after(maps[axis]) if axis in maps else one


def _enter_mixing(mixings: dict[Axis, list[AxisMixing]], mixing: Mixing, matrix: Float[Tensor, "size size"]) -> None:
    dual = torch.linalg.inv(matrix).T
    for span in mixing.spans:
        one = AxisMixing(span.positions(mixing.size).T, matrix if span.power > 0 else dual)
        mixings.setdefault((span.tensor, span.dim), []).append(one)
