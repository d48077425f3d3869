"""Are two networks independent? Exact and nearly exact p-values from the matching of their hidden units."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from sne.provenance.fixed_points import Agreement, fixed_points_p_value
from sne.provenance.places import spaced
from sne.provenance.states import at_canonical_point
from sne.provenance.two_matchings import agreements_in_any_order
from sne.provenance.units import Block, Units, are_all_matrices_masked, best_match, features, similarity
from sne.symmetry.canonical import CANONICAL_KINDS
from sne.symmetry.symmetry import Span, Symmetry

CERTAIN = 1e-9
"""With a smaller p-value in stored order, no other order is tried."""

MOST_IN_ORDER = 1024
"""Largest number of units of a group that are matched in stored order; of more, those at equal distances."""

MANY_UNITS = 4096
"""Networks of more hidden units than this are tested by a part of their groups."""

MOST_STORED_GROUPS = 12
"""Largest number of groups that are tested in stored order in networks of more than `MANY_UNITS` units."""

SCALES = 1e-3
"""Tolerance of the logarithms of scales, which need not be exact to match units."""

LEAST_REPORTED = 1e-300
"""Smaller p-values are given as this one."""

FAVOUR = 4.0
"""Shape of the gamma distribution of the factor by which agreement of two matchings is favoured, in any order.

Of independent networks that learned the same task, some pairs have units of the same types, on which both matchings
agree. Where one agreement is expected (`Agreement.expected`), as in random permutations, the mean of the factor is one
and its standard deviation one half; p-values of independent pairs are then not too small. Where more is expected, the
mean is that number.
"""


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

    @property
    def stored_p_value(self) -> float:
        """The p-value of the test in stored order alone, times the number of tests."""
        return min(1.0, self.num_tests * fixed_points_p_value(self.stored))


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
    known symmetry. Units that only masked matrices describe, whose zeros both networks share, are left out.

    **In any order.** Copies may have permuted units. They are matched twice: by incoming weights, going forward from
    the inputs, and by outgoing weights, going back from the outputs. The two matchings use different weights. Units of
    independent networks that learned the same task are of similar types, on which both matchings agree; the directions
    in which types differ are therefore removed (`own_features`), which makes the fixed points of one matching against
    the other nearly distributed as above. What is left is allowed for by a distribution with a heavier tail: agreement
    in a layer is favoured by a random factor (`FAVOUR`), whose mean is the number of near misses where these are more
    than chance explains, as in networks that map a space to itself (`agreements_in_any_order`).
    benchmarks/results/independent_pairs.md and self_maps.md have the figures.

    The second test is repeated with scales and signs at their canonical point, which is a function of each network
    alone, if the symmetry has any; and both with an assumed symmetry, if one is given and differs. The two matchings
    use different weights under a wrong assumption, too. The p-value is the smallest one times the number of tests,
    which the architecture alone decides; no further test is made once one is below `CERTAIN`.

    With more than `MANY_UNITS` units, a part is evidence enough: of the tests in any order, one per symmetry is made
    (`_tests_in_any_order`), with `MOST_GROUPS` groups, and `MOST_STORED_GROUPS` groups are tested in stored order.

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
        counted by fixed points, whose distribution is known for all layers together; types of units are removed, and
        incoming weights that foretell outgoing ones are allowed for.
    """
    has_many = _has_many(units)
    agreements = _in_stored_order(first, second, units, seed, has_many=has_many)
    stored = tuple(islice(agreements, MOST_STORED_GROUPS if has_many else None))
    if not stored:
        return Independence(None, (), ())
    tests = _tests_in_any_order(units, assumed, has_many=has_many) if is_in_any_order else []
    found: list[tuple[Agreement, ...]] = []
    p_values = [fixed_points_p_value(stored)]
    for some, is_canonical in tests:
        if min(p_values) < CERTAIN:
            break
        pair = [at_canonical_point(one, some.symmetry, SCALES) if is_canonical else one for one in (first, second)]
        found.append(
            tuple(agreements_in_any_order(pair[0], pair[1], some, seed, can_flip=is_canonical, has_many=has_many))
        )
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
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], units: Units, seed: int, *, has_many: bool
) -> Iterator[Agreement]:
    """Yields the agreement of each group. If there are many units, groups at equal distances come first."""
    groups = list(enumerate(units.in_order("both")))
    if has_many:
        chosen = set(spaced(len(groups), MOST_STORED_GROUPS).tolist())
        groups.sort(key=lambda one: one[0] not in chosen)
    for number, (group, spans) in groups:
        described = features(first, second, group, spans)
        # only vectors are left; the tensors are read again only then
        is_narrow = sum(block.first.shape[1] for block in described) <= len(spans)
        if is_narrow and are_all_matrices_masked(first, second, group, spans):
            continue
        places = spaced(group.size, MOST_IN_ORDER)
        blocks = [Block(block.first[places], block.second[places], can_flip=False) for block in described]
        found = best_match(similarity(blocks), seed + number)
        yield Agreement(group.group.name, len(places), int((found == torch.arange(len(places))).sum()))


def least_p_value(found: Independence) -> float:
    """Returns the smallest p-value that networks with these units can have; 1 if no units are known."""
    whole = [Agreement(one.group, one.units, one.units) for one in found.stored]
    return min(1.0, found.num_tests * fixed_points_p_value(whole)) if whole else 1.0
