"""The relation of two networks, named from the evidence of their tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sne.errors import counted
from sne.provenance.blocks import Removed
from sne.provenance.direction import are_even, direction_of_training
from sne.provenance.evidence import Change, Evidence, as_percentage, child_of_zeros_alone, mean_cosine, mean_retained

SIGNIFICANT = 1e-6
"""Networks with a smaller p-value are related."""

LEAST_COSINE = 0.9
"""Networks whose matrices have a larger mean cosine are related where no test of their units is possible."""

CLOSE = 0.97
"""The same after alignment, which brings independent networks nearer to each other."""

LEAST_MATRICES = 2
"""Least number of matrices for a cosine to count: two models of one layer, trained on the same data, end up alike."""

LEAST_RETAINED = 0.9
"""Least share of the largest directions of a parent that its child has."""

LEAST_ENTRIES = 256
"""Least number of entries of all matrices together for a cosine to say something."""

LEAST_RANDOM = 8
"""Least number of entries with random values that two networks have in common, for these to say something."""

SAME_FUNCTION = 1e-4
"""Largest relative change of a copy whose units were permuted, scaled or flipped, which is due to rounding."""

LEAST_SHARE = 0.5
"""Least share of weights that need a counterpart for two networks to be compared."""

LEAST_ZEROS = 0.1
"""Least share of entries that are zero in one network alone for it to be called pruned where the others differ."""

MOST_OWN = 0.1
"""Most zeros of its own that a parent may have: as a share of the child's own zeros, and of those that it would have by
chance if both chose their zeros independently."""

LEAST_OF_PARENT = 0.05
"""Least share of zeros of a parent for both networks to be called pruned, perhaps from a third one."""

ZEROS_CONFIDENCE = 0.9
"""Confidence that the network with more zeros or fewer blocks is the child where the other entries differ, too, or
where both have zeros, so that both may have been pruned from a third network."""

OTHER_ORDER = (
    "the units agree in another order only, as in a copy whose units were permuted, and in networks that learned the "
    "units of one teacher"
)
"""What agreement in another order than the stored one may mean."""

FROM_A_THIRD = "both may have been made from a third network"
"""What explains changes of which each network has some that the other one lacks."""

OR_SIBLINGS = "the other network has many zeros, too: both may have been pruned from a third one"
"""What else zeros may mean where both networks have many."""

LEAST_KEPT = 0.3
"""Cosine of a matrix that changed beside equal ones, below which its layer was made anew."""

LEAST_EQUAL_SHARE = 0.05
"""Least share of weights in equal matrices for a partial fine-tune."""


NOTHING_RANDOM = "what agrees are constants, identities or tables, without random values"


class Relation(StrEnum):
    """What one network is to another."""

    IDENTICAL = "identical"
    SAME_FUNCTION = "same function"
    PRECISION = "precision"
    PRUNED = "pruned"
    LOW_RANK = "low-rank update"
    PARTIAL = "partial fine-tune"
    FINE_TUNE = "fine-tune"
    SAME_START = "same initialisation"
    MERGE = "merge"
    INDEPENDENT = "independent"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Verdict:
    """A relation, who is the child, and why.

    Args:
        relation: The relation.
        child: 1 if the second network was made from the first one, -1 if the first one was made from the second one, 0
            if that is not known or has no meaning.
        confidence: Probability that the direction is right; 1 where it follows from the values.
        why: One sentence.
    """

    relation: Relation
    child: int
    confidence: float
    why: str


@dataclass(frozen=True)
class Test:
    """What the test of the units says.

    Args:
        p_value: Probability of such an agreement of units for independent networks; None if no units are known.
        least: Smallest p-value that networks with these units can have.
        stored_p_value: The p-value of the units as they are stored; if it is not small, another order was needed.
    """

    p_value: float | None
    least: float
    stored_p_value: float = 0.0

    @property
    def speaks_for(self) -> bool:
        """Whether the networks are related."""
        return self.p_value is not None and self.p_value <= SIGNIFICANT

    @property
    def speaks_against(self) -> bool:
        """Whether related networks would have been recognised, and these are not."""
        return self.p_value is not None and self.p_value > SIGNIFICANT >= self.least


def name_relation(
    found: Sequence[Evidence],
    test: Test,
    all_matched: bool,
    *,
    removed: Removed | None = None,
    is_aligned: bool = False,
) -> Verdict:
    """Names the relation of two networks.

    Args:
        found: Evidence of every pair of tensors; aligned, if the units were moved.
        test: What the test of the units says.
        all_matched: Whether every tensor has a counterpart of the same size.
        removed: Blocks that one network lacks.
        is_aligned: Whether the units were moved. That makes matrices of independent networks more alike, too, so that
            the cosine has to be larger.
    """
    changed = with_zeroed_lines([one for one in found if one.change is not Change.EQUAL])
    kinds = {one.change for one in changed}
    if not changed and all_matched:
        return Verdict(Relation.IDENTICAL, 0, 0.0, "all values are equal in single precision")
    if Change.OTHER not in kinds and not share_random_values(found):
        return Verdict(Relation.INDEPENDENT, 0, 0.0, f"{NOTHING_RANDOM}: no evidence of a common origin")
    if not changed:
        if removed is not None:
            return Verdict(Relation.PRUNED, removed.child, 1.0, f"{_lacking(removed)}; all others are equal")
        names = [one.pair.first.name for one in found if not one.pair.is_whole]
        why = "the tensors that were compared are equal, but not all have a counterpart"
        if names:
            why = f"what both networks have is equal, but the sizes of {', '.join(names)} differ"
        return Verdict(Relation.PARTIAL, 0, 0.0, why)
    made_by = _made_by_one_operation(changed, kinds)
    if made_by is not None and all_matched:
        return made_by
    if made_by is not None and removed is not None and (both := _removed_and_made(removed, made_by)) is not None:
        return both
    verdict = _trained(found, test, CLOSE if is_aligned else LEAST_COSINE)
    if removed is not None and verdict.relation in (Relation.PARTIAL, Relation.FINE_TUNE):
        why = f"{_lacking(removed)}; the others were trained further: {verdict.why}"
        return Verdict(Relation.PRUNED, removed.child, ZEROS_CONFIDENCE, why)
    if removed is not None and verdict.relation is Relation.PRUNED:
        child, confidence = (verdict.child, verdict.confidence) if verdict.child == removed.child else (0, 0.0)
        return Verdict(Relation.PRUNED, child, confidence, f"{_lacking(removed)}; {verdict.why}")
    return verdict


def with_zeroed_lines(found: Sequence[Evidence]) -> list[Evidence]:
    """Counts few rows or columns with new zeros as pruned if another tensor was pruned.

    Zeros on the other side alone, such as a padding row that the child has filled, are not due to that pruning.

    Args:
        found: Evidence of every pair of tensors, or of those that changed.
    """
    children = {one.child for one in found if one.change is Change.PRUNED}
    counted_as_pruned = []
    for one in found:
        child = child_of_zeros_alone(one.pruned)
        may_be_pruned = child in children or len(children) > 1 or children == {0}
        if children and may_be_pruned and one.differs_in_zeroed_lines:
            one = replace(one, change=Change.PRUNED, child=child)
        counted_as_pruned.append(one)
    return counted_as_pruned


def share_random_values(found: Sequence[Evidence]) -> bool:
    """Whether two networks have random values in common, equal or changed by an operation without training.

    Constants, identities and tables of waves are in many networks that have nothing else in common.
    """
    return sum(_num_kept(one) for one in found if one.is_random and one.change is not Change.OTHER) >= LEAST_RANDOM


def _num_kept(one: Evidence) -> int:
    """Returns the number of entries that show what a tensor was: all, or those of the rows that are as before."""
    return round(one.entries * one.equal) if one.change is Change.LINES else one.entries


def _lacking(removed: Removed) -> str:
    """Returns the words for blocks that were removed."""
    return f"{counted(len(removed.names), 'block')} removed ({', '.join(removed.names)})"


def _removed_and_made(removed: Removed, made_by: Verdict) -> Verdict | None:
    """Returns the verdict for removed blocks beside an operation; None for low-rank updates that show no direction.

    Zeros or rounded values that only the network with all blocks has show that neither was made from the other.
    """
    why = f"{_lacking(removed)}; of the others, {made_by.why}"
    if made_by.child == removed.child and (made_by.confidence == 1 or made_by.relation is Relation.PRUNED):
        return Verdict(Relation.PRUNED, removed.child, made_by.confidence, why)
    if made_by.relation not in (Relation.PRUNED, Relation.PRECISION):
        return None
    if not why.endswith(FROM_A_THIRD):
        why += f"; {FROM_A_THIRD}"
    return Verdict(Relation.PRUNED, 0, 0.0, why)


def _made_by_one_operation(changed: Sequence[Evidence], kinds: set[Change]) -> Verdict | None:
    """Returns the verdict for changes of number types, pruning and low-rank updates; None for others."""
    child, confidence = _majority([one.child for one in changed])
    details = sorted({one.detail for one in changed if one.detail})
    if kinds == {Change.ROUNDED} and confidence == 1:
        return Verdict(Relation.PRECISION, child, 1.0, f"the values are those of the other, rounded to {details[0]}")
    if kinds and kinds <= {Change.QUANTISED, Change.ROUNDED}:
        levels = ", ".join(one for one in details if one.startswith(("int", "nf")))
        why = f"values lie on the levels of {levels}, next to those of the other" if levels else "values were rounded"
        if confidence == 1 and _is_child_of_most(changed):
            return Verdict(Relation.PRECISION, child, 1.0, why)
        return Verdict(Relation.PRECISION, 0, 0.0, f"{why}; {FROM_A_THIRD}")
    if kinds <= {Change.PRUNED, Change.ROUNDED} and Change.PRUNED in kinds:
        is_known = confidence == 1 and all(one.child for one in changed if one.change is Change.PRUNED)
        return _pruned(changed, child if is_known else 0)
    if Change.LOW_RANK in kinds and kinds <= {Change.LOW_RANK, Change.ROUNDED}:
        low = [one for one in changed if one.change is Change.LOW_RANK]
        child, confidence = _majority([one.child for one in low])
        ranks = sorted({one.detail for one in low})
        return Verdict(Relation.LOW_RANK, child, confidence, f"changes of {', '.join(ranks)} in {len(low)} matrices")
    return None


def _pruned(changed: Sequence[Evidence], child: int) -> Verdict:
    """Returns the verdict for networks that differ in zeros alone, but for rounding; no child if each has its own."""
    second, first = _mean(changed, "pruned")
    most = as_percentage(max(first, second))
    equal = "equal, but for rounding" if any(one.change is Change.ROUNDED for one in changed) else "equal"
    if not child and min(_mean([one for one in changed if one.change is Change.PRUNED], "pruned")) == 0:
        why = f"{most} of the entries of changed tensors are zero in one network alone, but other tensors were rounded "
        return Verdict(Relation.PRUNED, 0, 0.0, f"{why}in the other one: {FROM_A_THIRD}")
    if not child:
        why = f"of the entries of changed tensors, {as_percentage(first)} are zero in the first network alone and "
        why += f"{as_percentage(second)} in the second one, the others are {equal}: "
        return Verdict(Relation.PRUNED, 0, 0.0, f"{why}neither was made from the other by pruning")
    why = f"{most} of the entries of changed tensors were set to zero, the others are {equal}"
    if _mean(changed, "zeros")[child == -1] < LEAST_OF_PARENT:
        return Verdict(Relation.PRUNED, child, 1.0, why)
    return Verdict(Relation.PRUNED, child, ZEROS_CONFIDENCE, f"{why}; {OR_SIBLINGS}")


def _mean(found: Sequence[Evidence], kind: str) -> tuple[float, float]:
    """Returns the means of two shares over all entries."""
    total = max(1, sum(one.entries for one in found))
    first, second = (sum(getattr(one, kind)[number] * one.entries for one in found) / total for number in (0, 1))
    return first, second


def _is_child_of_most(changed: Sequence[Evidence]) -> bool:
    """Whether most entries of quantised tensors show the direction; small tensors may not."""
    quantised = [one for one in changed if one.change is Change.QUANTISED]
    return 2 * sum(one.entries for one in quantised if one.child) >= sum(one.entries for one in quantised)


def _majority(votes: Sequence[int]) -> tuple[int, float]:
    """Returns the direction of most votes, and their share; 0 and 0.0 if there are as many of either."""
    cast = [vote for vote in votes if vote]
    if sum(cast) == 0:
        return 0, 0.0
    child = 1 if sum(cast) > 0 else -1
    return child, cast.count(child) / len(cast)


def _trained(found: Sequence[Evidence], test: Test, least: float) -> Verdict:
    """Returns the verdict for networks that differ by training, or have nothing in common."""
    matrices = [one for one in found if one.is_random_matrix]
    total = sum(one.entries for one in matrices)
    equal = sum(_num_kept(one) for one in matrices if one.change in (Change.EQUAL, Change.LINES))
    share = equal / max(1, total)
    shown = f"mean cosine of the matrices {mean_cosine(found):.2f}"
    if test.speaks_for and test.stored_p_value > SIGNIFICANT:
        shown += f", {OTHER_ORDER}"
    if test.speaks_against:
        return Verdict(Relation.INDEPENDENT, 0, 0.0, f"{shown}, and the units do not agree")
    child, has_own = _child_by_many_zeros(matrices)
    if share >= LEAST_EQUAL_SHARE and equal >= LEAST_RANDOM:
        changed = [one for one in found if one.change is not Change.EQUAL]
        names = ", ".join(map(_name_of_change, changed))
        why = f"{share:.0%} of the entries of matrices are equal; changed: {names}"
        replaced = replaced_layers(found)
        kept = [one for one in found if one.pair.first.layer.name not in replaced]
        if replaced:
            why += f"; replaced (cosine below {LEAST_KEPT:g}): {', '.join(replaced)}"
        direction = (0, 0.0) if has_own else direction_of_training(kept)
        return Verdict(Relation.PARTIAL, *direction, why)
    if not (test.speaks_for or _is_close(matrices, least)):
        return Verdict(Relation.INDEPENDENT, 0, 0.0, f"{shown}: no evidence of a common origin")
    if child:
        why = "many entries of one network are zero, and the others differ"
        if _mean(matrices, "zeros")[child == -1] >= LEAST_OF_PARENT:
            why += f"; {OR_SIBLINGS}"
        return Verdict(Relation.PRUNED, child, ZEROS_CONFIDENCE, why)
    retained = max(mean_retained(found))
    if retained < LEAST_RETAINED:
        why = f"only {retained:.0%} of the learned directions of one network are in the other; {shown}"
        return Verdict(Relation.SAME_START, 0, 0.0, why)
    why = f"{min(retained, 1):.0%} of the learned directions are retained, {shown}"
    if has_own:
        return Verdict(Relation.FINE_TUNE, 0, 0.0, f"{why}; each network has many zeros that the other one lacks")
    if are_even(found):
        both = "neither network looks trained further than the other one, as where both were trained equally far"
        return Verdict(Relation.SAME_START, 0, 0.0, f"{both}; {why}")
    return Verdict(Relation.FINE_TUNE, *direction_of_training(found), why)


def replaced_layers(found: Sequence[Evidence]) -> list[str]:
    """Returns the layers of which one network has nothing that the other one has, such as a new head.

    They say nothing about the direction: the biases of a new layer are those of an initialiser, those of the old one
    were trained, whichever network is older.

    Args:
        found: Evidence of every pair of tensors.
    """
    matrices = [one for one in found if one.change is Change.OTHER and one.is_random_matrix]
    return list(dict.fromkeys(one.pair.first.layer.name for one in matrices if abs(one.cosine) < LEAST_KEPT))


def lone_constant(found: Sequence[Evidence]) -> list[Evidence]:
    """Returns the only matrix that is equal in both networks, in a list, if it is small; otherwise an empty list.

    It is small if it has few of the entries of all matrices, and may then be a constant of both, such as a bank of
    filters. Relatives are recognised by what else they share.

    Args:
        found: Evidence of every pair of tensors.
    """
    matrices = [one for one in found if one.is_random_matrix]
    equal = [one for one in matrices if one.change is Change.EQUAL]
    is_small = sum(one.entries for one in equal) < LEAST_EQUAL_SHARE * sum(one.entries for one in matrices)
    return equal if len(equal) == 1 and is_small else []


def _name_of_change(one: Evidence) -> str:
    """Returns the name of a tensor, with the rows or columns that changed if these are few."""
    return f"{one.pair.first.name} ({one.detail})" if one.change is Change.LINES else one.pair.first.name


def _is_close(matrices: Sequence[Evidence], least: float) -> bool:
    """Whether the cosines of matrices show a common origin by themselves, also without constants and identities."""
    both = [one for one in matrices if all(one.looks_random)]  # what is random on one side alone says nothing
    entries = sum(one.entries for one in both)
    if len(both) < LEAST_MATRICES or entries < max(LEAST_ENTRIES, LEAST_SHARE * sum(one.entries for one in matrices)):
        return False
    means = [sum(getattr(one, kind) * one.entries for one in both) / entries for kind in ("cosine", "own_cosine")]
    return min(means) >= least


def _child_by_many_zeros(matrices: Sequence[Evidence]) -> tuple[int, bool]:
    """Returns the child by zeros, and whether each network has many zeros that the other one lacks.

    The child is 1 if the second network alone has many zeros that the other one lacks, -1 if the first one alone has,
    and 0 otherwise.
    """
    alone, zeros = _mean(matrices, "pruned"), _mean(matrices, "zeros")[::-1]  # both of the second network first
    if max(alone) < LEAST_ZEROS:
        return 0, False
    child, parent = (0, 1) if alone[0] > alone[1] else (1, 0)
    by_chance = zeros[parent] * (1 - zeros[child])
    is_nested = zeros[parent] < LEAST_OF_PARENT or alone[parent] <= MOST_OWN * by_chance
    if alone[parent] > MOST_OWN * alone[child] or not is_nested:
        return 0, True
    return (1 if child == 0 else -1), False
