"""`compare`: the relation of two networks, with the evidence for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from sne.checkpoints import read_network
from sne.checkpoints.nonfinite import BESIDE_NONFINITE, NONFINITE, load_with_nonfinite
from sne.checkpoints.read import Readable
from sne.health import describe_head
from sne.networks import Network
from sne.provenance.evidence import Change, Evidence, compare_pair, mean_cosine
from sne.provenance.hypotheses import Hypothesis, Standing, assumed_hypothesis, certain_hypothesis, closest_alignment
from sne.provenance.independence import judge_independence, least_p_value
from sne.provenance.kept_units import KeptUnits, kept_units
from sne.provenance.matching import Matching, match
from sne.provenance.merging import Merge, merged_from
from sne.provenance.relation import (
    LEAST_ENTRIES,
    LEAST_SHARE,
    Relation,
    Test,
    Verdict,
    lone_constant,
    name_relation,
    replaced_layers,
    with_zeroed_lines,
)
from sne.provenance.states import Counterpart, StoredState, renamed
from sne.provenance.units import Units
from sne.provenance.unmerged import find_adapter, how_it_fits

CLOSE_AS_STORED = 0.98
"""Networks whose matrices have a larger mean cosine as they are stored are not aligned."""

MOST_ALIGNED = 200_000_000
"""Largest number of weights of networks whose units are aligned, which takes all tensors of one of them in memory."""


HOPELESS = 1e-3
"""Networks whose units agree with a larger p-value are not aligned, if copies would have reached a small one."""

MORE_THAN_PEAKS = 0.8
"""Own cosine of matrices that have more in common than peaks, which alone make it .7 at most."""

TRAINED = (Relation.FINE_TUNE, Relation.SAME_START, Relation.PARTIAL, Relation.INDEPENDENT)
"""Relations of networks that alignment may show to be closer."""


@dataclass(frozen=True)
class Comparison:
    """What one network is to another.

    Args:
        first: Name of the first network.
        second: Name of the second network.
        relation: The relation.
        related: Whether the two have a common origin.
        p_value: Probability of such an agreement of hidden units between independent networks; None where the units of
            the architecture are not known, and where it is not needed because the values show the relation.
        direction: "second from first", "first from second", or None if that is not known or has no meaning.
        confidence: Probability that the direction is right; 1 where it follows from the values, 0 without a direction.
        why: One sentence with the evidence.
        layers: Evidence of each pair of tensors, after alignment.
        aligned: What alignment did: "units moved", "signs flipped", "scales changed".
        assumed: What was assumed of the architecture, because names and shapes do not tell.
        matching: The pairs of tensors, and the tensors without a counterpart.
        merge: Weights of the parents of a merge; None if no second parent was given, or if this is no merge of the two.
        left_out: Tensors of both networks whose layers were not compared, because they hold NaN or infinite values.
            Networks are identical only if these tensors are equal, too.
    """

    first: str
    second: str
    relation: Relation
    related: bool
    p_value: float | None
    direction: str | None
    confidence: float
    why: str
    layers: tuple[Evidence, ...]
    aligned: tuple[str, ...]
    assumed: str
    matching: Matching
    merge: Merge | None = None
    left_out: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @cached_property
    def distance(self) -> float:
        """Squared norm of the change over the mean squared norm of both networks, after alignment; 0 without layers."""
        change = sum(layer.norm_of_change**2 for layer in self.layers)
        size = sum(layer.norms[0] ** 2 + layer.norms[1] ** 2 for layer in self.layers) / 2
        return change / size if size else 0.0

    @property
    def is_exact(self) -> bool:
        """Whether the values show how the two are related, by operations without training on one or on both of them."""
        if self.relation is Relation.PRUNED:
            return not any(layer.change in (Change.OTHER, Change.LINES) for layer in with_zeroed_lines(self.layers))
        if self.relation is Relation.PRECISION:
            return self.confidence == 1
        return self.relation in (Relation.IDENTICAL, Relation.SAME_FUNCTION, Relation.LOW_RANK, Relation.MERGE)

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        places = {"only_first": self.matching.only_first, "only_second": self.matching.only_second}
        return {
            "first": self.first,
            "second": self.second,
            "relation": self.relation.value,
            "related": self.related,
            "p_value": self.p_value,
            "direction": self.direction,
            "confidence": self.confidence,
            "why": self.why,
            "aligned": list(self.aligned),
            "assumed": self.assumed,
            "layers": [evidence.to_json() for evidence in self.layers],
            **{name: [place.name for place in some] for name, some in places.items()},
            "resized": [
                {"tensor": pair.first.name, "first": list(pair.first.shape), "second": list(pair.second.shape)}
                for pair in self.matching.pairs
                if not pair.is_whole
            ],
            "left_out": [list(some) for some in self.left_out],
            "merge": None if self.merge is None else {**vars(self.merge)},
        }


def compare(
    first: Readable | Network,
    second: Readable | Network,
    other_parent: Readable | Network | None = None,
    *,
    select: str | None = None,
    allow_nonfinite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Says what one network is to another: a copy, a changed copy, a relative, or nothing.

    Tensors are matched by name, by name without prefix, or by the order of layers. Their values are compared as they
    are stored and, unless that shows the relation, after the hidden units of the second network have been brought to
    the order, the signs and the scales of the first one.

    Args:
        first: A network, or anything that `sne.read_network` takes.
        second: Another one.
        other_parent: A third one, to test whether `first` is a merge of `second` and this one.
        select: Name of the network to read where a file holds several.
        allow_nonfinite: Whether networks with NaN or infinite weights are compared, without the layers that hold them.
        on_progress: Called with the number of tensors compared and their number.

    Returns:
        The relation with its evidence.

    Raises:
        CheckpointError: A source cannot be read.

    Example:
        >>> import torch, sne
        >>> module = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
        >>> state = module.state_dict()
        >>> order = torch.randperm(32)
        >>> copy = {"0.weight": state["0.weight"][order], "0.bias": state["0.bias"][order],
        ...         "2.weight": state["2.weight"][:, order], "2.bias": state["2.bias"]}
        >>> found = compare(state, copy)
        >>> found.relation.value, found.aligned
        ('same function', ('units moved',))
    """
    one, other = (_network(source, select, allow_nonfinite) for source in (first, second))
    matching = match(one, other)
    if (fit := _fit_of_adapter(one, other)) is not None:
        return _not_comparable(one, other, matching, fit)
    if (kept := _kept_units(one, other, matching)) is not None:
        return _without_units(one, other, kept)
    if matching.share < LEAST_SHARE:
        part = f"only {matching.share:.0%}" if matching.share >= 0.005 else "none"
        why = f"{part} of the weights of the smaller network"
        why += " have a counterpart of the same type and size"
        return _not_comparable(one, other, matching, why)
    no_merge = ""
    if other_parent is not None:
        third = _network(other_parent, select, allow_nonfinite)
        merge = merged_from(one, other, third)
        if merge is not None:
            return _merged(one, other, matching, merge)
        no_merge = f"not a weighted mean of {other.name} and {third.name}; "
    found = []
    for number, pair in enumerate(matching.pairs):
        found.append(compare_pair(one, other, pair))
        if on_progress is not None:
            on_progress(number + 1, len(matching.pairs))
    return _judged(one, other, matching, _tested(one, other, matching), found, no_merge)


