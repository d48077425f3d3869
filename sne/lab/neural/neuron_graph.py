"""The neuron graph of a network: neurons are nodes, matrices hold edges, vectors hold values of nodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from math import prod

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.errors import CannotTakeError
from sne.lab.neural.neuron_sets import MovedNeurons, Neuron, find_moved
from sne.networks import Layer, Network, Part
from sne.symmetry import Group, symmetry_of

MEMBERSHIP = len(LAYER_TYPES) * len(ROLES)
"""Kind of the edges between a head and the neurons in it. The kind of a weight's edges is its layer type and role."""
NUM_KINDS = MEMBERSHIP + 1

Segment = tuple[int, list[list[int]]]
"""A set of nodes, and for each of its nodes the entries of an axis that belong to it."""


class NodeKind(IntEnum):
    """Kind of the neurons in a set."""

    MOVED = 0
    INPUT = 1
    OUTPUT = 2
    HEAD = 3


@dataclass(frozen=True, eq=False)
class NodeSet:
    """Neurons that are treated alike: those that may be permuted, or those of an axis that no symmetry moves.

    Args:
        size: Number of neurons.
        kind: Moved by permutations; fixed and only read (`INPUT`), or fixed and written (`OUTPUT`); or a head.
        level: Level of the first layer that writes them, or of the first that reads them if none writes them.
    """

    size: int
    kind: NodeKind
    level: int


@dataclass(frozen=True, eq=False)
class Edges:
    """All edges that one tensor, or a piece of it, contributes from one set of nodes to another.

    Args:
        tensor: Name of the tensor with the values; empty for membership in heads, whose values are 1 and 0.
        entries: Indices into the flat stored tensor; the values themselves for membership.
        kind: Number of layer type and role.
        level: Level of the layer.
        to_set: Set of nodes that is written.
        from_set: Set of nodes that is read.
    """

    tensor: str
    entries: Int32[Tensor, "to from positions"]
    kind: int
    level: int
    to_set: int
    from_set: int


@dataclass(frozen=True, eq=False)
class Vector:
    """The values that one tensor, or a piece of it, contributes to the nodes of a set.

    Args:
        tensor: Name of the tensor with the values.
        entries: Indices into the flat stored tensor.
        kind: Number of layer type and role.
        level: Level of the layer.
        node_set: Set of the nodes.
    """

    tensor: str
    entries: Int32[Tensor, "nodes positions"]
    kind: int
    level: int
    node_set: int


@dataclass(frozen=True, eq=False)
class NeuronGraph:
    """The graph that all networks of one layout and symmetry share, without weights."""

    sets: tuple[NodeSet, ...]
    edges: tuple[Edges, ...]
    vectors: tuple[Vector, ...]
    num_levels: int


def neuron_graph(network: Network, *, max_edges: int) -> NeuronGraph:
    """Builds the neuron graph of a network, once for all networks of its layout and symmetry.

    Axes that are moved by one permutation share their nodes: a residual stream is one set of nodes, written and read
    by many layers. Neurons inside attention heads have an edge to every head, whose value says whether they belong to
    it. An axis that no symmetry moves has nodes of its own; the weight and the bias of a layer share the nodes that
    they write.

    Args:
        network: Network of any architecture.
        max_edges: Maximum number of edges.

    Raises:
        CannotTakeError: If the network has no matrix, too many edges, or a tensor with more than two moved axes.

    Source: Kofinas et al., arXiv 2403.12143, section 2 (neurons as nodes, biases on nodes, weights on edges).
    Differs: the network's symmetry decides which axes share nodes, so that every architecture has a graph; the
        parameters of norms are values of nodes.
    """
    if network.num_weights == 0:
        raise CannotTakeError(f"{network.name}: no weights, expected at least one")
    shapes = [part.arranged_shape for _, part in network.parts()]
    num_edges = sum(num_out * num_in for num_out, num_in, _ in shapes if num_in > 1)
    if num_edges > max_edges:
        raise CannotTakeError(f"{network.name}: {num_edges} edges between neurons, expected at most {max_edges}")
    symmetry = symmetry_of(network)
    stored = tuple((name, info.shape) for name, info in network.source.infos.items())
    try:
        return _graph_of_layout(network.layers, stored, symmetry.groups, tuple(sorted(symmetry.aliases.items())))
    except CannotTakeError as error:
        raise CannotTakeError(f"{network.name}: {error.reason}") from None


