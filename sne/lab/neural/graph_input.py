"""Initial vectors of nodes and edges: scaled weights, kinds, depth, and positions of neurons that do not move."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sne.encoders.set_functions import sinusoids
from sne.encoders.token_places import depth_features
from sne.lab.neural.graph_batch import EdgeStack, GraphPlan, GraphRun, PreparedGraph
from sne.lab.neural.neuron_graph import NUM_KINDS, NodeKind

SIDE = 7
"""Number of waves along each axis of a square kernel; kernels up to this size are represented exactly."""
LINE = 16
"""Number of waves along any other row of positions."""
NUM_WAVES = SIDE * SIDE + LINE - 1
INDEX_SIZE = 32
DEPTH_SIZE = 6
LARGEST = 8.0
TINY = 1e-8


@lru_cache(maxsize=256)
def waves(positions: int) -> Float[Tensor, "positions waves"]:
    """Returns orthonormal cosine waves over kernel positions; a wave has the same column for kernels of all sizes.

    Args:
        positions: Number of kernel positions. A square number stands for a square kernel, any other for a line.

    Example:
        >>> waves(9).shape, bool((waves(9) @ waves(9).T - torch.eye(9)).abs().max() < 1e-12)
        (torch.Size([9, 64]), True)
    """
    table = torch.zeros(positions, NUM_WAVES, dtype=torch.float64)
    side = math.isqrt(positions)
    if side * side == positions:
        lines = _cosines(side, min(side, SIDE))
        for p, vertical in enumerate(lines):
            for q, horizontal in enumerate(lines):
                table[:, SIDE * p + q] = torch.outer(vertical, horizontal).flatten()
        return table
    for order, line in enumerate(_cosines(positions, min(positions, LINE))):
        table[:, order and SIDE * SIDE + order - 1] = line
    return table


def _cosines(size: int, orders: int) -> Float[Tensor, "orders size"]:
    rows = torch.cos(
        math.pi
        * torch.arange(orders, dtype=torch.float64)[:, None]
        * (torch.arange(size, dtype=torch.float64) + 0.5)
        / size
    )
    return rows / rows.norm(dim=1, keepdim=True)


class ScaledWeights(nn.Module):
    """Maps the weights of one edge or node, scaled by kind, to a vector.

    A weight enters twice: standardised and bounded, and as a signed logarithm, because the networks of a zoo differ
    in scale by orders of magnitude.

    Args:
        dim: Length of the vector.
    """

    mean: Tensor
    spread: Tensor
    size: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(NUM_KINDS))
        self.register_buffer("spread", torch.ones(NUM_KINDS))
        self.register_buffer("size", torch.ones(NUM_KINDS))
        self.table = nn.Parameter(2 * torch.randn(2, NUM_WAVES, dim))
        self.gain = nn.Embedding(NUM_KINDS, dim)
        self.shift = nn.Embedding(NUM_KINDS, dim)
        nn.init.zeros_(self.gain.weight)
        nn.init.normal_(self.shift.weight, std=0.3)

    def fit_scale(self, kind: int, means: Sequence[float], squares: Sequence[float]) -> None:
        """Sets the scale of one kind from the training networks' tensors of that kind.

        The scale uses medians over tensors, so that a few networks with exploded weights do not change it.

        Args:
            kind: Number of layer type and role.
            means: Mean of the entries of each tensor.
            squares: Mean square of the entries of each tensor.
        """
        mean, square = (torch.tensor(one, dtype=torch.float64) for one in (means, squares))
        centre = mean.median()
        spread = float((square - 2 * centre * mean + centre.square()).clamp_min(0).sqrt().median())
        self.mean[kind] = float(centre)
        self.spread[kind] = spread if spread > TINY else 1.0
        self.size[kind] = float(square.sqrt().clamp_min(TINY).log().mean().exp())

    def forward(
        self, values: Float[Tensor, "networks *edges positions"], kinds: Int64[Tensor, " *kinds"]
    ) -> Float[Tensor, "networks *edges dim"]:
        """Scales weights and maps them to vectors.

        Args:
            values: Weights; the last axis is kernel positions.
            kinds: Kinds of the values; its axes are those between networks and positions, or broadcast to them.
        """
        kinds = kinds[..., None]
        scaled = (values - self.mean[kinds]) / self.spread[kinds]
        scaled = scaled / (1 + (scaled / LARGEST).square()).sqrt()
        logs = torch.sign(values) * (values.abs() * (30.0 / self.size[kinds])).log1p() / 4
        basis = waves(values.shape[-1]).to(values)
        mapped = scaled @ (basis @ self.table[0]) + logs @ (basis @ self.table[1])
        kinds = kinds[..., 0]
        return mapped * (1 + self.gain(kinds)) + self.shift(kinds)


class GraphInput(nn.Module):
    """Computes the initial vectors of the nodes and edges of a graph.

    Args:
        dim: Length of a node's vector.
        edge_dim: Length of an edge's vector.
    """

    def __init__(self, dim: int, edge_dim: int) -> None:
        super().__init__()
        self.edge_weights = ScaledWeights(edge_dim)
        self.edge_place = nn.Linear(DEPTH_SIZE + 3, edge_dim)
        self.node_weights = ScaledWeights(dim)
        self.node_place = nn.Linear(DEPTH_SIZE, dim)
        self.from_vectors = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim))
        self.set_kind = nn.Embedding(len(NodeKind), dim)
        self.set_place = nn.Linear(DEPTH_SIZE + 1, dim)
        self.index = nn.ModuleList(nn.Linear(INDEX_SIZE + NUM_WAVES, dim) for _ in range(2))
        nn.init.normal_(self.set_kind.weight, std=0.3)

    def fit_scale(self, prepared: Sequence[PreparedGraph]) -> None:
        """Sets the scale of every kind of weights from the training networks."""
        edges: dict[int, list[tuple[float, float]]] = {}
        vectors: dict[int, list[tuple[float, float]]] = {}
        for item in prepared:
            for stack in item.plan.edges:
                blocks = item.values[stack.start : stack.start + stack.num_values].view(len(stack.kinds), -1)
                for kind, block in zip(stack.kinds.tolist(), blocks, strict=True):
                    edges.setdefault(kind, []).append(_moments(block))
            for stack in item.plan.vectors:
                values = item.values[stack.start :][: len(stack.nodes) * stack.positions].view(-1, stack.positions)
                for kind in stack.kinds.unique().tolist():
                    vectors.setdefault(kind, []).append(_moments(values[stack.kinds == kind]))
        for weights, found in ((self.edge_weights, edges), (self.node_weights, vectors)):
            for kind, moments in found.items():
                means, squares = zip(*moments, strict=True)
                weights.fit_scale(kind, means, squares)

    def forward(self, run: GraphRun) -> tuple[Float[Tensor, "networks nodes dim"], list[Tensor]]:
        """Returns the nodes, and the edges of each stack: [networks, blocks, edge_dim, to, from]."""
        plan, values = run.plan, run.values
        edges = [self._edges(plan, stack, values) for stack in plan.edges]
        nodes = self._without_weights(plan).to(values).expand(len(values), -1, -1)
        total, count = torch.zeros_like(nodes), values.new_zeros(nodes.shape[1])
        for stack in plan.vectors:
            own = values[:, stack.start :][:, : len(stack.nodes) * stack.positions].unflatten(1, (-1, stack.positions))
            place = self.node_place(_depth(stack.levels, plan).to(values))
            vectors = self.from_vectors(self.node_weights(own, stack.kinds) + place)
            total = total.index_add(1, stack.nodes, vectors.to(total.dtype))
            count = count.index_add(0, stack.nodes, torch.ones_like(stack.nodes).to(values))
        return nodes + total / count.clamp_min(1).sqrt()[:, None], edges

    def _edges(self, plan: GraphPlan, stack: EdgeStack, values: Tensor) -> Tensor:
        blocks, num_to, num_from, positions = stack.shape
        own = values[:, stack.start : stack.start + stack.num_values].unflatten(1, stack.shape)
        sizes = (
            torch.tensor([num_to, num_from, positions], dtype=torch.float32, device=values.device)
            .log()
            .expand(blocks, 3)
        )
        place = self.edge_place(torch.cat([_depth(stack.levels, plan), sizes], 1).to(values))
        edges = self.edge_weights(own, stack.kinds[:, None, None]) + place[:, None, None]
        return edges.movedim(-1, 2).contiguous()

    def _without_weights(self, plan: GraphPlan) -> Float[Tensor, "nodes dim"]:
        """Returns what is known about nodes without their weights."""
        dtype = self.set_place.weight.dtype
        depth = torch.cat([_depth(plan.set_levels, plan), plan.set_sizes.float().log()[:, None]], 1)
        sets = self.set_kind(plan.set_kinds) + self.set_place(depth.to(dtype))
        pieces = []
        for size, kind, one in zip(plan.set_sizes.tolist(), plan.set_kinds.tolist(), sets, strict=True):
            piece = one.expand(size, -1)
            if kind in (NodeKind.INPUT, NodeKind.OUTPUT):
                index = torch.arange(size, device=one.device)
                place = waves(size).to(one) * math.sqrt(size)
                piece = piece + self.index[kind == NodeKind.OUTPUT](
                    torch.cat([sinusoids(index, INDEX_SIZE).to(dtype), place], 1)
                )
            pieces.append(piece)
        return torch.cat(pieces)


def _moments(values: Tensor) -> tuple[float, float]:
    """Returns mean and mean square."""
    values = values.double()
    return float(values.mean()), float(values.square().mean())


def _depth(levels: Int64[Tensor, " parts"], plan: GraphPlan) -> Float[Tensor, "parts 6"]:
    return depth_features(levels, plan.num_levels - 1 - levels)
