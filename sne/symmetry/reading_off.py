"""The symmetry of a network, read off its worked out axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from sne.symmetry.axes import Atom, leaves, resolve
from sne.symmetry.exporting import Exported
from sne.symmetry.linear import Expression, LinearSystem
from sne.symmetry.occurrences import Companions, Occurrence, occurrences
from sne.symmetry.symmetry import Fixed, Group, Mixing, Span, Symmetry
from sne.symmetry.values import Value
from sne.symmetry.workings import Workings

UNUSED = "not read by the traced run"
TWICE = "not understood: pairs of the same neurons on one axis"
Powers = tuple[int, ...]  # one for each occurrence


@dataclass(frozen=True)
class _Place:
    """An atom with all its occurrences, and the outer atoms whose entries it has groups of its own for."""

    atom: Atom
    found: tuple[Occurrence, ...]
    apart: tuple[Atom, ...]


def read_off(exported: Exported, workings: Workings, parameters: Mapping[str, Value]) -> Symmetry:
    """Groups, mixings and what is fixed.

    Args:
        exported: the graph.
        workings: of its last pass.
        parameters: the values of the tensors that it reads.
    """
    atoms: dict[int, Atom] = {}
    found: dict[int, list[Occurrence]] = {}
    fixed: dict[Fixed, None] = {}
    used = {name for node, name in exported.tensors.items() if _has_users(exported, node)}
    for name, value in parameters.items():
        for dim, axis in enumerate(value.axes):
            if name not in used:
                fixed.setdefault(Fixed(name, dim, UNUSED))
                continue
            for leaf in leaves(resolve(axis)):
                atoms[leaf.atom.number] = leaf.atom
                if leaf.atom.fixed is not None:
                    fixed.setdefault(Fixed(name, dim, leaf.atom.fixed))
            for number, one in occurrences(name, dim, axis):
                found.setdefault(number, []).append(one)
    for number in [n for n, several in found.items() if any(n in _numbers(one) for one in several)]:
        for one in found.pop(number):
            fixed.setdefault(Fixed(one.tensor, one.dim, TWICE))
    companions = Companions(workings.values)
    places = [_Place(atoms[n], tuple(several), _apart(n, several, atoms, companions)) for n, several in found.items()]
    places.sort(key=lambda place: -max(len(one.outers) for one in place.found))
    groups, mixings = [], []
    for place in places:
        positive = _powers(workings.positive, [one.scales.positive for one in place.found])
        sign = _powers(workings.sign, [one.scales.sign for one in place.found])
        mixing = _powers(workings.mixing, [one.scales.mixing for one in place.found])
        inside = [other for other in places if place.atom in other.apart]
        positive = [p for p in positive if not _is_subsumed(workings, place, p, inside, "positive")]
        sign = [p for p in sign if not _is_subsumed(workings, place, p, inside, "sign")]
        groups += _groups(place, positive, sign)
        mixings += _mixings(place, mixing)
    tensors = {span.tensor for one in (*groups, *mixings) for span in one.spans}
    return Symmetry(
        tuple(_named(groups)),
        tuple(_named(mixings)),
        {name: shape for name, shape in exported.shapes.items() if name in tensors},
        {alias: name for alias, name in exported.aliases.items() if name in tensors},
        tuple(fixed),
    )


def _has_users(exported: Exported, placeholder: str) -> bool:
    return any(node.op == "placeholder" and node.name == placeholder and node.users for node in exported.graph.nodes)


def _apart(
    number: int, found: Sequence[Occurrence], atoms: Mapping[int, Atom], companions: Companions
) -> tuple[Atom, ...]:
    """The outer atoms that stand outside of an atom wherever it is, in tensors and in values."""
    outers = [outer for outer, _, _ in found[0].outers if outer in atoms]
    return tuple(
        atoms[outer]
        for outer in outers
        if all(_numbers(one).count(outer) == 1 for one in found) and companions.always(number, outer)
    )


def _numbers(one: Occurrence) -> list[int]:
    return [number for number, _, _ in one.outers]


def _powers(system: LinearSystem, expressions: Sequence[Expression]) -> list[Powers]:
    """Solutions as powers of each occurrence: a parameter's exponent is one unknown of its own."""
    unknowns = [next(iter(one)) for one in expressions]
    return [tuple(found.get(unknown, 0) for unknown in unknowns) for found in system.solutions(unknowns)]


