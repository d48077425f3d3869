"""Sampling of random transformations."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sne.errors import SymmetryError
from sne.symmetry.symmetry import KINDS, Group, Mixing, Symmetry
from sne.symmetry.transformation import AxisMixing, Transformation, transformation_of


def sample(
    symmetry: Symmetry,
    seed: int | torch.Generator,
    kinds: Sequence[str] = ("permutation",),
    fraction: float = 1.0,
) -> Transformation:
    """Samples a change of a network's weights that leaves its function unchanged.

    Args:
        symmetry: Symmetry of the network.
        seed: Random seed, or a generator on the CPU.
        kinds: Kinds of changes: "permutation", "scaling" (log-uniform in 1/2 to 2), "sign" and "mixing" (matrices with
            singular values in 1/2 to 2).
        fraction: Share of each group's neurons that is moved, scaled or flipped, and probability of each mixing, 0 to
            1.

    Raises:
        SymmetryError: A kind is unknown, or the fraction is not in 0 to 1.

    Example:
        >>> import torch, sne
        >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> symmetry = sne.symmetry.trace(module, (torch.ones(1, 3),))
        >>> g = sne.symmetry.sample(symmetry, seed=0, kinds=("permutation", "sign"), fraction=0.5)
        >>> state = sne.symmetry.apply(g, module.state_dict())
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise SymmetryError(f"kind {unknown[0]!r} is unknown, expected some of {', '.join(KINDS)}")
    if not 0 <= fraction <= 1:
        raise SymmetryError(f"fraction is {fraction}, expected 0 to 1")
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    moves = [
        (group, *_sample_group(group, wanted, fraction, generator))
        for group in symmetry.groups
        if (wanted := [kind for kind in group.kinds if kind in kinds])
    ]
    drawn = transformation_of(symmetry, moves)
    changes = dict(drawn.changes)
    for mixing in symmetry.mixings if "mixing" in kinds else ():
        if float(torch.rand((), generator=generator, dtype=torch.float32)) < fraction:
            for tensor, change in _sample_mixing(mixing, generator):
                changes[tensor] = (*changes.get(tensor, ()), change)
    return Transformation(drawn.shapes, drawn.aliases, changes)


def _sample_group(
    group: Group, kinds: Sequence[str], fraction: float, generator: torch.Generator
) -> tuple[Int64[Tensor, " size"], Float[Tensor, " size"] | None]:
    """Returns the old place and factor of every new neuron."""
    chosen = torch.randperm(group.size, generator=generator)[: round(fraction * group.size)]
    order, factor = torch.arange(group.size), None
    if "permutation" in kinds:
        order[chosen] = chosen[torch.randperm(len(chosen), generator=generator)]
    if "scaling" in kinds or "sign" in kinds:
        factor = torch.ones(group.size, dtype=torch.float64)
        if "scaling" in kinds:
            factor[chosen] *= _sample_scales(len(chosen), generator)
        if "sign" in kinds:
            factor[chosen] *= 1 - 2.0 * torch.randint(0, 2, (len(chosen),), generator=generator)
    return order, factor


def _sample_mixing(mixing: Mixing, generator: torch.Generator) -> list[tuple[str, AxisMixing]]:
    """Returns the change of every tensor, by one random matrix of condition number at most 4."""
    left, right = (
        torch.linalg.qr(torch.randn(mixing.size, mixing.size, generator=generator, dtype=torch.float64))[0]
        for _ in range(2)
    )
    matrix = left * _sample_scales(mixing.size, generator) @ right
    dual = torch.linalg.inv(matrix).T
    return [
        (span.tensor, AxisMixing(span.dim, span.positions(mixing.size).T, matrix if span.power > 0 else dual))
        for span in mixing.spans
    ]


def _sample_scales(size: int, generator: torch.Generator) -> Float[Tensor, " size"]:
    return torch.exp2(2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1)
