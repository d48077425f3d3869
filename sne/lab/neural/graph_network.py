"""A graph network on neuron graphs: messages along weights, in both directions."""

from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from sne.lab.neural.graph_batch import GraphPlan
from sne.lab.neural.graph_encoder import GraphEncoder, GraphLayer, add_to_nodes
from sne.nn import in_float32


@final
class GraphNetworkEncoder(GraphEncoder):
    """A message-passing network on the neuron graph.

    Args:
        dim: Length of a node's vector and of the embedding.
        edge_dim: Length of an edge's vector.
        hidden: Length of a message.
        layers: Rounds of messages.
        dropout: Dropout rate of updates and readout.

    Source: Kofinas et al., arXiv 2403.12143, section 3 (message passing with edge updates); messages against the
        direction of the weights as in Lim et al., arXiv 2312.04501.
    Differs: means instead of several aggregators; edges narrower than nodes; sets of nodes pooled by attention.
        Kernels are represented by waves, so that all sizes share parameters. Edges are dense blocks instead of lists.
    """

    kept_edges = 1 << 20  # 1 kB of activations each

    @in_float32()
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
        """Returns the constructor's keyword arguments."""
        return dict(self._settings)


@final
class MessageLayer(GraphLayer):
    """One round of messages: edges read their two nodes; nodes read incoming and outgoing edges separately.

    Args:
        dim: Length of a node's vector.
        edge_dim: Length of an edge's vector.
        hidden: Length of a message.
        dropout: Dropout rate in the update of nodes.
        is_last: Whether this is the last layer, after which edges are not read.
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
        """Returns updated nodes and edges."""
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


def pass_messages(
    edges: Float[Tensor, "blocks edge_dim to from"],
    *,
    inward: Float[Tensor, "hidden edge_dim"],
    outward: Float[Tensor, "edge_dim hidden"] | None,
    written: Float[Tensor, "blocks hidden to"],
    read: Float[Tensor, "blocks hidden from"],
    writes: Float[Tensor, "blocks hidden to"],
    reads: Float[Tensor, "blocks hidden from"],
) -> tuple[
    Float[Tensor, "blocks hidden to 2"],
    Float[Tensor, "blocks hidden from 2"],
    Float[Tensor, "blocks edge_dim to from"] | None,
]:
    """Computes the message `m = silu(inward e + written + read)` of every edge `e`, and averages messages by node.

    Messages are not returned, so they are written once and not kept: the backward pass recomputes them from the
    values before the activation. On one core, a large block takes half the time of separate operations
    (`benchmarks/bench_graph_messages.py`).

    Args:
        edges: Vectors of the edges, channels first.
        inward: Matrix from an edge to its message.
        outward: Matrix from a message to an edge; None if edges are not read again.
        written: Contribution of the written node to its messages.
        read: Contribution of the read node to its messages.
        writes: Factors of the written node, for the second mean of the read node.
        reads: Factors of the read node, for the second mean of the written node.

    Returns:
        For every written node, the mean of its messages and the mean of their products with `reads`; for every read
        node, the mean of its messages and the mean of their products with `writes`; `outward m`, or None.
    """
    given = (edges, inward, outward, written, read, writes, reads)
    device = edges.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        given = tuple(None if one is None else one.to(dtype) for one in given)
    carried, returned, changed = _Messages.apply(*given)  # pyright: ignore[reportGeneralTypeIssues]
    return carried, returned, changed if outward is not None else None


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        edges: Tensor,
        inward: Tensor,
        outward: Tensor | None,
        written: Tensor,
        read: Tensor,
        writes: Tensor,
        reads: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        blocks, _, num_to, num_from = edges.shape
        hidden = len(inward)
        nodes = torch.bmm(_beside_ones(written.flatten(0, 1)), _above_ones(read.flatten(0, 1)))
        before = nodes.view(blocks, hidden, -1).baddbmm_(_in_all(inward, edges), edges.flatten(2))
        message = silu(before)
        by_node = message.view(blocks * hidden, num_to, num_from)
        carried = torch.bmm(by_node, _beside_ones(reads.flatten(0, 1))).div_(num_from)
        returned = torch.bmm(by_node.transpose(1, 2), _beside_ones(writes.flatten(0, 1))).div_(num_to)
        changed = None if outward is None else torch.bmm(_in_all(outward, message), message).view(edges.shape)
        ctx.save_for_backward(edges, inward, outward, before, writes, reads)
        split = (blocks, hidden)
        return carried.unflatten(0, split), returned.unflatten(0, split), changed

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Any
    ) -> tuple[Tensor | None, ...]:
        edges, inward, outward, before, writes, reads = ctx.saved_tensors
        blocks, _, num_to, num_from = edges.shape
        hidden = len(inward)
        carried, returned = grads[0].flatten(0, 1) / num_from, grads[1].flatten(0, 1) / num_to
        writes, reads = writes.flatten(0, 1), reads.flatten(0, 1)
        message = silu(before)
        by_node = message.view(blocks * hidden, num_to, num_from)
        grad_reads = torch.bmm(carried[:, None, :, 1], by_node).view(blocks, hidden, num_from)
        grad_writes = torch.bmm(by_node, returned[:, :, 1, None]).view(blocks, hidden, num_to)

        # The gradient of a message from the four means has rank 4: one product replaces four tensors of its size.
        left = torch.cat([carried, _beside_ones(writes)], 2)
        right = torch.cat([_beside_ones(reads), returned], 2).transpose(1, 2)
        grad_outward = None
        if outward is None:
            grad = torch.bmm(left, right)
        else:
            change = grads[2].flatten(2)
            grad_outward = torch.bmm(change, message.transpose(1, 2)).sum(0)
            grad = torch.bmm(_in_all(outward.T, change), change).view(by_node.shape).baddbmm_(left, right)
        del message, by_node
        grad = grad.view(before.shape)
        torch.ops.aten.silu_backward.grad_input(grad, before, grad_input=grad)
        flat = grad.view(blocks * hidden, num_to, num_from)
        grad_written = flat.sum(2).view(blocks, hidden, num_to)
        grad_read = flat.sum(1).view(blocks, hidden, num_from)
        grad_inward = torch.bmm(grad, edges.flatten(2).transpose(1, 2)).sum(0)
        grad_edges = torch.bmm(_in_all(inward.T, grad), grad).view(edges.shape) if ctx.needs_input_grad[0] else None
        return grad_edges, grad_inward, grad_outward, grad_written, grad_read, grad_writes, grad_reads


def _beside_ones(rows: Float[Tensor, "sets nodes"]) -> Float[Tensor, "sets nodes 2"]:
    return torch.stack([torch.ones_like(rows), rows], -1)


def _above_ones(rows: Float[Tensor, "sets nodes"]) -> Float[Tensor, "sets 2 nodes"]:
    return torch.stack([rows, torch.ones_like(rows)], 1)


def _in_all(matrix: Float[Tensor, "rows columns"], blocks: Tensor) -> Float[Tensor, "blocks rows columns"]:
    return matrix.expand(len(blocks), -1, -1)
