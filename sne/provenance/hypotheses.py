"""Alignment by the symmetries that may hold: the one that is certain, and those that have to be assumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from sne.networks import LayerType, Network
from sne.provenance.alignment import align, align_signs, likeness, move_units
from sne.provenance.assumed import assumed_symmetry
from sne.provenance.evidence import Evidence, compare_values, mean_likeness
from sne.provenance.layouts import kept_by_layout
from sne.provenance.matching import Matching
from sne.provenance.relation import SAME_FUNCTION, Relation, Test, Verdict, name_relation
from sne.provenance.states import Counterpart, at_canonical_point, renamed
from sne.provenance.units import Units
from sne.symmetry import symmetry_by_name
from sne.symmetry.canonical import CANONICAL_KINDS
from sne.symmetry.of_network import KnowsSymmetry
from sne.symmetry.symmetry import Symmetry

LEAST_FURTHER_GAIN = 0.005
"""Least further gain by which a symmetry that comes later, and assumes more, is preferred."""

LEAST_GAIN = 0.02
"""Least gain of the mean likeness by which an alignment is preferred to the stored order."""


@dataclass(frozen=True)
class Hypothesis:
    """A symmetry that two networks may have, and what was assumed for it.

    Args:
        symmetry: Symmetry of both networks.
        assumed: What names and shapes do not tell; empty if nothing was assumed.
        is_stored: Whether it comes from the source of a network, which knows all symmetries of it.
    """

    symmetry: Symmetry
    assumed: str
    is_stored: bool = False


@dataclass(frozen=True)
class Standing:
    """What is known of two networks after some alignment.

    Args:
        found: Evidence of the pairs of tensors.
        verdict: The relation.
        test: What the test of the units says. It was made before the alignment, whichever symmetry that chose: one
            that was chosen because it fits would make no valid test.
        aligned: What alignment did.
        assumed: What was assumed.
    """

    found: tuple[Evidence, ...]
    verdict: Verdict
    test: Test
    aligned: tuple[str, ...]
    assumed: str


def certain_hypothesis(one: Network, other: Network, counterpart: Counterpart) -> Hypothesis:
    """Returns the symmetry that is certain.

    A symmetry that one of the sources stores comes first, then the one that names and shapes imply. The names of both
    networks are tried, since one of them may lack a layer or have names that imply nothing.
    """
    stored = one.source.symmetry if isinstance(one.source, KnowsSymmetry) else None
    if stored is None and isinstance(other.source, KnowsSymmetry) and other.source.symmetry is not None:
        stored = renamed(other.source.symmetry, counterpart.names)
    if stored is not None:
        return Hypothesis(stored, "", is_stored=True)
    own, others = _certain_symmetry(one), _in_part(_certain_symmetry(other), counterpart.names)
    shared = _in_part(own, {name: name for name in counterpart})
    return Hypothesis(others if len(others.groups) > len(shared.groups) else own, "")


def _in_part(symmetry: Symmetry, names: Mapping[str, str]) -> Symmetry:
    """Returns a symmetry under other names; units that reach tensors without a name can only be permuted."""
    whole = renamed(symmetry, names)
    kept = {group.name for group in whole.groups}
    cut = []
    for group in symmetry.groups:
        spans = tuple(replace(span, tensor=names[span.tensor]) for span in group.spans if span.tensor in names)
        if group.name not in kept and spans and "permutation" in group.kinds:
            cut.append(replace(group, spans=spans, kinds=("permutation",)))
    return replace(whole, groups=(*whole.groups, *cut))


@kept_by_layout
def _certain_symmetry(network: Network) -> Symmetry:
    """Returns the symmetry that names and shapes imply."""
    return symmetry_by_name(network)


def closest_alignment(
    one: Network,
    matching: Matching,
    states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    certain: Hypothesis,
    raw: Standing,
    all_matched: bool,
) -> Standing:
    """Returns the standing after the alignment that brings the networks closest; the raw one if none does."""
    first, second = ({name: state[name].float() for name in states[1]} for state in states)
    aligned = [evidence for evidence in raw.found if evidence.pair.first.part.tensor in second]
    matrices = [evidence.pair.first.part.tensor for evidence in aligned if evidence.is_random_matrix]
    least = mean_likeness(aligned) + LEAST_GAIN
    best: Moved | None = None
    for hypothesis in _hypotheses(one, certain):
        kinds = {kind for group in hypothesis.symmetry.groups for kind in group.kinds}
        for is_canonical in (False, True) if kinds & set(CANONICAL_KINDS) else (False,):
            moved = _moved(one, first, second, hypothesis, is_canonical)
            closeness = _closeness(moved, matrices)
            if moved.steps and closeness > least:
                best, least = moved, closeness + LEAST_FURTHER_GAIN
            if closeness > 1 - 1e-6:
                break
        if best is not None and least > 1 - 1e-6:
            break
    if best is None:
        return raw
    found = _evidence_in_memory(matching, best.first, best.second, raw.found)
    steps = " and ".join(best.steps)
    if all_matched and max(item.relative_change for item in found) <= SAME_FUNCTION:
        verdict = Verdict(Relation.SAME_FUNCTION, 0, 0.0, f"the values are equal after alignment ({steps})")
    else:
        # the test may lack the power to recognise units that only the assumed symmetry lets move
        test = Test(None, 1.0) if best.hypothesis.assumed and not raw.test.speaks_for else raw.test
        verdict = name_relation(found, test, all_matched, is_aligned=True)
    if verdict.relation is Relation.INDEPENDENT:
        return raw
    return Standing(found, verdict, raw.test, best.steps, best.hypothesis.assumed)


@dataclass(frozen=True)
class Moved:
    """Two networks after alignment.

    Args:
        first: Tensors of the first network.
        second: Tensors of the second network.
        hypothesis: The symmetry by which they were aligned.
        steps: What was done.
    """

    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    hypothesis: Hypothesis
    steps: tuple[str, ...]


def _closeness(moved: Moved, tensors: Sequence[str]) -> float:
    """Returns the mean likeness of matrices (`Evidence.likeness`), each counted by its number of entries."""
    total, entries = 0.0, 0
    for name in tensors:
        if name in moved.second:
            size = moved.first[name].numel()
            total += size * likeness(moved.first[name], moved.second[name])
            entries += size
    return total / max(1, entries)


@kept_by_layout
def assumed_hypothesis(one: Network) -> Hypothesis:
    """Returns the symmetry of a network as far as names and shapes allow it, whether they make it certain or not."""
    text = "layers follow one another without skip connections"
    if any(layer.type is LayerType.ATTENTION_QUERY for layer, _ in one.parts()):
        text = "attentions have one head"
    return Hypothesis(assumed_symmetry(one), text)


def _hypotheses(one: Network, certain: Hypothesis) -> list[Hypothesis]:
    """Returns the symmetries to try: the one that is certain, then the one that has to be assumed."""
    found = [certain] if certain.symmetry.groups else []
    return found if certain.is_stored else [*found, assumed_hypothesis(one)]


def _moved(
    one: Network, first: Mapping[str, Tensor], second: Mapping[str, Tensor], hypothesis: Hypothesis, is_canonical: bool
) -> Moved:
    """Aligns the networks by one symmetry, with scales and signs at their canonical point if wanted."""
    symmetry = renamed(hypothesis.symmetry, {name: name for name in first})
    units = Units(symmetry, one, second)
    pair = [at_canonical_point(state, symmetry) if is_canonical else state for state in (first, second)]
    aligned = align(pair[0], pair[1], units)
    steps = []
    if is_canonical and any("scaling" in group.kinds for group in symmetry.groups):
        steps.append("scales changed")
    if aligned.is_permuted():
        steps.append("units moved")
    unsigned = dict(second)  # as stored, with units moved: which signs differ
    for group, order in aligned.moves:
        move_units(unsigned, group, order)
    if any([align_signs(first, unsigned, group, group.spans) for group in symmetry.groups]):
        steps.append("signs flipped")
    return Moved(pair[0], aligned.state, hypothesis, tuple(steps))


def _evidence_in_memory(
    matching: Matching,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    raw: Sequence[Evidence],
) -> tuple[Evidence, ...]:
    """Compares all pairs whose tensors are in memory anew; the others keep their evidence."""
    found = []
    for pair, before in zip(matching.pairs, raw, strict=True):
        part = pair.first.part
        if pair.is_whole and part.tensor in second:
            values = part.arrange(first[part.tensor]), part.arrange(second[part.tensor])
            found.append(compare_values(pair, *values))
        else:
            found.append(before)
    return tuple(found)
