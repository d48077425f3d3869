"""Occurrences of atoms on axes of stored tensors, and next to other atoms in values."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from sne.symmetry.tracing.axes import Axis, Leaf, Value, axis_size, factor_size, resolve
from sne.symmetry.tracing.scales import Scales


@dataclass(frozen=True)
class Occurrence:
    """One place of an atom on an axis of a tensor.

    Entry i of the atom occupies, for every choice j of entries of the atoms outside it, the entries
    `start + sum(j * stride) + i * inner + k` for k < inner.

    Args:
        tensor: Name in the state dict.
        dim: Axis of the tensor.
        start: First entry.
        inner: Number of adjacent entries per entry of the atom.
        outers: Number, size and stride of the atoms outside it, outermost first.
        scales: Scales of the atom at this place.
    """

    tensor: str
    dim: int
    start: int
    inner: int
    outers: tuple[tuple[int, int, int], ...]
    scales: Scales

    def starts(self, chosen: dict[int, int]) -> list[int]:
        """Returns the first entries in ascending order.

        Args:
            chosen: Maps numbers of outer atoms to one of their entries; other outer atoms contribute all entries.
        """
        ranges = [[chosen[n]] if n in chosen else range(size) for n, size, _ in self.outers]
        strides = [stride for _, _, stride in self.outers]
        places = product(*ranges)
        return sorted(self.start + sum(i * n for i, n in zip(at, strides, strict=True)) for at in places)


def occurrences(tensor: str, dim: int, axis: Axis) -> Iterator[tuple[int, Occurrence]]:
    """Yields every atom on an axis: its number and its place."""
    yield from _walk(tensor, dim, resolve(axis), 0, 1, ())


def terms(axis: Axis) -> list[tuple[int, ...]]:
    """Returns the products that an axis concatenates, with all nests expanded: numbers of their atoms."""
    found: list[tuple[int, ...]] = []
    for segment in resolve(axis):
        choices: list[list[tuple[int, ...]]] = [
            [(factor.atom.number,)] if isinstance(factor, Leaf) else terms(factor.axis) for factor in segment
        ]
        found += [tuple(number for part in parts for number in part) for parts in product(*choices)]
    return found


class Companions:
    """Decides which atoms always occur together, for instance whether channels may move differently in each head.

    Args:
        values: All values that exist while the network runs.
    """

    def __init__(self, values: Iterable[Value]) -> None:
        self._values: dict[tuple[tuple[tuple[int, ...], ...], ...], None] = {}
        for value in values:
            self._values.setdefault(tuple(tuple(terms(axis)) for axis in value.axes))
        self._by_atom: dict[int, list[tuple[tuple[tuple[int, ...], ...], ...]]] = {}
        for value in self._values:
            for number in {number for axis in value for term in axis for number in term}:
                self._by_atom.setdefault(number, []).append(value)

    def is_always_beside(self, atom: int, other: int) -> bool:
        """Whether every value that contains `atom` contains both atoms exactly once in each product."""
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
    """Yields the atoms of an axis whose entries each cover `inner` entries of the tensor's axis."""
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
                # Factors inside a nested axis repeat for all of its entries, so its parts need no numbers.
                outside = (*outside, (-1, axis_size(factor.axis), step))
        start += stride
