"""Which entries of a network's axes are the same neuron, and which neurons may trade places."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sne.errors import CannotTakeError
from sne.symmetry import Group

Places = tuple[tuple[int, int], ...]
"""A neuron, by its place in each group that moves it: (number of the group, place). Neurons in heads have two."""


@dataclass
class MovedNeurons:
    """The neurons that permutations move, in sets of those that may trade places.

    An axis entry is known by its places in all groups that hold it. Entries of equal places are one neuron, wherever
    they stand: in other tensors, several times on one axis (a flattened convolution, gates), or in heads that move as
    a whole.

    Args:
        axes: of every axis that something moves, the neuron of each entry; () for entries that stay.
        members: the neurons of each set.
        set_of: the set of each neuron.
        order_of: the number of each neuron in its set.
        cells: groups whose neurons hold several neurons each (heads): of every such group, the neurons in each cell.
    """

    axes: dict[tuple[str, int], list[Places]] = field(default_factory=dict)
    members: list[list[Places]] = field(default_factory=list)
    set_of: dict[Places, int] = field(default_factory=dict)
    order_of: dict[Places, int] = field(default_factory=dict)
    cells: list[list[list[Places]]] = field(default_factory=list)


def find_moved(groups: Sequence[Group], shapes: Mapping[str, tuple[int, ...]]) -> MovedNeurons:
    """Reads a symmetry's permutations as sets of neurons.

    Args:
        groups: of the network's symmetry.
        shapes: of those tensors of the network that have layers, by the names that the symmetry uses.

    Raises:
        CannotTakeError: the symmetry is not of this network.
    """
    moved = MovedNeurons()
    groups = [group for group in groups if "permutation" in group.kinds and group.size > 1]
    axes: dict[tuple[str, int], list[list[tuple[int, int]]]] = {}
    for number, group in enumerate(groups):
        for axis, neuron, entry in _entries(group, shapes):
            entries = axes.setdefault(axis, [[] for _ in range(shapes[axis[0]][axis[1]])])
            entries[entry].append((number, neuron))
    moved.axes = {axis: [tuple(places) for places in entries] for axis, entries in axes.items()}
    _gather_sets(moved, groups)
    _gather_cells(moved)
    return moved


def _entries(group: Group, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[tuple[str, int], int, int]]:
    """Axis, neuron and entry of everything that a group moves, in tensors that the network has."""
    for span, positions in group.places:
        if span.tensor not in shapes:
            continue  # set aside when the network was read
        shape = shapes[span.tensor]
        if span.dim >= len(shape) or span.end(group.size) > shape[span.dim]:
            raise CannotTakeError(
                f"group {group.name} holds entries to {span.end(group.size)} of axis {span.dim} of {span.tensor}, "
                f"which is {list(shape)}: the symmetry is of another network"
            )
        for neuron, entries in enumerate(positions.tolist()):
            for entry in entries:
                yield (span.tensor, span.dim), neuron, entry


def _gather_sets(moved: MovedNeurons, groups: list[Group]) -> None:
    """Neurons that some group puts in each other's place are of one set."""
    above: dict[Places, Places] = {}

    def top(one: Places) -> Places:
        while above[one] != one:
            above[one] = above[above[one]]
            one = above[one]
        return one

    for entries in moved.axes.values():
        for places in entries:
            if places:
                above.setdefault(places, places)
    for group in groups:
        for span, positions in group.places:
            entries = moved.axes.get((span.tensor, span.dim))
            if entries is None:
                continue
            rows = positions.tolist()
            for row in rows[1:]:
                for one, other in zip(rows[0], row, strict=True):
                    first, second = top(entries[one]), top(entries[other])
                    if first != second:
                        above[second] = first
    numbers: dict[Places, int] = {}
    for places in above:
        number = numbers.setdefault(top(places), len(numbers))
        if number == len(moved.members):
            moved.members.append([])
        moved.set_of[places], moved.order_of[places] = number, len(moved.members[number])
        moved.members[number].append(places)


def _gather_cells(moved: MovedNeurons) -> None:
    cells: dict[int, dict[int, list[Places]]] = {}
    for places in moved.set_of:
        if len(places) > 1:
            for number, neuron in places:
                cells.setdefault(number, {}).setdefault(neuron, []).append(places)
    moved.cells = [list(of.values()) for of in cells.values() if any(len(children) > 1 for children in of.values())]
