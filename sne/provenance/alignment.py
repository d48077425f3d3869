"""Alignment: the order, the signs and the scales of hidden units that bring one network closest to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sne.provenance.units import UnitGroup, Units, best_match, features, similarity, unit_rows
from sne.symmetry.symmetry import Group, Span

LEAST_NEARNESS = 0.3
"""Mean cosine of the tensors that read units, after the first pass, below which no further pass is made."""

MOST_SWEEPS = 20
"""Largest number of passes over all groups in which units are matched again."""


@dataclass(frozen=True)
class Alignment:
    """A network whose units were brought into the order of another one.

    Args:
        state: Tensors of the network in that order.
        moves: Groups and orders by which units were moved, one after another.
    """

    state: dict[str, Tensor]
    moves: tuple[tuple[Group, Int[Tensor, " _"]], ...]

    def is_permuted(self) -> bool:
        """Whether a unit has changed its place."""
        places: dict[str, Tensor] = {}
        for group, order in self.moves:
            places[group.name] = places.get(group.name, torch.arange(group.size))[order]
        return any(not bool((order == torch.arange(len(order))).all()) for order in places.values())


def move_units(state: dict[str, Tensor], group: Group, order: Int[Tensor, " units"]) -> None:
    """Puts the units of a group into another order, in all tensors of a state.

    Args:
        state: Tensors by name; changed ones are replaced.
        group: The group.
        order: For each place, the unit that comes there; -1 keeps units, as far as they are left, where they are.
    """
    full = completed(order)
    for span, positions in group.places:
        if span.tensor in state:
            tensor = state[span.tensor]
            index = torch.arange(tensor.shape[span.dim])
            index[positions] = positions[full]
            state[span.tensor] = tensor.index_select(span.dim, index)


def completed(order: Int[Tensor, " units"]) -> Int[Tensor, " units"]:
    """Fills the open places of a matching with the units that are left, in their order.

    Example:
        >>> completed(torch.tensor([2, -1, 1])).tolist()
        [2, 0, 1]
    """
    open_places = order < 0
    if not bool(open_places.any()):
        return order
    left = torch.ones(len(order), dtype=torch.bool)
    left[order[~open_places]] = False
    full = order.clone()
    full[open_places] = torch.nonzero(left)[:, 0]
    return full


def align(first: Mapping[str, Tensor], second: Mapping[str, Tensor], units: Units, seed: int = 0) -> Alignment:
    """Brings the units of the second network into the order of the first one, and to its signs.

    Units are matched forward by their incoming weights, then again by all weights in turn until nothing changes.

    Args:
        first: Tensors of one network.
        second: Tensors of the other network, with the same names and shapes.
        units: Hidden units of both.
        seed: Seed of the order in which equal units are matched.

    Source: Ainsworth et al., "Git Re-Basin", arXiv 2209.04836, section 3.2 (weight matching).
    Differs: the first pass goes forward from the inputs instead of starting from the stored order, so that permuted
        copies are found in one pass; groups come from the traced symmetry of any architecture; signs are aligned, too.
    """
    state = dict(second)
    moves: list[tuple[Group, Tensor]] = []

    def rematch(group: UnitGroup, spans: Sequence[Span], number: int) -> bool:
        order = completed(best_match(similarity(features(first, state, group, spans)), seed + number))
        is_new = not bool((order == torch.arange(group.size)).all())
        if is_new:
            move_units(state, group.group, order)
            moves.append((group.group, order))
        align_signs(first, state, group.group, spans)
        return is_new

    for number, (group, spans) in enumerate(units.in_order("feeding")):
        rematch(group, spans, number)
    for _ in range(MOST_SWEEPS if _is_near(first, state, units) else 0):
        # every group is tried, also after one that changed
        changed = [rematch(group, (*group.feeding, *group.reading), 0) for group in units.groups]
        if not any(changed):
            break
    for group in units.symmetry.groups:
        align_signs(first, state, group, group.spans)
    return Alignment(state, tuple(moves))


def _is_near(first: Mapping[str, Tensor], state: Mapping[str, Tensor], units: Units) -> bool:
    """Whether two networks are so near that more passes may help; independent ones are not."""
    names = {span.tensor for group in units.groups for span in group.reading}
    products = [_products(first[name], state[name]) for name in names]
    cosines = [abs(both) / (one * other) ** 0.5 for one, other, both in products if one and other]
    return not names or sum(cosines) / len(names) > LEAST_NEARNESS


def likeness(one: Tensor, other: Tensor) -> float:
    """Returns twice the product of two tensors over the sum of their squares: 1 if they are equal."""
    squares, others, both = _products(one, other)
    return 2 * both / (squares + others) if both else 0.0


def _products(one: Tensor, other: Tensor) -> tuple[float, float, float]:
    """Returns the squares of two tensors and their product, in double precision, which holds huge and tiny ones."""
    left, right = one.double().flatten(), other.double().flatten()
    return float(left @ left), float(right @ right), float(left @ right)


def align_signs(first: Mapping[str, Tensor], state: dict[str, Tensor], group: Group, spans: Sequence[Span]) -> int:
    """Flips units of a group where that brings a state closer to another network.

    Args:
        first: Tensors of the other network.
        state: Tensors; changed ones are replaced.
        group: The group; nothing changes if its units cannot flip.
        spans: Spans of the group that tell the signs.

    Returns:
        Number of units that flipped.
    """
    spans = [span for span in spans if span.tensor in state and span.power % 2 and "sign" in group.kinds]
    if not spans:
        return 0
    rows = [tuple(unit_rows(one, group, span).double() for one in (first, state)) for span in spans]
    scales = [max(float(one.norm() * other.norm()), 1e-300) for one, other in rows]
    products = sum((one * other).sum(1) / scale for (one, other), scale in zip(rows, scales, strict=True))
    sign = torch.where(torch.as_tensor(products) < 0, -1.0, 1.0)
    for span, positions in group.places if bool((sign < 0).any()) else ():
        if span.tensor in state and span.power % 2:
            tensor = state[span.tensor]
            along = torch.ones(tensor.shape[span.dim], dtype=tensor.dtype)
            along[positions] = sign.to(tensor.dtype)[:, None]
            state[span.tensor] = tensor * along.view([-1 if d == span.dim else 1 for d in range(tensor.ndim)])
    return int((sign < 0).sum())
