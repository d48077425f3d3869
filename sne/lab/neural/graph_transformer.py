"""A transformer on neuron graphs: every neuron attends to the neurons to which weights connect it."""

from collections.abc import Sequence
from math import sqrt
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import silu

from sne.lab.neural.graph_batch import GraphPlan
from sne.lab.neural.graph_encoder import GraphEncoder, GraphLayer
from sne.nn import in_float32

LARGEST_LOGIT = 10.0
"""Bound of the logits, which lets exponentials of several blocks be summed without subtracting a common maximum."""


class EdgeAttention(nn.Module):
    """Attention along edges in one direction: keys and values are sums of a node's and an edge's contribution.

    An edge's contributions to logits and values are linear in the edge. The matrix of the edges' keys is therefore
    applied to the queries of nodes, and the matrix of their values after pooling, so that no tensor of the width of a
    head is computed per edge.

    Args:
        dim: Length of a node's vector.
        edge_dim: Length of an edge's vector.
        hidden: Length of queries, keys and values, summed over heads.
        heads: Number of attention heads.
    """

    def __init__(self, dim: int, edge_dim: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads, self.hidden, self.edge_dim = heads, hidden, edge_dim
        self.queries = nn.Linear(dim, hidden + heads * edge_dim)
        self.keys = nn.Linear(dim, 2 * hidden + edge_dim)
        self.out = nn.Linear(hidden + 2 * heads * edge_dim, dim)

    def forward(
        self,
        nodes: Float[Tensor, "networks nodes dim"],
        blocks: Sequence[tuple[Int64[Tensor, " _"], Int64[Tensor, " _"], Tensor]],
    ) -> Float[Tensor, "networks nodes dim"]:
        """Returns the result of attention for every node; for nodes without edges, the bias.

        Args:
            nodes: Vectors of all nodes.
            blocks: Triples of the attending nodes, the attended nodes, and the edges between them [networks, blocks,
                attending, attended, edge_dim].
        """
        queries, keys = self.queries(nodes), self.keys(nodes)
        width = self.heads * (self.hidden // self.heads + 2 * self.edge_dim + 1)
        total = nodes.new_zeros(*nodes.shape[:2], width)
        for here, there, edges in blocks:
            stacked = edges.shape[1]
            rows = self._attend(
                queries.index_select(1, here).unflatten(1, (stacked, -1)),
                keys.index_select(1, there).unflatten(1, (stacked, -1)),
                edges,
            )
            total = total.index_add(1, here, rows.flatten(1, 2).to(total.dtype))
        pooled = total.unflatten(-1, (self.heads, -1))
        pooled = pooled[..., :-1] / pooled[..., -1:].clamp_min(1e-6)
        return self.out(pooled.flatten(-2))

    def _attend(self, queries: Tensor, keys: Tensor, edges: Tensor) -> Tensor:
        """Returns the weighted values of every head, then the weights, both summed over the attended nodes."""
        query, edge_query = queries.split([self.hidden, self.heads * self.edge_dim], -1)
        key, value, gate = keys.split([self.hidden, self.hidden, self.edge_dim], -1)
        query, key, value = (one.unflatten(-1, (self.heads, -1)) for one in (query, key, value))
        edge_query = edge_query.unflatten(-1, (self.heads, -1))
        logits = torch.einsum("btohd,btihd->btohi", query, key) + torch.einsum("btohc,btoic->btohi", edge_query, edges)
        logits = logits / sqrt(query.shape[-1])
        weights = (LARGEST_LOGIT * torch.tanh(logits / LARGEST_LOGIT)).exp()
        carried = torch.cat([edges, edges * gate[:, :, None]], -1)
        return torch.cat(
            [
                torch.einsum("btohi,btihd->btohd", weights, value),
                torch.einsum("btohi,btoic->btohc", weights, carried),
                weights.sum(-1, keepdim=True),
            ],
            -1,
        ).flatten(-2)


@final
class RelationalLayer(GraphLayer):
    """Nodes attend to the nodes that they read and to those that read them; then nodes and edges are updated.

    Args:
        dim: Length of a node's vector.
        edge_dim: Length of an edge's vector.
        hidden: Length of queries, keys and values, summed over heads.
        heads: Number of attention heads.
        dropout: Dropout rate in the update of nodes.
        is_last: Whether this is the last layer, after which edges are not read.
    """

    def __init__(self, dim: int, edge_dim: int, hidden: int, heads: int, *, dropout: float, is_last: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.forwards = EdgeAttention(dim, edge_dim, hidden, heads)
        self.backwards = EdgeAttention(dim, edge_dim, hidden, heads)
        self.before_update = nn.LayerNorm(dim)
        self.update = nn.Sequential(nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))
        self.edge_update = None if is_last else EdgeUpdate(dim, edge_dim)

    def forward(
        self, nodes: Float[Tensor, "networks nodes dim"], edges: list[Tensor], plan: GraphPlan
    ) -> tuple[Float[Tensor, "networks nodes dim"], list[Tensor]]:
        """Returns updated nodes and edges."""
        normed = self.norm(nodes)
        edges = [edge.movedim(2, -1).contiguous() for edge in edges]
        written = [(stack.to_nodes, stack.from_nodes, edge) for stack, edge in zip(plan.edges, edges, strict=True)]
        read = [(there, here, edge.transpose(2, 3)) for here, there, edge in written]
        nodes = nodes + self.forwards(normed, written) + self.backwards(normed, read)
        normed = self.before_update(nodes)
        if self.edge_update is not None:
            edges = self.edge_update(normed, edges, plan)
        return nodes + self.update(normed), [edge.movedim(-1, 2) for edge in edges]


class EdgeUpdate(nn.Module):
    """Updates every edge from its two nodes.

    Args:
        dim: Length of a node's vector.
        edge_dim: Length of an edge's vector; the hidden layer is twice as wide.
    """

    def __init__(self, dim: int, edge_dim: int) -> None:
        super().__init__()
        self.from_nodes = nn.Linear(dim, 4 * edge_dim)
        self.from_edges = nn.Linear(edge_dim, 2 * edge_dim)
        self.to_edges = nn.Linear(2 * edge_dim, edge_dim)

    def forward(self, nodes: Float[Tensor, "networks nodes dim"], edges: list[Tensor], plan: GraphPlan) -> list[Tensor]:
        """Returns updated edges."""
        written, read = self.from_nodes(nodes).chunk(2, -1)
        changed = []
        for stack, edge in zip(plan.edges, edges, strict=True):
            above = written.index_select(1, stack.to_nodes).unflatten(1, (stack.shape[0], -1))
            below = read.index_select(1, stack.from_nodes).unflatten(1, (stack.shape[0], -1))
            changed.append(edge + self.to_edges(silu(self.from_edges(edge) + above[:, :, :, None] + below[:, :, None])))
        return changed


@final
class GraphTransformerEncoder(GraphEncoder):
    """Relational attention on the neuron graph.

    Args:
        dim: Length of a node's vector and of the embedding.
        edge_dim: Length of an edge's vector.
        hidden: Length of queries, keys and values, summed over heads.
        heads: Number of attention heads.
        layers: Rounds of attention.
        dropout: Dropout rate of updates and readout.

    Source: Kofinas et al., arXiv 2403.12143, section 3 (transformer with relational attention, after Diao and Loynd,
        arXiv 2210.05062).
    Differs: attention runs along edges instead of between all pairs of nodes, and separately in both directions;
        edges contribute to keys and values, not to queries. Kernels are represented by waves; sets of nodes are
        pooled by attention.
    """

    @in_float32()
    def __init__(
        self,
        *,
        dim: int = 64,
        edge_dim: int = 16,
        hidden: int = 32,
        heads: int = 4,
        layers: int = 4,
        dropout: float = 0.2,
    ) -> None:
        if hidden % heads:
            raise ValueError(f"hidden {hidden} is not a multiple of heads {heads}")
        self._settings = {
            "dim": dim,
            "edge_dim": edge_dim,
            "hidden": hidden,
            "heads": heads,
            "layers": layers,
            "dropout": dropout,
        }
        stack = [
            RelationalLayer(dim, edge_dim, hidden, heads, dropout=dropout, is_last=number == layers - 1)
            for number in range(layers)
        ]
        super().__init__(dim=dim, edge_dim=edge_dim, layers=stack, dropout=dropout)

    def settings(self) -> dict[str, Any]:
        """Returns the constructor's keyword arguments."""
        return dict(self._settings)
