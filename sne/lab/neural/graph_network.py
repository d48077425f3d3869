"""A graph network on neuron graphs: messages along weights, both ways."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sne.lab.neural.graph_batch import GraphPlan
from sne.lab.neural.graph_encoder import GraphEncoder, GraphLayer, add_to_nodes, check_takes
from sne.lab.neural.graph_messages import pass_messages
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
        per_node = self.from_nodes(normed)
        to_written, to_read, changed = [], [], []
        for stack, edge in zip(plan.edges, edges, strict=True):
            blocks = edge.shape[:2]
            written, _, writes, _ = _in_blocks(per_node, stack.to_nodes, stack.shape[0]).chunk(4, 1)
            _, read, _, reads = _in_blocks(per_node, stack.from_nodes, stack.shape[0]).chunk(4, 1)
            carried, returned, change = pass_messages(
                edge.flatten(0, 1),
                inward=self.from_edges.weight,
                outward=None if self.to_edges is None else self.to_edges.weight,
                written=written + self.from_edges.bias[:, None],
                read=read,
                writes=writes,
                reads=reads,
            )
            to_written.append((stack.to_nodes, _by_node(carried, blocks)))
            to_read.append((stack.from_nodes, _by_node(returned, blocks)))
            if change is not None and self.to_edges is not None:
                changed.append(edge + change.unflatten(0, blocks) + self.to_edges.bias[:, None, None])
        gathered = [add_to_nodes(several, nodes.shape[1]) for several in (to_written, to_read)]
        return nodes + self.update(torch.cat([normed, *gathered], -1)), changed


def _in_blocks(
    rows: Float[Tensor, "networks nodes dim"], owners: Int64[Tensor, " owners"], blocks: int
) -> Float[Tensor, "all_blocks dim owners_a_block"]:
    return rows.index_select(1, owners).unflatten(1, (blocks, -1)).flatten(0, 1).transpose(1, 2)


def _by_node(
    sums: Float[Tensor, "all_blocks dim nodes 2"], blocks: torch.Size
) -> Float[Tensor, "networks owners width"]:
    return sums.permute(0, 2, 3, 1).flatten(2).unflatten(0, blocks).flatten(1, 2)


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

    kept_edges = 1 << 20  # at 1 kB each

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