def relative(first: Network, second: Network) -> Comparison | None:
    """Says what one network is to another, as `compare` does, if they are related.

    Unrelated networks take less time: values are not compared further once nothing can make the two relatives.

    Args:
        first: A network.
        second: Another one.

    Returns:
        The comparison; None if the two are not related.
    """
    matching = match(first, second)
    if _fit_of_adapter(first, second) is not None:
        return None
    if (kept := _kept_units(first, second, matching)) is not None:
        return _without_units(first, second, kept)
    if matching.share < LEAST_SHARE:
        return None
    tested = _tested(first, second, matching)
    pairs = (compare_pair(first, second, pair) for pair in matching.pairs)
    if tested.is_hopeless and any(evidence.change is Change.OTHER for evidence in pairs):
        return None  # the units speak against it, and no operation without training explains this change
    found = [compare_pair(first, second, pair) for pair in matching.pairs]
    judged = _judged(first, second, matching, tested, found, "")
    return judged if judged.related else None


@dataclass(frozen=True)
class _Tested:
    """What the units of two networks say, before their values are compared.

    Args:
        states: Tensors of both networks under the names of the first one.
        certain: The symmetry that is certain.
        test: What the test says.
    """

    states: tuple[StoredState, Counterpart]
    certain: Hypothesis
    test: Test

    @property
    def is_hopeless(self) -> bool:
        """Whether the units speak against a relation so surely that they are not aligned."""
        return self.test.speaks_against and self.test.p_value is not None and self.test.p_value > HOPELESS