def _is_subsumed(workings: Workings, place: _Place, powers: Powers, inside: Sequence[_Place], kind: str) -> bool:
    """Whether scaling whole heads is only scaling all their channels alike, which the channels' groups do."""
    mine = {(one.tensor, one.dim): power for one, power in zip(place.found, powers, strict=True) if power}
    for other in inside:
        system = workings.positive if kind == "positive" else workings.sign
        scales: list[Expression] = [getattr(one.scales, kind) for one in other.found]
        for theirs in _powers(system, scales):
            if mine == {(one.tensor, one.dim): p for one, p in zip(other.found, theirs, strict=True) if p}:
                return True
    return False


def _groups(place: _Place, positive: list[Powers], sign: list[Powers]) -> list[Group]:
    """One group for the permutation, with scale and sign where these are one each; others by themselves."""
    scaled: list[tuple[Powers, list[str]]] = []
    for powers in positive:
        odd = tuple(power % 2 for power in powers)
        kinds = ["scaling"]
        if odd in sign:
            sign = [one for one in sign if one != odd]
            kinds.append("sign")
        scaled.append((powers, kinds))
    scaled += [(powers, ["sign"]) for powers in sign]
    if place.atom.fixed is None:
        still = tuple(0 for _ in place.found)
        if len(scaled) == 1:
            scaled = [(scaled[0][0], ["permutation", *scaled[0][1]])]
        else:
            scaled.insert(0, (still, ["permutation"]))
    return [
        Group("", place.atom.size, spans, tuple(kinds))
        for powers, kinds in scaled
        for spans in _spans(place, powers, "permutation" not in kinds)
    ]


def _mixings(place: _Place, solutions: list[Powers]) -> list[Mixing]:
    return [
        Mixing("", place.atom.size, spans)
        for powers in solutions
        if all(abs(power) <= 1 for power in powers) and place.atom.size > 1
        for spans in _spans(place, powers, True)
        if all(span.inner == 1 for span in spans)
    ]


def _spans(place: _Place, powers: Powers, skips_still: bool) -> list[tuple[Span, ...]]:
    """The spans of each group: one group, or one for every entry of the atoms that it stands apart for."""
    made = []
    size = place.atom.size
    for chosen in product(*(range(atom.size) for atom in place.apart)):
        at = {atom.number: i for atom, i in zip(place.apart, chosen, strict=True)}
        runs: dict[tuple[str, int, int, int], list[int]] = {}
        for one, power in zip(place.found, powers, strict=True):
            if power or not skips_still:
                runs.setdefault((one.tensor, one.dim, one.inner, power), []).extend(one.starts(at))
        spans = []
        for (tensor, dim, inner, power), starts in runs.items():
            spans += [Span(tensor, dim, s, n, inner, power) for s, n in _in_runs(sorted(starts), size * inner)]
        made.append(tuple(spans))
    return made


def _in_runs(starts: Sequence[int], step: int) -> list[tuple[int, int]]:
    """Starts that follow each other by one step, as first start and count."""
    runs: list[tuple[int, int]] = []
    for start in starts:
        if runs and start == runs[-1][0] + runs[-1][1] * step:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((start, 1))
    return runs


def _named(several: Sequence[Group] | Sequence[Mixing]) -> list:
    """The groups, each named after the first place where its neurons sit."""
    named, taken = [], {}
    for one in several:
        first = one.spans[0]
        name = f"{first.tensor}:{first.dim}"
        name += f"[{first.start}]" if first.start else ""
        kinds = getattr(one, "kinds", ("permutation",))
        name += "" if "permutation" in kinds else f" {'+'.join(kinds)}"
        taken[name] = taken.get(name, 0) + 1
        name += f" #{taken[name]}" if taken[name] > 1 else ""
        fields = (name, one.size, one.spans)
        named.append(Group(*fields, one.kinds) if isinstance(one, Group) else Mixing(*fields))
    return named