@lru_cache(maxsize=4096)
def _graph_of_layout(
    layers: tuple[Layer, ...],
    stored: tuple[tuple[str, tuple[int, ...]], ...],
    groups: tuple[Group, ...],
    aliases: tuple[tuple[str, str], ...],
) -> NeuronGraph:
    names, shapes = dict(aliases), dict(stored)
    used = {part.tensor for layer in layers for part in layer.parts if part.num_entries}
    moved = find_moved(groups, {names.get(name, name): shapes[name] for name in used})
    builder = _Builder(moved, shapes, names)
    builder.add_layers(layers)
    if not builder.edges:
        raise CannotTakeError("no matrix, expected at least one tensor with inputs and outputs")
    builder.add_heads()
    return builder.finish()


class _Builder:
    """Collects the sets of nodes, the edges and the vectors of a graph."""

    def __init__(self, moved: MovedNeurons, shapes: Mapping[str, tuple[int, ...]], names: Mapping[str, str]) -> None:
        self.moved, self.shapes, self.names = moved, shapes, names
        self.sizes = [len(members) for members in moved.members]
        self.fixed: dict[tuple[object, ...], int] = {}
        self.written: dict[int, int] = {}
        self.read: dict[int, int] = {}
        self.heads: dict[int, int] = {}
        self.edges: list[Edges] = []
        self.vectors: list[Vector] = []
        self.num_levels = 0

    def add_layers(self, layers: tuple[Layer, ...]) -> None:
        pieces: dict[str, list[tuple[Layer, Part]]] = {}
        for layer in layers:
            self.num_levels = max(self.num_levels, layer.level + 1)
            for part in layer.parts:
                if part.num_entries:
                    pieces.setdefault(part.tensor, []).append((layer, part))
        for tensor, several in pieces.items():
            if not all(self._is_whole(part) for _, part in several):
                # The parts cut through neurons that may be permuted, so the tensor is read in one piece.
                layer, part = several[0]
                shape = self.shapes[tensor]
                several = [(layer, Part(tensor, part.role, shape, part.out_axis, part.in_axis))]
            for layer, part in several:
                self._add(layer, part)

    def add_heads(self) -> None:
        for cells in self.moved.cells:
            head = len(self.sizes)
            self.sizes.append(len(cells))
            sets = sorted({self.moved.set_of[neuron] for cell in cells for neuron in cell})
            level = min(self._level(one) for one in sets)
            self.heads[head] = level
            for one in sets:
                membership = torch.zeros(len(cells), self.sizes[one], 1, dtype=torch.int32)
                for number, cell in enumerate(cells):
                    inside = [self.moved.order_of[neuron] for neuron in cell if self.moved.set_of[neuron] == one]
                    membership[number, inside] = 1
                self.edges.append(Edges("", membership, MEMBERSHIP, level, head, one))

    def finish(self) -> NeuronGraph:
        sets = []
        for number, size in enumerate(self.sizes):
            kind = NodeKind.MOVED
            if number in self.heads:
                kind = NodeKind.HEAD
            elif number >= len(self.moved.members):
                kind = NodeKind.OUTPUT if number in self.written else NodeKind.INPUT
            sets.append(NodeSet(size, kind, self._level(number)))
        return NeuronGraph(tuple(sets), tuple(self.edges), tuple(self.vectors), self.num_levels)

    def _level(self, number: int) -> int:
        for levels in (self.written, self.read, self.heads):
            if number in levels:
                return levels[number]
        return 0  # neurons of tensors that belong to no layer

    def _neurons(self, part: Part, dim: int) -> list[Neuron]:
        """Returns the neuron of each entry of an axis of a part; () for entries that stay."""
        neurons = self.moved.axes.get((self.names.get(part.tensor, part.tensor), dim))
        if neurons is None:
            return [()] * part.shape[dim]
        return [neurons[index] for index in part.indices] if dim == part.axis else neurons

    def _is_whole(self, part: Part) -> bool:
        """Returns whether the part contains every set of permutable neurons completely, on the axis that is cut."""
        if part.axis is None or len(part.shape) != len(self.shapes[part.tensor]):
            return True
        counts: dict[Neuron, int] = {}
        for neuron in self._neurons(part, part.axis):
            counts[neuron] = counts.get(neuron, 0) + 1
        return all(
            len({counts.get(other, 0) for other in self.moved.members[self.moved.set_of[neuron]]}) == 1
            for neuron in counts
            if neuron
        )

    def _add(self, layer: Layer, part: Part) -> None:
        kind = LAYER_TYPES[layer.type] * len(ROLES) + ROLES[part.role]
        axes = self._node_axes(part)
        everything = torch.arange(prod(self.shapes[part.tensor])).view(self.shapes[part.tensor])
        everything = part.select(everything)
        rest = [dim for dim in range(len(part.shape)) if dim not in axes]
        arranged = everything.permute([*axes, *rest]).reshape([part.shape[dim] for dim in axes] + [-1])
        if not axes:
            arranged = arranged[None]
        writes = self._segments(layer, part, axes[0] if axes else None, is_out=True)
        for to_set, to_entries in writes:
            self.written[to_set] = min(self.written.get(to_set, layer.level), layer.level)
            rows = arranged[torch.tensor(to_entries)].flatten(0, 1)
            count = len(to_entries)
            if len(axes) < 2:
                entries = rows.reshape(count, -1).int()
                self.vectors.append(Vector(part.tensor, entries, kind, layer.level, to_set))
                continue
            for from_set, from_entries in self._segments(layer, part, axes[1], is_out=False):
                self.read[from_set] = min(self.read.get(from_set, layer.level), layer.level)
                entries = _edge_entries(rows, torch.tensor(from_entries), count)
                self.edges.append(Edges(part.tensor, entries, kind, layer.level, to_set, from_set))

    def _node_axes(self, part: Part) -> list[int]:
        """Returns the axes of a part that count neurons: at most one that is written, then one that is read."""
        moving = [dim for dim in range(len(part.shape)) if any(self._neurons(part, dim))]
        if len(moving) > 2:
            raise CannotTakeError(f"neurons move along axes {moving} of {part.tensor}, expected at most two axes")
        named = [dim for dim in (part.out_axis, part.in_axis) if dim is not None]
        spare = [dim for dim in named if dim not in moving][: max(len(named) - len(moving), 0)]
        return sorted(moving + spare, key=lambda dim: named.index(dim) if dim in named else len(named))

    def _segments(self, layer: Layer, part: Part, dim: int | None, *, is_out: bool) -> list[Segment]:
        """Returns the sets of nodes on one axis of a part, each with the axis entries of its nodes."""
        neurons = [()] if dim is None else self._neurons(part, dim)
        entries: dict[int, list[list[int]]] = {}
        fixed = []
        for entry, neuron in enumerate(neurons):
            if not neuron:
                fixed.append(entry)
                continue
            number = self.moved.set_of[neuron]
            rows = entries.setdefault(number, [[] for _ in self.moved.members[number]])
            rows[self.moved.order_of[neuron]].append(entry)
        for rows in entries.values():
            if len({len(row) for row in rows}) > 1:
                raise CannotTakeError(
                    f"axis {dim} of {part.tensor} contains some of {len(rows)} permutable neurons more often than "
                    "others, expected equal numbers"
                )
        segments = list(entries.items())
        if fixed:
            owner = (layer.name, "out") if is_out else (part.tensor, part.start if part.axis == dim else 0, "in")
            number = self.fixed.setdefault((*owner, tuple(fixed)), len(self.sizes))
            if number == len(self.sizes):
                self.sizes.append(len(fixed))
            segments.append((number, [[entry] for entry in fixed]))
        return segments


def _edge_entries(
    rows: Int64[Tensor, "to_entries from_all kernel"], columns: Int64[Tensor, "nodes entries"], count: int
) -> Int32[Tensor, "to from positions"]:
    """Returns the tensor entries between each pair of nodes: kernel positions, for each axis entry of the two."""
    both = rows[:, columns].unflatten(0, (count, -1))  # to, its entries, from, its entries, kernel
    return both.transpose(1, 2).flatten(2).int().contiguous()
