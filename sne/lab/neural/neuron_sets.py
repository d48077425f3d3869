"""Which entries of a network's axes belong to the same neuron, and which neurons may be permuted with each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sne.errors import CannotTakeError
from sne.symmetry import Group

Neuron = tuple[tuple[int, int], ...]
"""A neuron, identified by its position in each group that moves it: (number of the group, position in it).

Neurons inside attention heads have two positions. () stands for an entry that no group moves."""


@dataclass
class MovedNeurons:
    """The neurons that permutations move, in sets of neurons that may be permuted with each other.

    An axis entry is identified by its positions in all groups that contain it. Entries with equal positions belong to
    one neuron, wherever they occur: in different tensors, several times on one axis (a flattened convolution, the
    gates of a recurrent layer), or in heads that move as a whole.

    Args:
        axes: For every axis that a group moves, the neuron of each entry; () for entries that stay.
        members: The neurons of each set.
        set_of: The set of each neuron.
        order_of: The index of each neuron within its set.
        cells: For every group whose elements contain several neurons each (heads), the neurons of each element.
    """

    axes: dict[tuple[str, int], list[Neuron]] = field(default_factory=dict)
    members: list[list[Neuron]] = field(default_factory=list)
    set_of: dict[Neuron, int] = field(default_factory=dict)
    order_of: dict[Neuron, int] = field(default_factory=dict)
    cells: list[list[list[Neuron]]] = field(default_factory=list)


def find_moved(groups: Sequence[Group], shapes: Mapping[str, tuple[int, ...]]) -> MovedNeurons:
    """Reads the permutations of a symmetry as sets of neurons.

    Args:
        groups: Groups of the network's symmetry.
        shapes: Shapes of the network's tensors that belong to layers, by the names that the symmetry uses.

    Raises:
        CannotTakeError: If the symmetry does not belong to this network.
    """
    moved = MovedNeurons()
    groups = [group for group in groups if "permutation" in group.kinds and group.size > 1]
    axes: dict[tuple[str, int], list[list[tuple[int, int]]]] = {}
    for number, group in enumerate(groups):
        for axis, position, entry in _entries(group, shapes):
            entries = axes.setdefault(axis, [[] for _ in range(shapes[axis[0]][axis[1]])])
            entries[entry].append((number, position))
    moved.axes = {axis: [tuple(positions) for positions in entries] for axis, entries in axes.items()}
    _gather_sets(moved, groups)
    _gather_cells(moved)
    return moved


def _entries(group: Group, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[tuple[str, int], int, int]]:
    """Yields axis, position in the group and axis entry of everything that a group moves in the given tensors."""
    for span, positions in group.places:
        if span.tensor not in shapes:
            continue  # set aside when the network was read
        shape = shapes[span.tensor]
        if span.dim >= len(shape) or span.end(group.size) > shape[span.dim]:
            raise CannotTakeError(
                f"group {group.name} moves entries up to {span.end(group.size)} of axis {span.dim} of {span.tensor}, "
                f"which has shape {list(shape)}: the symmetry belongs to another network"
            )
        for position, entries in enumerate(positions.tolist()):
            for entry in entries:
                yield (span.tensor, span.dim), position, entry


def _gather_sets(moved: MovedNeurons, groups: list[Group]) -> None:
    """Joins neurons that some group permutes with each other (union-find)."""
    parent: dict[Neuron, Neuron] = {}

    def root(one: Neuron) -> Neuron:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for entries in moved.axes.values():
        for neuron in entries:
            if neuron:
                parent.setdefault(neuron, neuron)
    for group in groups:
        for span, positions in group.places:
            entries = moved.axes.get((span.tensor, span.dim))
            if entries is None:
                continue
            rows = positions.tolist()
            for row in rows[1:]:
                for one, other in zip(rows[0], row, strict=True):
                    first, second = root(entries[one]), root(entries[other])
                    if first != second:
                        parent[second] = first
    numbers: dict[Neuron, int] = {}
    for neuron in parent:
        number = numbers.setdefault(root(neuron), len(numbers))
        if number == len(moved.members):
            moved.members.append([])
        moved.set_of[neuron], moved.order_of[neuron] = number, len(moved.members[number])
        moved.members[number].append(neuron)


def _gather_cells(moved: MovedNeurons) -> None:
    """Finds the groups that move several neurons as one element, and the neurons of each element."""
    cells: dict[int, dict[int, list[Neuron]]] = {}
    for neuron in moved.set_of:
        if len(neuron) > 1:
            for number, position in neuron:
                cells.setdefault(number, {}).setdefault(position, []).append(neuron)
    moved.cells = [list(of.values()) for of in cells.values() if any(len(inside) > 1 for inside in of.values())]