def _tested(one: Network, other: Network, matching: Matching) -> _Tested:
    """Tests the units by the symmetry that is certain and, unless a source stores it, by the one that is assumed."""
    states = StoredState(one), Counterpart(one, other, matching)
    certain = certain_hypothesis(one, other, states[1])
    return _Tested(states, certain, _test(one, states, certain, list(states[1])))


def _test(one: Network, states: tuple[StoredState, Counterpart], certain: Hypothesis, tensors: Sequence[str]) -> Test:
    """Tests the units that only some tensors feed and read."""
    names = {name: name for name in tensors}
    symmetry = certain.symmetry if len(names) == len(states[1]) else renamed(certain.symmetry, names)
    assumed = None
    is_small = one.num_weights <= MOST_ALIGNED
    if not certain.is_stored and is_small:
        found = renamed(assumed_hypothesis(one).symmetry, names)
        assumed = Units(found, one, states[1]) if found.groups != symmetry.groups else None
    units = Units(symmetry, one, states[1])
    independence = judge_independence(*states, units, assumed=assumed, is_in_any_order=is_small)
    return Test(independence.p_value, least_p_value(independence), independence.stored_p_value)


def _without_patterns(one: Network, tested: _Tested, found: Sequence[Evidence]) -> _Tested:
    """Repeats the test without units that a common pattern or constant sets apart, whose order has a meaning.

    A diagonal on an axis pair of the same units, as in recurrent layers, tells none of them apart. Units beside the
    only equal matrix, which is a constant or a frozen layer, stay where there are no others.
    """
    groups: dict[str, list[set[str]]] = {}
    for group in tested.certain.symmetry.groups:
        for span in group.spans:
            axes = groups.setdefault(span.tensor, [set() for _ in tested.certain.symmetry.shapes[span.tensor]])
            axes[span.dim].add(group.name)

    def is_exchangeable(evidence: Evidence) -> bool:
        part = evidence.pair.first.part
        if evidence.pattern == "peaks" and evidence.entries >= LEAST_ENTRIES and evidence.own_cosine > MORE_THAN_PEAKS:
            return True  # a few large weights stand out, as after weight decay, but the others agree, too
        axes = groups.get(part.tensor)
        if evidence.pattern != "diagonal" or axes is None or part.out_axis is None or part.in_axis is None:
            return not evidence.pattern
        return bool(axes[part.out_axis] & axes[part.in_axis])

    patterned = [evidence for evidence in found if not is_exchangeable(evidence)]
    alone, test = lone_constant(found), tested.test
    for beside in (alone, []) if alone else ([],):
        apart = {evidence.pair.first.part.tensor for evidence in (*patterned, *beside)}
        if not apart & groups.keys():
            return tested
        tensors = [name for name in tested.states[1] if name not in apart]
        test = _test(one, tested.states, tested.certain, tensors)
        if test.p_value is not None:
            return replace(tested, test=test)
    return replace(tested, test=test)


def _judged(
    one: Network, other: Network, matching: Matching, tested: _Tested, found: Sequence[Evidence], note: str
) -> Comparison:
    """Names the relation, after the units have been aligned where that may show a closer one."""
    all_matched = not (matching.only_first or matching.only_second) and all(pair.is_whole for pair in matching.pairs)
    left_out = _left_out(one) + _left_out(other)
    all_matched = all_matched and (not left_out or _left_out_alike(one, other))
    if tested.test.speaks_for:
        tested = _without_patterns(one, tested, found)
    verdict = name_relation(found, tested.test, all_matched, removed=matching.removed)
    if left_out and verdict.relation is Relation.IDENTICAL:
        verdict = replace(verdict, why=f"{verdict.why}; so are the NaN and infinite ones")
    best = Standing(tuple(found), verdict, tested.test, (), "")
    is_close = mean_cosine(found) > CLOSE_AS_STORED and not any(layer.is_multiple for layer in found)
    if verdict.relation in TRAINED and not (is_close or tested.is_hopeless) and one.num_weights <= MOST_ALIGNED:
        best = closest_alignment(one, matching, tested.states, tested.certain, best, all_matched)
    return _comparison(one, other, _with_untrained_head(one, other, best), matching, note)


