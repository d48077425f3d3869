"""Reads the symmetry of a network off the axes and scales of its tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from sne.symmetry.symmetry import Fixed, Group, Mixing, Span, Symmetry
from sne.symmetry.tracing.axes import Atom, Value, leaves, resolve
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.exporting import Exported
from sne.symmetry.tracing.occurrences import Companions, Occurrence, occurrences
from sne.symmetry.tracing.scales import Expression, LinearSystem

UNUSED = "not read by the traced run"
TWICE = "not understood: pairs of the same neurons on one axis"
Powers = tuple[int, ...]  # one per occurrence


@dataclass(frozen=True)
class _Place:
    """An atom with all its occurrences, and the outer atoms for each of whose entries it moves separately."""

    atom: Atom
    found: tuple[Occurrence, ...]
    apart: tuple[Atom, ...]


def read_off(exported: Exported, constraints: Constraints, parameters: Mapping[str, Value]) -> Symmetry:
    """Returns groups, mixings and fixed axes.

    Args:
        exported: Graph of the module.
        constraints: Constraints of the last pass over the graph.
        parameters: Values of the tensors of the state dict that the graph reads.
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
    companions = Companions(constraints.values)
    places = [_Place(atoms[n], tuple(several), _apart(n, several, atoms, companions)) for n, several in found.items()]
    places.sort(key=lambda place: -max(len(one.outers) for one in place.found))
    groups, mixings = [], []
    for place in places:
        positive = _powers(constraints.positive, [one.scales.positive for one in place.found])
        sign = _powers(constraints.sign, [one.scales.sign for one in place.found])
        mixing = _powers(constraints.mixing, [one.scales.mixing for one in place.found])
        inside = [other for other in places if place.atom in other.apart]
        positive = [p for p in positive if not _is_subsumed(constraints, place, p, inside, "positive")]
        sign = [p for p in sign if not _is_subsumed(constraints, place, p, inside, "sign")]
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
    """Returns the atoms that enclose an atom at all its occurrences, in tensors and in values."""
    outers = [outer for outer, _, _ in found[0].outers if outer in atoms]
    return tuple(
        atoms[outer]
        for outer in outers
        if all(_numbers(one).count(outer) == 1 for one in found) and companions.is_always_beside(number, outer)
    )


def _numbers(one: Occurrence) -> list[int]:
    return [number for number, _, _ in one.outers]


def _powers(system: LinearSystem, expressions: Sequence[Expression]) -> list[Powers]:
    """Returns solutions as one power per occurrence; the exponent of each occurrence is a separate unknown."""
    unknowns = [next(iter(one)) for one in expressions]
    return [tuple(found.get(unknown, 0) for unknown in unknowns) for found in system.solutions(unknowns)]


def _is_subsumed(constraints: Constraints, place: _Place, powers: Powers, inside: Sequence[_Place], kind: str) -> bool:
    """Whether groups inside this place already cover a solution: scaling a head equals scaling all its channels."""
    mine = {(one.tensor, one.dim): power for one, power in zip(place.found, powers, strict=True) if power}
    for other in inside:
        system = constraints.positive if kind == "positive" else constraints.sign
        scales: list[Expression] = [getattr(one.scales, kind) for one in other.found]
        for theirs in _powers(system, scales):
            if mine == {(one.tensor, one.dim): p for one, p in zip(other.found, theirs, strict=True) if p}:
                return True
    return False


def _groups(place: _Place, positive: list[Powers], sign: list[Powers]) -> list[Group]:
    """Returns one group for the permutation, which also scales if there is one solution, or else separate groups."""
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
    """Returns the spans of each group: one group, or one per entry of the atoms in `place.apart`.

    Args:
        place: Atom and its occurrences.
        powers: Exponent at each occurrence.
        skips_still: Whether to leave out occurrences of power 0.
    """
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
    """Joins starts that follow each other by one step; returns first starts and counts."""
    runs: list[tuple[int, int]] = []
    for start in starts:
        if runs and start == runs[-1][0] + runs[-1][1] * step:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((start, 1))
    return runs


def _named(several: Sequence[Group] | Sequence[Mixing]) -> list:
    """Returns the groups, each named after the first place of its neurons."""
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
