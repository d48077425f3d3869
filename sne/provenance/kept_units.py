"""Networks with fewer units: is each tensor a part of the rows and columns of the other network's tensor?"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.networks import LayerType, Network
from sne.provenance.evidence import Evidence, compare_values
from sne.provenance.matching import MatchedBy, Pair
from sne.provenance.places import Place, places_of

MOST_WEIGHTS = 200_000_000
"""Largest number of weights of networks whose units are searched for."""

KEY_COLUMNS = 8
"""Largest number of columns by which rows are recognised before they are compared as a whole."""


LEAST_BITS = 64.0
"""Least information in the matrices of the smaller network, without that of which units were kept."""


@dataclass(frozen=True)
class KeptUnits:
    """A network that has some of the units of another one, with their values.

    Args:
        child: 1 if the second network has fewer units, -1 if the first one has.
        found: Evidence of every pair of tensors, on the units that both have.
        num_kept: Number of units that both have, summed over the matrices with fewer rows.
        num_units: Number of units of the larger network in the same matrices.
    """

    child: int
    found: tuple[Evidence, ...]
    num_kept: int
    num_units: int


def kept_units(first: Network, second: Network) -> KeptUnits | None:
    """Tests whether one network is the other one without some of its units, with equal values.

    Rows and columns of each matrix are recognised by their values, in any order, so that nothing needs to be known of
    how layers are connected. Matrices whose values do not look random, such as constants, identities and tables of
    waves, show nothing.

    Args:
        first: A network.
        second: Another one.

    Returns:
        What was kept; None if the values of neither network are part of the other one's.
    """
    pairs = _pairs(list(places_of(first)), list(places_of(second)))
    child = _smaller(pairs)
    if not child or max(first.num_weights, second.num_weights) > MOST_WEIGHTS:
        return None
    found, counts, bits = [], [0, 0], 0.0
    for pair in sorted(pairs, key=lambda pair: pair.first.part.num_entries):  # the cheapest ones are refused first
        whole, part = (network.read(place.part) for network, place in _larger_first(pair, first, second, child))
        kept = _kept_rows(whole, part) if part.shape[1] * part.shape[2] == 1 else _kept_grid(whole, part)
        if kept is None:
            return None
        found.append(compare_values(pair, kept, part) if child == 1 else compare_values(pair, part, kept))
        bits += _information(whole, part) if any(found[-1].looks_random) else 0.0
        if len(part) < len(whole) and part.shape[1] * part.shape[2] > 1:
            counts = [counts[0] + len(part), counts[1] + len(whole)]
    if bits < LEAST_BITS:
        return None
    order = {id(pair): number for number, pair in enumerate(pairs)}
    found.sort(key=lambda evidence: order[id(evidence.pair)])
    return KeptUnits(child, tuple(found), *counts)


def _pairs(left: Sequence[Place], right: Sequence[Place]) -> list[Pair]:
    """Returns pairs of the same names or, if these differ, in the same order; empty if the parts are not the same."""
    if len(left) != len(right):
        return []
    others = {place.name: place for place in right}
    if len(others) == len(right) and others.keys() == {place.name for place in left}:
        return [Pair(place, others[place.name], MatchedBy.NAME) for place in left]
    kinds = [[(place.layer.type, place.part.role, place.shape[2]) for place in places] for places in (left, right)]
    if kinds[0] != kinds[1]:
        return []
    return [Pair(one, other, MatchedBy.ORDER) for one, other in zip(left, right, strict=True)]


def _smaller(pairs: Sequence[Pair]) -> int:
    """Returns 1 if the second network has fewer units that are read by a layer, -1 if the first one has, or else 0."""
    shapes = [(pair.first.shape, pair.second.shape) for pair in pairs]
    if any(one[2] != other[2] for one, other in shapes):
        return 0
    reads_fewer = [
        (one[1] > other[1], one[1] < other[1])
        for (one, other), pair in zip(shapes, pairs, strict=True)
        if pair.first.layer.type not in (LayerType.EMBEDDING, LayerType.POSITION)
    ]
    for number, child in ((0, 1), (1, -1)):
        is_within = all(shape[number][axis] >= shape[1 - number][axis] for shape in shapes for axis in (0, 1))
        if is_within and any(fewer[number] for fewer in reads_fewer):
            return child
    return 0


def _larger_first(pair: Pair, first: Network, second: Network, child: int) -> list[tuple[Network, Place]]:
    both = [(first, pair.first), (second, pair.second)]
    return both if child == 1 else both[::-1]


def _information(whole: Float[Tensor, "rows columns kernel"], part: Float[Tensor, "some few kernel"]) -> float:
    """Returns how many bits the values of a part have, without those by which its rows and columns were chosen.

    Example:
        >>> _information(torch.ones(8, 8, 1), torch.ones(4, 8, 1)) < 0
        True
    """
    if part.shape[1] * part.shape[2] == 1:
        return 0.0
    counts = part.flatten().unique(return_counts=True)[1].double()
    entropy = float((counts * (math.log2(part.numel()) - counts.log2())).sum())
    choices = (
        math.lgamma(many + 1) - math.lgamma(many - few + 1)
        for many, few in zip(whole.shape[:2], part.shape[:2], strict=True)
        if few < many
    )
    return entropy - sum(choices) / math.log(2)


def _kept_rows(whole: Float[Tensor, "rows 1 1"], part: Float[Tensor, "some 1 1"]) -> Tensor | None:
    """Returns the part if its values are among those of the whole vector, each as often at least."""
    counts = Counter(part.flatten().tolist())
    counts.subtract(whole.flatten().tolist())
    return None if any(count > 0 for count in counts.values()) else part.clone()


def _kept_grid(
    whole: Float[Tensor, "rows columns kernel"], part: Float[Tensor, "some few kernel"]
) -> Float[Tensor, "some few kernel"] | None:
    """Returns the rows and columns of the whole matrix that are equal to a part of it; None if there are none."""
    if whole.shape == part.shape:
        return whole if torch.equal(whole, part) else None
    row = _row_of(whole, part[0])
    other = _row_of(whole, part[-1])
    if row is None or other is None:
        return None
    columns = _places_of(torch.stack([whole[row], whole[other]], 1), torch.stack([part[0], part[-1]], 1))
    if columns is None:
        return None
    few = whole[:, columns]
    rows = _places_of(few[:, :KEY_COLUMNS], part[:, :KEY_COLUMNS])
    if rows is None or not torch.equal(few[rows], part):
        return None
    return few[rows]


def _row_of(whole: Float[Tensor, "rows columns kernel"], line: Float[Tensor, "few kernel"]) -> int | None:
    """Returns the row of a matrix that holds the values of a line; None if no row holds them all."""
    values = line.flatten().unique()
    held = torch.isin(whole.flatten(1), values).sum(1)
    row = int(held.argmax())
    return row if bool(torch.isin(values, whole[row].flatten()).all()) else None


def _places_of(
    whole: Float[Tensor, "places _ kernel"], part: Float[Tensor, "some _ kernel"]
) -> Int[Tensor, " some"] | None:
    """Returns where the entries of a list are in a longer one, each used once; None if one is not there."""
    places: dict[bytes, list[int]] = {}
    for place, values in reversed(list(enumerate(whole.flatten(1).numpy()))):
        places.setdefault((values + 0.0).tobytes(), []).append(place)
    found = []
    for values in part.flatten(1).numpy():
        left = places.get((values + 0.0).tobytes())
        if not left:
            return None
        found.append(left.pop())
    return torch.tensor(found)
