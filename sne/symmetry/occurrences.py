"""Where atoms stand: on the axes of tensors, and beside which others in values."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from sne.symmetry.axes import Axis, Leaf, axis_size, factor_size, resolve
from sne.symmetry.scales import Scales
from sne.symmetry.values import Value


@dataclass(frozen=True)
class Occurrence:
    """One place of an atom on an axis of a tensor.

    Entry i of the atom has, for every choice j of the atoms outside of it, the entries
    `start + sum(j * stride) + i * inner + k` for k < inner.

    Args:
        tensor: name in the state dict.
        dim: axis of the tensor.
        start: first entry.
        inner: entries side by side.
        outers: number, size and stride of the atoms outside of it, outermost first.
        scales: of the atom here.
    """

    tensor: str
    dim: int
    start: int
    inner: int
    outers: tuple[tuple[int, int, int], ...]
    scales: Scales

    def starts(self, chosen: dict[int, int]) -> list[int]:
        """First entries, rising, for given places in some outer atoms and all places in the others."""
        ranges = [[chosen[n]] if n in chosen else range(size) for n, size, _ in self.outers]
        strides = [stride for _, _, stride in self.outers]
        places = product(*ranges)
        return sorted(self.start + sum(i * n for i, n in zip(at, strides, strict=True)) for at in places)


def occurrences(tensor: str, dim: int, axis: Axis) -> Iterator[tuple[int, Occurrence]]:
    """Every atom on an axis, by number, with its place."""
    yield from _walk(tensor, dim, resolve(axis), 0, 1, ())


def terms(axis: Axis) -> list[tuple[int, ...]]:
    """The products an axis is the concatenation of, written out: numbers of their atoms."""
    found: list[tuple[int, ...]] = []
    for segment in resolve(axis):
        choices: list[list[tuple[int, ...]]] = [
            [(factor.atom.number,)] if isinstance(factor, Leaf) else terms(factor.axis) for factor in segment
        ]
        found += [tuple(number for part in parts for number in part) for parts in product(*choices)]
    return found


class Companions:
    """Which atoms always stand beside which: whether channels may move differently from head to head.

    Args:
        values: all that exist while the network runs.
    """

    def __init__(self, values: Iterable[Value]) -> None:
        self._values: dict[tuple[tuple[tuple[int, ...], ...], ...], None] = {}
        for value in values:
            self._values.setdefault(tuple(tuple(terms(axis)) for axis in value.axes))
        self._by_atom: dict[int, list[tuple[tuple[tuple[int, ...], ...], ...]]] = {}
        for value in self._values:
            for number in {number for axis in value for term in axis for number in term}:
                self._by_atom.setdefault(number, []).append(value)

    def always(self, atom: int, other: int) -> bool:
        """Whether every value with the one atom has both once: each of its entries is of one entry of the other."""
        return all(_is_beside(value, atom, other) for value in self._by_atom.get(atom, ()))


def _is_beside(value: tuple[tuple[tuple[int, ...], ...], ...], atom: int, other: int) -> bool:
    for dim, axis in enumerate(value):
        for term in axis:
            if atom not in term:
                continue
            rest = [one for i, one in enumerate(value) if i != dim]
            if term.count(atom) != 1 or any(atom in one for along in rest for one in along):
                return False
            counts = [[one.count(other) for one in along] for along in rest]
            total = term.count(other)
            for along in counts:
                if len(set(along)) != 1:
                    return False
                total += along[0]
            if total != 1:
                return False
    return True


def _walk(
    tensor: str, dim: int, axis: Axis, start: int, inner: int, outers: tuple[tuple[int, int, int], ...]
) -> Iterator[tuple[int, Occurrence]]:
    """Atoms of an axis whose entries each stand for `inner` entries of the tensor's axis."""
    for segment in axis:
        stride = inner
        strides = []
        for factor in reversed(segment):
            strides.insert(0, stride)
            stride *= factor_size(factor)
        outside = outers
        for factor, step in zip(segment, strides, strict=True):
            if isinstance(factor, Leaf):
                yield factor.atom.number, Occurrence(tensor, dim, start, step, outside, factor.scales)
                outside = (*outside, (factor.atom.number, factor.atom.size, step))
            else:
                yield from _walk(tensor, dim, factor.axis, start, step, outside)
                # What stands inside of a nested axis sees its parts as one: their places are all chosen.
                outside = (*outside, (-1, axis_size(factor.axis), step))
        start += stride
