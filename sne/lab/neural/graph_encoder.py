"""The base class of the two encoders that read neuron graphs: input, a stack of layers, and the readout."""

import abc
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sne.encoders import Limits, NetworkEncoder
from sne.errors import CannotTakeError
from sne.lab.neural.graph_batch import GraphBatch, GraphPlan, GraphRun, PreparedGraph, join_graphs, plan_of
from sne.lab.neural.graph_input import GraphInput
from sne.lab.neural.neuron_graph import neuron_graph
from sne.networks import Network

MAX_EDGES = 300_000
"""Maximum number of edges of a network."""
SMALLEST_VARIANCE = 1e-4
"""Keeps the gradient of a standard deviation finite if the nodes of a set are equal, or if there is only one."""


class GraphLayer(nn.Module, abc.ABC):
    """One layer of a graph encoder: nodes read their neighbours, and edges read their nodes."""

    @abc.abstractmethod
    def forward(
        self, nodes: Float[Tensor, "networks nodes dim"], edges: list[Tensor], plan: GraphPlan
    ) -> tuple[Float[Tensor, "networks nodes dim"], list[Tensor]]:
        """Returns new nodes and edges; equivariant to the order of the nodes in each set.

        Args:
            nodes: Vectors of the nodes.
            edges: Vectors of the edges, for each stack of the plan: [networks, blocks, edge_dim, to, from].
            plan: Plan that all networks share.
        """


class SetReadout(nn.Module):
    """Pools nodes into one vector per network: mean and spread of each set of nodes, pooled by learned queries.

    Args:
        dim: Length of a node's vector and of the result.
        seeds: Number of queries.
        dropout: Dropout rate.
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
    """Base class of encoders that read networks as neuron graphs.

    Embeddings are exactly invariant to the permutations in a network's symmetry.

    Args:
        dim: Length of a node's vector and of the embedding.
        edge_dim: Length of an edge's vector.
        layers: Layers of the encoder.
        dropout: Dropout rate of the readout.
    """

    rounding = 1e-4
    kept_edges = 1 << 18
    """Batches with more edges recompute their activations in the backward pass instead of keeping them."""

    def __init__(self, *, dim: int, edge_dim: int, layers: Sequence[GraphLayer], dropout: float) -> None:
        super().__init__()
        self.dim = dim
        self.inputs = GraphInput(dim, edge_dim)
        self.layers = nn.ModuleList(layers)
        self.readout = SetReadout(dim, dropout=dropout)

    def prepare(self, networks: Sequence[Network], *, limits: Limits = Limits()) -> list[PreparedGraph]:
        """Reads the weights of every network in the order of its graph.

        Raises:
            CannotTakeError: If a network has no neuron graph, or one with too many edges; see `neuron_graph`.
        """
        plans = [plan_of(neuron_graph(network, max_edges=MAX_EDGES)) for network in networks]
        return [PreparedGraph(plan, plan.read(network)) for plan, network in zip(plans, networks, strict=True)]

    def fit_scale(self, prepared: Sequence[PreparedGraph]) -> None:
        """Sets the scale of every kind of weights."""
        self.inputs.fit_scale(prepared)

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


def make_graph_encoder(build: Callable[[], GraphEncoder], networks: Sequence[Network], /) -> GraphEncoder:
    """Builds a graph encoder after checking that it can read networks like the given ones.

    Args:
        build: Class of the encoder.
        networks: Networks; at least one.

    Raises:
        CannotTakeError: If a network has no neuron graph, or one with too many edges; see `neuron_graph`.
    """
    if not networks:
        raise CannotTakeError("got no network, expected at least one to build the encoder for")
    with torch.device("cpu"):  # graphs have values even if the encoder is built without memory, to be loaded
        for network in networks:
            neuron_graph(network, max_edges=MAX_EDGES)
    return build()


def add_to_nodes(
    messages: Sequence[tuple[Tensor, Float[Tensor, "networks _ dim"]]], num_nodes: int
) -> Float[Tensor, "networks nodes dim"]:
    """Sums the rows of each node and divides by the square root of their number.

    Args:
        messages: Pairs of the node of each row, and the rows.
        num_nodes: Number of nodes.
    """
    owners = torch.cat([owner for owner, _ in messages])
    rows = torch.cat([row for _, row in messages], 1)
    total = rows.new_zeros(len(rows), num_nodes, rows.shape[2]).index_add(1, owners, rows)
    count = rows.new_zeros(num_nodes).index_add(0, owners, torch.ones_like(owners).to(rows))
    return total / count.clamp_min(1).sqrt()[:, None]
