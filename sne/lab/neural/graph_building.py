"""From a network's layers and its symmetry to its neuron graph."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import prod
from typing import Any, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.errors import CannotTakeError
from sne.lab.neural.graph import MEMBERSHIP, Edges, NeuronGraph, NodeKind, NodeSet, Vector
from sne.lab.neural.graph_batch import GraphPlan, plan_of
from sne.lab.neural.neuron_sets import MovedNeurons, Places, find_moved
from sne.networks import Layer, Network, Part
from sne.symmetry import Group, symmetry_of

Made = TypeVar("Made")
Segment = tuple[int, list[list[int]]]
"""A set of nodes, and for each of them its entries on an axis."""


def neuron_graph(network: Network, *, max_edges: int) -> NeuronGraph:
    """Makes the neuron graph of a network.

    Axes that one permutation moves share nodes: a residual stream is one set, written and read by many layers. Neurons
    inside heads have an edge to every head, which says whether it holds them. Where the symmetry says nothing, an axis
    has nodes of its own; weight and bias of one layer share those that they write.

    Args:
        network: any network.
        max_edges: the most edges it may have.

    Raises:
        CannotTakeError: it has no matrix, too many edges, or a tensor with more than two axes of neurons that move.

    Source: Kofinas et al., arXiv 2403.12143, section 2 (neurons as nodes, biases on nodes, weights on edges).
    Differs: which axes share nodes is read from the network's symmetry, so that any architecture has a graph; the
        parameters of norms stay on nodes.
    """
    return _named(network, max_edges, _build)


def graph_plan(network: Network, *, max_edges: int) -> GraphPlan:
    """The plan of a network's neuron graph, which is made once for all networks of one layout and symmetry.

    Args:
        network: any network.
        max_edges: the most edges it may have.

    Raises:
        CannotTakeError: see `neuron_graph`.
    """
    return _named(network, max_edges, _plan)


def _named(network: Network, max_edges: int, make: Callable[..., Made]) -> Made:
    """What `make` makes of a network's layout and symmetry; the network stands in its errors."""
    if network.num_weights == 0:
        raise CannotTakeError(f"{network.name}: no weights, expected at least one")
    shapes = [part.canonical_shape for _, part in network.parts()]
    num_edges = sum(num_out * num_in for num_out, num_in, _ in shapes if num_in > 1)
    if num_edges > max_edges:
        raise CannotTakeError(f"{network.name}: {num_edges} edges between neurons, expected at most {max_edges}")
    symmetry = symmetry_of(network)
    stored = tuple((name, info.shape) for name, info in network.source.infos.items())
    try:
        return make(network.layers, stored, symmetry.groups, tuple(sorted(symmetry.aliases.items())))
    except CannotTakeError as error:
        raise CannotTakeError(f"{network.name}: {error.reason}") from None


def _build(
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


@lru_cache(maxsize=4096)
def _plan(*layout: Any) -> GraphPlan:
    return plan_of(_build(*layout))


class _Builder:
    """A graph while it grows."""

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
                # A cut through neurons that trade places: the tensor is read uncut.
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
                membership = torch.zeros(len(cells), self.sizes[one], 1, dtype=torch.int64)
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
        return 0  # of neurons in tensors that no layer has

    def _neurons(self, part: Part, dim: int) -> list[Places]:
        """The neuron of each entry of an axis of a part; () for those that stay."""
        neurons = self.moved.axes.get((self.names.get(part.tensor, part.tensor), dim))
        if neurons is None:
            return [()] * part.shape[dim]
        return neurons[part.start : part.start + part.shape[dim]] if dim == part.axis else neurons

    def _is_whole(self, part: Part) -> bool:
        """Whether every set of neurons that trade places is in the part as a whole, on the axis that is cut."""
        if part.axis is None or len(part.shape) != len(self.shapes[part.tensor]):
            return True
        counts: dict[Places, int] = {}
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
        if part.axis is not None:
            everything = everything.narrow(part.axis, part.start, part.shape[part.axis])
        everything = everything.reshape(part.shape)
        rest = [dim for dim in range(len(part.shape)) if dim not in axes]
        canonical = everything.permute([*axes, *rest]).reshape([part.shape[dim] for dim in axes] + [-1])
        if not axes:
            canonical = canonical[None]
        writes = self._segments(layer, part, axes[0] if axes else None, is_out=True)
        for to_set, to_entries in writes:
            self.written[to_set] = min(self.written.get(to_set, layer.level), layer.level)
            rows = canonical[torch.tensor(to_entries)].flatten(0, 1)
            count = len(to_entries)
            if len(axes) < 2:
                entries = rows.reshape(count, -1)
                self.vectors.append(Vector(part.tensor, entries, kind, layer.level, to_set))
                continue
            for from_set, from_entries in self._segments(layer, part, axes[1], is_out=False):
                self.read[from_set] = min(self.read.get(from_set, layer.level), layer.level)
                entries = _edge_entries(rows, torch.tensor(from_entries), count)
                self.edges.append(Edges(part.tensor, entries, kind, layer.level, to_set, from_set))

    def _node_axes(self, part: Part) -> list[int]:
        """The axes of a part that count neurons: at most one that is written, then one that is read."""
        moving = [dim for dim in range(len(part.shape)) if any(self._neurons(part, dim))]
        if len(moving) > 2:
            raise CannotTakeError(f"neurons move along axes {moving} of {part.tensor}, expected at most two axes")
        named = [dim for dim in (part.out_axis, part.in_axis) if dim is not None]
        spare = [dim for dim in named if dim not in moving][: max(len(named) - len(moving), 0)]
        return sorted(moving + spare, key=lambda dim: named.index(dim) if dim in named else len(named))

    def _segments(self, layer: Layer, part: Part, dim: int | None, *, is_out: bool) -> list[Segment]:
        """The sets of nodes that stand on one axis of a part, each with the entries of its nodes."""
        neurons = [()] if dim is None else self._neurons(part, dim)
        entries: dict[int, list[list[int]]] = {}
        fixed = []
        for place, neuron in enumerate(neurons):
            if not neuron:
                fixed.append(place)
                continue
            number = self.moved.set_of[neuron]
            rows = entries.setdefault(number, [[] for _ in self.moved.members[number]])
            rows[self.moved.order_of[neuron]].append(place)
        for rows in entries.values():
            if len({len(row) for row in rows}) > 1:
                raise CannotTakeError(
                    f"axis {dim} of {part.tensor} holds some of {len(rows)} neurons that trade places more often than "
                    "others, expected all alike"
                )
        segments = list(entries.items())
        if fixed:
            owner = (layer.name, "out") if is_out else (part.tensor, part.start if part.axis == dim else 0, "in")
            number = self.fixed.setdefault((*owner, tuple(fixed)), len(self.sizes))
            if number == len(self.sizes):
                self.sizes.append(len(fixed))
            segments.append((number, [[place] for place in fixed]))
        return segments


def _edge_entries(
    rows: Int64[Tensor, "to_entries from_all kernel"], columns: Int64[Tensor, "nodes places"], count: int
) -> Int64[Tensor, "to from positions"]:
    """Entries of every pair of nodes: kernel positions, for each place that the two have on their axes."""
    both = rows[:, columns].unflatten(0, (count, -1))  # to, its places, from, its places, kernel
    return both.transpose(1, 2).flatten(2).contiguous()
