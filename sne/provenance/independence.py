"""Are two networks independent? Exact and nearly exact p-values from the matching of their hidden units."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, lgamma

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import gammaincinv
from torch import Tensor

from sne.provenance.alignment import align_signs, move_units
from sne.provenance.states import at_canonical_point
from sne.provenance.units import Block, Units, best_match, features, own_features, similarity
from sne.symmetry.canonical import CANONICAL_KINDS
from sne.symmetry.symmetry import Span, Symmetry

CERTAIN = 1e-9
"""With a smaller p-value in stored order, no other order is tried."""

MOST_IN_ORDER = 1024
"""Largest number of units of a group that are matched in stored order; of more, those at equal distances."""

MANY_UNITS = 4096
"""Number of hidden units above which a part of them is evidence enough for the tests in any order."""

MOST_GROUPS = 12
"""Largest number of groups of units that are tested in any order in networks of many units, at equal distances."""

SCALES = 1e-3
"""Tolerance of the logarithms of scales, which need not be exact to match units."""

LEAST_REPORTED = 1e-300
"""Smaller p-values are given as this one."""

FAVOUR = 4.0
"""Shape of the gamma distribution of the factor by which agreement of two matchings is favoured, in any order.

Of independent networks that learned the same task, some pairs have units of the same types, on which both matchings
agree. The mean of the factor is one and its standard deviation one half; p-values of independent pairs are then not too
small."""

_TERMS = 40
_FACTORS = 100


@dataclass(frozen=True)
class Agreement:
    """Agreement of two matchings of the units of one group.

    Args:
        group: Name of the group.
        units: Number of units that were matched.
        fixed: Number of units that both matchings give the same partner.
    """

    group: str
    units: int
    fixed: int


@dataclass(frozen=True)
class Independence:
    """How surely two networks are not independent.

    Args:
        p_value: Probability of such an agreement for independent networks; None if no units are known.
        stored: Agreement of the best matching with the stored order, by group.
        twice: Agreement of the matching by incoming weights with that by outgoing weights, by group, in the first test
            of units in any order that was made; empty if there was none.
        others: The same in the tests after it, at the canonical point and by an assumed symmetry.
        num_tests: Number of tests by which the p-value is multiplied.
    """

    p_value: float | None
    stored: tuple[Agreement, ...]
    twice: tuple[Agreement, ...]
    others: tuple[tuple[Agreement, ...], ...] = ()
    num_tests: int = 2


def judge_independence(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    units: Units,
    seed: int = 0,
    *,
    assumed: Units | None = None,
    is_in_any_order: bool = True,
) -> Independence:
    """Tests whether two networks of one layout are independent, by agreements of their hidden units.

    **In stored order.** Units, of large groups those at `MOST_IN_ORDER` places that are fixed in advance, are matched
    by all weights whose other axes are inputs, outputs or units of layers that come earlier in this order. Initial
    weights and training do not depend on the order in which units are stored. For independent networks the best
    matching is therefore a uniform permutation, whatever the networks have learned, and given the orders of the layers
    before, so that the layers are independent, too. The number of units that are matched with the unit of the same
    place is distributed as the fixed points of random permutations. This p-value is exact for every architecture of
    known symmetry.

    **In any order.** Copies may have permuted units. They are matched twice: by incoming weights, going forward from
    the inputs, and by outgoing weights, going back from the outputs. The two matchings use different weights. Units of
    independent networks that learned the same task are of similar types, on which both matchings agree; the directions
    in which types differ are therefore removed (`own_features`), which makes the fixed points of one matching against
    the other nearly distributed as above. What is left is allowed for by a distribution with a heavier tail: agreement
    in a layer is favoured by a random factor (`FAVOUR`). benchmarks/results/independent_pairs.md has the figures.

    The second test is repeated with scales and signs at their canonical point, which is a function of each network
    alone, if the symmetry has any; and both with an assumed symmetry, if one is given and differs. The two matchings
    use different weights under a wrong assumption, too. With more than `MANY_UNITS` units, only the last of these tests
    is made, with `MOST_GROUPS` groups. The p-value is the smallest one times the number of tests, which the
    architecture alone decides; no further test is made once one is below `CERTAIN`.

    Args:
        first: Tensors of one network.
        second: Tensors of the other network, with the same names and shapes.
        units: Their hidden units.
        seed: Seed of the order in which equal units are matched.
        assumed: Their hidden units by a symmetry that is fixed in advance, but not certain.
        is_in_any_order: Whether units may have another order. All tensors of one network are in memory then.

    Source: Zhu et al., "Independence Tests for Language Models", arXiv 2502.12292, section 3: units are matched by two
        matrices of a feed-forward layer, and the two permutations are compared.
    Differs: every architecture of known symmetry; the stored order is tested first, which is exact; agreement is
        counted by fixed points, whose distribution is known for all layers together; types of units are removed.
    """
    stored = tuple(_in_stored_order(first, second, units, seed))
    if not stored:
        return Independence(None, (), ())
    has_many = _has_many(units)
    tests = _tests_in_any_order(units, assumed, has_many=has_many) if is_in_any_order else []
    found: list[tuple[Agreement, ...]] = []
    p_values = [fixed_points_p_value(stored)]
    for some, is_canonical in tests:
        if min(p_values) < CERTAIN:
            break
        pair = [at_canonical_point(one, some.symmetry, SCALES) if is_canonical else one for one in (first, second)]
        found.append(tuple(_in_any_order(pair[0], pair[1], some, seed, can_flip=is_canonical, has_many=has_many)))
        p_values.append(fixed_points_p_value(found[-1], favour=FAVOUR))
    num_tests = 1 + len(tests)
    p_value = min(1.0, max(num_tests * min(p_values), LEAST_REPORTED))
    return Independence(p_value, stored, found[0] if found else (), tuple(found[1:]), num_tests)


def _tests_in_any_order(units: Units, assumed: Units | None, *, has_many: bool) -> list[tuple[Units, bool]]:
    """Returns the units to match, and whether they are matched at the canonical point.

    As they are stored, assumed units are not tested again if they are the certain ones: only scales and signs differ.
    Of networks with many units, one test of each order is made, which has evidence enough.
    """
    found: list[list[tuple[Units, bool]]] = []  # tests of the same order, which differ in scales and signs
    for some in (units, assumed):
        if some is None:
            continue
        if not found or _permuted_spans(some) != _permuted_spans(units):
            found.append([(some, False)])
        if _has_canonical_point(some.symmetry):
            found[-1].append((some, True))
    return [test for tests in found for test in (tests[-1:] if has_many else tests)]


def _has_many(units: Units) -> bool:
    return sum(group.size for group in units.groups) > MANY_UNITS


def _permuted_spans(units: Units) -> set[tuple[int, frozenset[Span]]]:
    """Returns size and places of each group, without the powers of scales and signs."""
    return {(one.size, frozenset(replace(span, power=0) for span in one.group.spans)) for one in units.groups}


def _has_canonical_point(symmetry: Symmetry) -> bool:
    return any(kind in group.kinds for group in symmetry.groups for kind in CANONICAL_KINDS)


def _in_stored_order(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], units: Units, seed: int
) -> Iterator[Agreement]:
    for number, (group, spans) in enumerate(units.in_order("both")):
        places = torch.linspace(0, group.size - 1, min(group.size, MOST_IN_ORDER), dtype=torch.float32).long()
        blocks = [
            Block(block.first[places], block.second[places], can_flip=False)
            for block in features(first, second, group, spans)
        ]
        found = best_match(similarity(blocks), seed + number)
        yield Agreement(group.group.name, len(places), int((found == torch.arange(len(places))).sum()))


def _in_any_order(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    units: Units,
    seed: int,
    *,
    can_flip: bool,
    has_many: bool,
) -> Iterator[Agreement]:
    orders = {side: [group.group.name for group, _ in units.in_order(side)] for side in ("feeding", "reading")}
    tested = [name for name in orders["feeding"] if name in set(orders["reading"])]
    if has_many and len(tested) > MOST_GROUPS:
        tested = [tested[number * len(tested) // MOST_GROUPS] for number in range(MOST_GROUPS)]
    forward = _matchings(first, second, units, "feeding", seed, can_flip, tested)
    backward = _matchings(first, second, units, "reading", seed + 1000, can_flip, tested)
    for name in tested:
        one, other = forward[name], backward[name]
        yield Agreement(name, len(one), int(((one == other) & (one >= 0)).sum()))


def _matchings(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    units: Units,
    side: str,
    seed: int,
    can_flip: bool,
    tested: Sequence[str],
) -> dict[str, Int[Tensor, " _"]]:
    """Matches units of some groups by their own features, each in the order of the layers before."""
    moved = dict(second)
    found = {}
    for number, (group, spans) in enumerate(units.in_order(side)):
        blocks = features(first, moved, group, spans)
        blocks = [replace(block, can_flip=block.can_flip and can_flip) for block in blocks]
        if group.group.name in tested:
            own = similarity([own_features(block) for block in blocks])
            found[group.group.name] = best_match(own, seed + number)
        move_units(moved, group.group, best_match(similarity(blocks), seed + number))
        if can_flip:
            align_signs(first, moved, group.group, spans)
    return found


def least_p_value(found: Independence) -> float:
    """Returns the smallest p-value that networks with these units can have; 1 if no units are known."""
    whole = [Agreement(one.group, one.units, one.units) for one in found.stored]
    return min(1.0, found.num_tests * fixed_points_p_value(whole)) if whole else 1.0


def fixed_points_p_value(agreements: Sequence[Agreement], *, favour: float | None = None) -> float:
    """Returns the probability that independent permutations have at least as many fixed points in all.

    Args:
        agreements: One per permutation. Where some units have no partner, the p-value is an upper bound.
        favour: As for `fixed_points_distribution`.

    Example:
        >>> round(fixed_points_p_value([Agreement("hidden", 3, 3)]) * 6, 6)  # one of the 6 permutations of 3 units
        1.0
    """
    distribution = fixed_points_distribution([found.units for found in agreements], favour=favour)
    return min(1.0, float(distribution[sum(found.fixed for found in agreements) :].sum()))


def fixed_points_distribution(sizes: Sequence[int], *, favour: float | None = None) -> Float[np.ndarray, " counts"]:
    """Returns the probability of each number of fixed points of independent permutations together.

    Args:
        sizes: Number of units of each permutation.
        favour: None for uniform permutations. Otherwise the probability of a permutation is multiplied by a factor per
            fixed point, which is drawn once per permutation from a gamma distribution of this shape and of mean one.

    Example:
        >>> fixed_points_distribution([2, 2]).round(6).tolist()
        [0.25, 0.0, 0.5, 0.0, 0.25]
    """
    distribution = np.ones(1)
    for size in sizes:
        distribution = np.convolve(distribution, _fixed_points(size, favour))
    return distribution


@lru_cache(maxsize=1024)
def _fixed_points(units: int, favour: float | None) -> Float[np.ndarray, " counts"]:
    """Returns the probability of each number of fixed points of one permutation."""
    counts = np.arange(min(units, 170) + 1)
    signs = (-1.0) ** np.arange(_TERMS)
    terms = np.array([sign * exp(-lgamma(i + 1)) for i, sign in enumerate(signs)]).cumsum()
    uniform = np.array([exp(-lgamma(k + 1)) * terms[min(units - k, _TERMS - 1)] for k in counts])
    if favour is None:
        return uniform
    factors = gammaincinv(favour, (np.arange(_FACTORS) + 0.5) / _FACTORS) / favour
    favoured = uniform * factors[:, None] ** counts
    return (favoured / favoured.sum(1, keepdims=True)).mean(0)
