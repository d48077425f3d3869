"""Neuron graphs with weights: arranged as dense stacks of edges, read from networks and joined into batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from sne.lab.neural.neuron_graph import MEMBERSHIP, Edges, NeuronGraph, Vector
from sne.networks import Network

MAX_EDGES_AT_ONCE = 1 << 17
"""Networks of one plan are processed together as long as they have at most this many edges."""
LARGEST = 1e9
"""Weights are clipped at this size, so that powers of them stay within single precision."""


@dataclass(frozen=True, eq=False)
class EdgeStack:
    """Blocks of edges of equal shape, as one dense tensor.

    Args:
        start: Index of the first value in the flat vector of a network.
        shape: Number of blocks, of nodes written, of nodes read, and of kernel positions.
        to_nodes: Nodes that the blocks write, block after block.
        from_nodes: Nodes that the blocks read, block after block.
        kinds: Kind of each block.
        levels: Level of each block.
    """

    start: int
    shape: tuple[int, int, int, int]
    to_nodes: Int64[Tensor, " blocks_to"]
    from_nodes: Int64[Tensor, " blocks_from"]
    kinds: Int64[Tensor, " blocks"]
    levels: Int64[Tensor, " blocks"]

    @property
    def num_values(self) -> int:
        """Number of values."""
        blocks, num_to, num_from, positions = self.shape
        return blocks * num_to * num_from * positions


@dataclass(frozen=True, eq=False)
class VectorStack:
    """Values of nodes, from all vectors with an equal number of positions per node.

    Args:
        start: Index of the first value in the flat vector of a network.
        positions: Number of values per entry.
        nodes: Node of each entry.
        kinds: Kind of each entry.
        levels: Level of each entry.
    """

    start: int
    positions: int
    nodes: Int64[Tensor, " entries"]
    kinds: Int64[Tensor, " entries"]
    levels: Int64[Tensor, " entries"]


@dataclass(frozen=True, eq=False)
class GraphPlan:
    """How the values of a graph are arranged in one flat vector; shared by all networks of a layout.

    Args:
        edges: Stacks of edges.
        vectors: Stacks of values of nodes.
        set_sizes: Size of each set of nodes; the nodes of a set follow each other.
        set_kinds: Number of each set's `NodeKind`.
        set_levels: Level of each set.
        num_levels: Number of levels of the network.
        num_values: Length of the flat vector.
        sources: For each piece of the flat vector, a tensor name and entries of that tensor; if the name is empty,
            the values themselves.
    """

    edges: tuple[EdgeStack, ...]
    vectors: tuple[VectorStack, ...]
    set_sizes: Int64[Tensor, " sets"]
    set_kinds: Int64[Tensor, " sets"]
    set_levels: Int64[Tensor, " sets"]
    num_levels: int
    num_values: int
    sources: tuple[tuple[str, Int32[Tensor, " _"]], ...]

    @property
    def num_edges(self) -> int:
        """Number of edges of the graph; a kernel is one edge."""
        return sum(stack.num_values // stack.shape[3] for stack in self.edges)

    def read(self, network: Network) -> Float[Tensor, " values"]:
        """Reads the values of a network with this plan."""
        loaded: dict[str, Tensor] = {}
        pieces = []
        for tensor, entries in self.sources:
            if not tensor:
                pieces.append(entries.to(torch.float32))
                continue
            if tensor not in loaded:
                loaded[tensor] = network.source.load(tensor).to(torch.float32).flatten().clamp(-LARGEST, LARGEST)
            pieces.append(loaded[tensor][entries.long()])
        return torch.cat(pieces)


@dataclass(frozen=True, eq=False)
class PreparedGraph:
    """One network: its plan, and its values in the order of the plan."""

    plan: GraphPlan
    values: Float[Tensor, " values"]


@dataclass(frozen=True)
class GraphRun:
    """Networks of one plan that are processed together."""

    plan: GraphPlan
    values: Float[Tensor, "networks values"]


@dataclass(frozen=True)
class GraphBatch:
    """A batch of networks, grouped into runs of one plan each.

    Args:
        runs: All networks, in the order of the runs.
        order: Index of each network of the batch among the networks of the runs.
    """

    runs: tuple[GraphRun, ...]
    order: Int64[Tensor, " networks"]

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return len(self.order)

    def to(self, device: Any) -> "GraphBatch":
        """Returns the same batch on another device."""
        device = torch.device(device)
        runs = tuple(GraphRun(plan_on(run.plan, device), run.values.to(device)) for run in self.runs)
        return GraphBatch(runs, self.order.to(device))


def join_graphs(prepared: Sequence[PreparedGraph]) -> GraphBatch:
    """Joins networks into a batch, those of one plan side by side."""
    rows_of: dict[GraphPlan, list[int]] = {}
    for row, item in enumerate(prepared):
        rows_of.setdefault(item.plan, []).append(row)
    runs, order = [], []
    for plan, rows in rows_of.items():
        size = max(1, MAX_EDGES_AT_ONCE // max(plan.num_edges, 1))
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            runs.append(GraphRun(plan, torch.stack([prepared[row].values for row in some])))
            order += some
    return GraphBatch(tuple(runs), torch.tensor(order, dtype=torch.int64).argsort())


@lru_cache(maxsize=4096)
def plan_of(graph: NeuronGraph) -> GraphPlan:
    """Arranges the values of a graph: blocks of edges of one shape share a stack, vectors of one width another."""
    sizes = torch.tensor([one.size for one in graph.sets])
    starts = [0, *sizes.cumsum(0).tolist()]
    by_shape: dict[tuple[int, ...], list[Edges]] = {}
    for block in graph.edges:
        by_shape.setdefault(tuple(block.entries.shape), []).append(block)
    by_positions: dict[int, list[Vector]] = {}
    for vector in graph.vectors:
        by_positions.setdefault(vector.entries.shape[1], []).append(vector)
    start, sources, edges, vectors = 0, [], [], []
    for shape, blocks in by_shape.items():
        num_to, num_from, positions = shape
        stack = EdgeStack(
            start,
            (len(blocks), num_to, num_from, positions),
            _nodes([starts[one.to_set] for one in blocks], num_to),
            _nodes([starts[one.from_set] for one in blocks], num_from),
            torch.tensor([one.kind for one in blocks]),
            torch.tensor([one.level for one in blocks]),
        )
        edges.append(stack)
        start += stack.num_values
        sources += [("" if one.kind == MEMBERSHIP else one.tensor, one.entries.flatten()) for one in blocks]
    for positions, several in by_positions.items():
        counts = torch.tensor([len(one.entries) for one in several])
        vectors.append(
            VectorStack(
                start,
                positions,
                torch.cat([_nodes([starts[one.node_set]], len(one.entries)) for one in several]),
                torch.tensor([one.kind for one in several]).repeat_interleave(counts),
                torch.tensor([one.level for one in several]).repeat_interleave(counts),
            )
        )
        start += int(counts.sum()) * positions
        sources += [(one.tensor, one.entries.flatten()) for one in several]
    return GraphPlan(
        tuple(edges),
        tuple(vectors),
        sizes,
        torch.tensor([int(one.kind) for one in graph.sets]),
        torch.tensor([one.level for one in graph.sets]),
        graph.num_levels,
        start,
        tuple(sources),
    )


def _nodes(starts: list[int], count: int) -> Int64[Tensor, " nodes"]:
    return (torch.tensor(starts)[:, None] + torch.arange(count)).flatten()


@lru_cache(maxsize=4096)
def plan_on(plan: GraphPlan, device: torch.device) -> GraphPlan:
    """Returns the same plan for values on another device."""
    if plan.set_sizes.device == device:
        return plan

    def moved(one: Any) -> Any:
        return replace(one, **{k: v.to(device) for k, v in vars(one).items() if isinstance(v, Tensor)})

    return replace(
        moved(plan), edges=tuple(moved(one) for one in plan.edges), vectors=tuple(moved(one) for one in plan.vectors)
    )
