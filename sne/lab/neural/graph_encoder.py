"""What the two encoders that read neuron graphs share: input, a stack of layers, and the readout."""

import abc
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sne.encoders import NetworkEncoder
from sne.errors import CannotTakeError
from sne.lab.neural.graph_batch import (
    GraphBatch,
    GraphPlan,
    GraphRun,
    PreparedGraph,
    join_graphs,
)
from sne.lab.neural.graph_building import graph_plan
from sne.lab.neural.graph_input import GraphInput
from sne.networks import Network

MAX_EDGES = 300_000
"""The most edges a network may have."""
SMALLEST_VARIANCE = 1e-4
"""Keeps the gradient of a spread finite where the nodes of a set are equal, or one."""


class GraphLayer(nn.Module, abc.ABC):
    """Lets the nodes of a graph read their neighbours, and the edges their nodes."""

    @abc.abstractmethod
    def forward(
        self, nodes: Float[Tensor, "networks nodes dim"], edges: list[Tensor], plan: GraphPlan
    ) -> tuple[Float[Tensor, "networks nodes dim"], list[Tensor]]:
        """New nodes and edges; equivariant to the order of the nodes in each set.

        Args:
            nodes: of every network.
            edges: for each stack of the plan: [networks, blocks, edge_dim, to, from].
            plan: that all networks share.
        """


class SetReadout(nn.Module):
    """From nodes to one vector a network: mean and spread of every set of nodes, pooled by learned queries.

    Args:
        dim: width of a node, and length of the vector.
        seeds: number of queries.
        dropout: share of entries dropped while training.
    """

    def __init__(self, dim: int, *, seeds: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.SiLU(), nn.Dropout(dropout))
        self.keys = nn.Linear(2 * dim, seeds)
        self.values = nn.Linear(2 * dim, dim)
        self.out = nn.Sequential(nn.Linear(seeds * dim, dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(dim, dim))

    def forward(self, nodes: Float[Tensor, "networks nodes dim"], plan: GraphPlan) -> Float[Tensor, "networks dim"]:
        """Pools each set, then the sets."""
        sets = self.inner(nodes).split(plan.set_sizes.tolist(), 1)
        spreads = [(one.var(1, unbiased=False) + SMALLEST_VARIANCE).sqrt() for one in sets]
        tokens = torch.cat([torch.stack([one.mean(1) for one in sets], 1), torch.stack(spreads, 1)], -1)
        shares = self.keys(tokens).softmax(1)
        return self.out(torch.einsum("bts,btd->bsd", shares, self.values(tokens)).flatten(1))


class GraphEncoder(NetworkEncoder):
    """Reads networks as neuron graphs. Exactly invariant to the permutations that a network's symmetry knows.

    Args:
        dim: width of a node, and length of the embedding.
        edge_dim: width of an edge.
        layers: what the graph passes through.
        dropout: share of entries dropped in the readout while training.
    """

    rounding = 1e-4
    kept_edges = 1 << 18
    """Batches with more edges compute their activations again in the backward pass in place of keeping them."""

    def __init__(self, *, dim: int, edge_dim: int, layers: Sequence[GraphLayer], dropout: float) -> None:
        super().__init__()
        self.dim = dim
        self.inputs = GraphInput(dim, edge_dim)
        self.layers = nn.ModuleList(layers)
        self.readout = SetReadout(dim, dropout=dropout)

    def prepare(self, networks: Sequence[Network]) -> list[PreparedGraph]:
        """Reads the weights of every network in the order of its graph.

        Raises:
            CannotTakeError: a network that has no neuron graph, or too large a one; see `neuron_graph`.
        """
        plans = [graph_plan(network, max_edges=MAX_EDGES) for network in networks]
        return [PreparedGraph(plan, plan.read(network)) for plan, network in zip(plans, networks, strict=True)]

    def fit_scale(self, prepared: Sequence[PreparedGraph]) -> None:
        """Takes the scale of every kind of weights."""
        self.inputs.fit(prepared)

    def collate(self, prepared: Sequence[PreparedGraph]) -> GraphBatch:
        """Joins prepared networks, those of one layout side by side."""
        return join_graphs(prepared)

    def forward(self, batch: GraphBatch) -> Float[Tensor, "networks dim"]:
        """Encodes a batch."""
        num_edges = sum(len(run.values) * run.plan.num_edges for run in batch.runs)
        again = num_edges > self.kept_edges and torch.is_grad_enabled()
        rows = [
            checkpoint(self._encode, run, use_reentrant=False) if again else self._encode(run) for run in batch.runs
        ]
        return torch.cat(rows)[batch.order]

    def _encode(self, run: GraphRun) -> Float[Tensor, "networks dim"]:
        nodes, edges = self.inputs(run)
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, run.plan)
        return self.readout(nodes, run.plan)


def check_takes(networks: Sequence[Network]) -> None:
    """Raises CannotTakeError if a network has no neuron graph, or too large a one."""
    if not networks:
        raise CannotTakeError("no network came, expected at least one to make the encoder for")
    for network in networks:
        graph_plan(network, max_edges=MAX_EDGES)


def add_to_nodes(
    messages: Sequence[tuple[Tensor, Float[Tensor, "networks _ dim"]]], num_nodes: int
) -> Float[Tensor, "networks nodes dim"]:
    """Sums rows that belong to nodes, divided by the square root of how many a node has.

    Args:
        messages: the node of each row, and the rows.
        num_nodes: number of nodes.
    """
    owners = torch.cat([owner for owner, _ in messages])
    rows = torch.cat([row for _, row in messages], 1)
    total = rows.new_zeros(len(rows), num_nodes, rows.shape[2]).index_add(1, owners, rows)
    count = rows.new_zeros(num_nodes).index_add(0, owners, torch.ones_like(owners).to(rows))
    return total / count.clamp_min(1).sqrt()[:, None]
