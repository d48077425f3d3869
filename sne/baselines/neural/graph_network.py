"""A graph network on neuron graphs: messages along weights, both ways."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from sne.baselines.neural.graph_batch import GraphPlan
from sne.baselines.neural.graph_encoder import GraphEncoder, GraphLayer, add_to_nodes, check_takes
from sne.networks import Network


@final
class MessageLayer(GraphLayer):
    """Every edge reads its two nodes; every node reads its edges, those that write it and those that it feeds apart.

    Args:
        dim: width of a node.
        edge_dim: width of an edge.
        hidden: width of a message.
        dropout: share of entries dropped in the update of nodes while training.
        is_last: whether nothing reads the edges afterwards.
    """

    def __init__(self, dim: int, edge_dim: int, hidden: int, *, dropout: float, is_last: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.from_nodes = nn.Linear(dim, 4 * hidden)
        self.from_edges = nn.Linear(edge_dim, hidden)
        self.to_edges = None if is_last else nn.Linear(hidden, edge_dim)
        self.update = nn.Sequential(
            nn.Linear(dim + 4 * hidden, 2 * dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )

    def forward(
        self, nodes: Float[Tensor, "networks nodes dim"], edges: list[Tensor], plan: GraphPlan
    ) -> tuple[Float[Tensor, "networks nodes dim"], list[Tensor]]:
        """One round of messages."""
        normed = self.norm(nodes)
        written, read, writes, reads = self.from_nodes(normed).chunk(4, -1)
        to_written, to_read, changed = [], [], []
        for stack, edge in zip(plan.edges, edges, strict=True):
            blocks, num_to, num_from, _ = stack.shape

            def at(rows: Tensor, owners: Tensor, blocks: int = blocks) -> Tensor:
                return rows.index_select(1, owners).unflatten(1, (blocks, -1))

            message = silu(
                self.from_edges(edge)
                + at(written, stack.to_nodes)[:, :, :, None]
                + at(read, stack.from_nodes)[:, :, None]
            )
            # Channels first, once, so that sums and products with the other node are two batches of small matrices.
            channels = message.permute(0, 1, 4, 2, 3).contiguous()
            carried = channels @ _beside_ones(at(reads, stack.from_nodes)) / num_from
            returned = channels.transpose(-1, -2) @ _beside_ones(at(writes, stack.to_nodes)) / num_to
            to_written.append((stack.to_nodes, carried.permute(0, 1, 3, 4, 2).flatten(3).flatten(1, 2)))
            to_read.append((stack.from_nodes, returned.permute(0, 1, 3, 4, 2).flatten(3).flatten(1, 2)))
            if self.to_edges is not None:
                changed.append(edge + self.to_edges(message))
        gathered = [add_to_nodes(several, nodes.shape[1]) for several in (to_written, to_read)]
        return nodes + self.update(torch.cat([normed, *gathered], -1)), changed


def _beside_ones(rows: Float[Tensor, "networks blocks nodes dim"]) -> Float[Tensor, "networks blocks dim nodes 2"]:
    rows = rows.transpose(-1, -2)
    return torch.stack([torch.ones_like(rows), rows], -1)


@final
class GraphNetworkEncoder(GraphEncoder):
    """A message-passing network on the neuron graph.

    Args:
        dim: width of a node, and length of the embedding.
        edge_dim: width of an edge.
        hidden: width of a message.
        layers: rounds of messages.
        dropout: share of entries dropped in updates and readout while training.

    Source: Kofinas et al., arXiv 2403.12143, section 3 (message passing with edge updates); messages against the
        direction of the weights as in Lim et al., arXiv 2312.04501.
    Differs: means in place of several aggregators, edges narrower than nodes, sets of nodes pooled by attention.
        Kernels enter as waves, so that all sizes share parameters. Dense blocks in place of scattered edges.
    """

    def __init__(
        self, *, dim: int = 64, edge_dim: int = 16, hidden: int = 32, layers: int = 4, dropout: float = 0.2
    ) -> None:
        self._settings = {"dim": dim, "edge_dim": edge_dim, "hidden": hidden, "layers": layers, "dropout": dropout}
        stack = [
            MessageLayer(dim, edge_dim, hidden, dropout=dropout, is_last=number == layers - 1)
            for number in range(layers)
        ]
        super().__init__(dim=dim, edge_dim=edge_dim, layers=stack, dropout=dropout)

    def settings(self) -> dict[str, Any]:
        """The constructor's keyword arguments."""
        return dict(self._settings)


def make_graph_network(networks: Sequence[Network], /) -> GraphNetworkEncoder:
    """Makes the encoder, if it can read such networks.

    Raises:
        CannotTakeError: a network that has no neuron graph, or too large a one.
    """
    check_takes(networks)
    return GraphNetworkEncoder()