def _with_untrained_head(one: Network, other: Network, best: Standing) -> Standing:
    """Says which of two networks has a last layer that looks untrained, where a layer was made anew.

    That tells no direction: the network may have a new head, or may be the one from which training of the head started.
    """
    if best.verdict.relation is not Relation.PARTIAL or not replaced_layers(best.found):
        return best
    is_untrained = [describe_head(network) is not None for network in (one, other)]
    if is_untrained[0] == is_untrained[1]:
        return best
    place = "first" if is_untrained[0] else "second"
    why = f"{best.verdict.why}; the last layer of the {place} network looks untrained: it is a new one, or the start"
    return replace(best, verdict=replace(best.verdict, why=why))


def _left_out(network: Network) -> list[str]:
    """Returns the tensors whose layers are left out because of NaN or infinite values."""
    return [note.tensor for note in network.notes if note.reason.endswith(NONFINITE)]


def _left_out_alike(one: Network, other: Network) -> bool:
    """Whether the same tensors are left out of both networks, with equal values, NaN where the other one has NaN."""

    def names(network: Network) -> set[str]:
        reasons = (NONFINITE, BESIDE_NONFINITE)
        return {note.tensor for note in network.notes if note.reason.endswith(reasons)}

    def are_equal(name: str) -> bool:
        values = [load_with_nonfinite(network, name).float() for network in (one, other)]
        is_nan = [some.isnan() for some in values]
        numbers = [some.masked_fill(where, 0.0) for some, where in zip(values, is_nan, strict=True)]
        return torch.equal(*is_nan) and torch.equal(*numbers)

    return names(one) == names(other) and all(map(are_equal, sorted(names(one))))


def _network(source: Readable | Network, select: str | None, allow_nonfinite: bool) -> Network:
    if isinstance(source, Network):
        return source
    return read_network(source, select=select, allow_nonfinite=allow_nonfinite)


def _comparison(one: Network, other: Network, best: Standing, matching: Matching, no_merge: str) -> Comparison:
    verdict = best.verdict
    return Comparison(
        one.name,
        other.name,
        verdict.relation,
        verdict.relation is not Relation.INDEPENDENT,
        best.test.p_value if best.test.speaks_for or verdict.relation is Relation.INDEPENDENT else None,
        {1: "second from first", -1: "first from second"}.get(verdict.child),
        verdict.confidence if verdict.child else 0.0,
        no_merge + verdict.why,
        best.found,
        best.aligned,
        best.assumed,
        matching,
        left_out=(tuple(_left_out(one)), tuple(_left_out(other))),
    )


def _not_comparable(one: Network, other: Network, matching: Matching, why: str) -> Comparison:
    return Comparison(one.name, other.name, Relation.NOT_COMPARABLE, False, None, None, 0.0, why, (), (), "", matching)


def _fit_of_adapter(one: Network, other: Network) -> str | None:
    """Says how an adapter fits a network; None unless one of the two is an adapter, and the other one is none."""
    adapters = find_adapter(one), find_adapter(other)
    if adapters[0] is not None and adapters[1] is None:
        return f"the first is {how_it_fits(adapters[0], one.name, other)}"
    if adapters[1] is not None and adapters[0] is None:
        return f"the second is {how_it_fits(adapters[1], other.name, one)}"
    return None


def _kept_units(one: Network, other: Network, matching: Matching) -> KeptUnits | None:
    """Looks for units that were kept, if the sizes differ."""
    is_whole = all(pair.is_whole for pair in matching.pairs) and not (matching.only_first and matching.only_second)
    return None if is_whole else kept_units(one, other)


def _without_units(one: Network, other: Network, kept: KeptUnits) -> Comparison:
    removed = f"{kept.num_units - kept.num_kept} of {kept.num_units} units of some layers"
    why = f"{removed if kept.num_units else 'some inputs'} removed; the others are equal"
    verdict = Verdict(Relation.PRUNED, kept.child, 1.0, why)
    standing = Standing(kept.found, verdict, Test(None, 1.0), (), "")
    matching = Matching(tuple(evidence.pair for evidence in kept.found), (), ())
    return _comparison(one, other, standing, matching, "")


def _merged(one: Network, other: Network, matching: Matching, merge: Merge) -> Comparison:
    why = f"weighted mean of the parents: {merge.weights[0]:.3f} and {merge.weights[1]:.3f}"
    return Comparison(
        one.name, other.name, Relation.MERGE, True, None, "first from second", 1.0, why, (), (), "", matching, merge
    )
