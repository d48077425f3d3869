"""Messages along dense blocks of edges, with a backward pass of their own."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu


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
    """Makes the message of every edge from the edge and its two nodes, `m = silu(inward e + written + read)`, and sums.

    Nothing but sums leaves, so that a message is written once and kept nowhere: the backward pass computes it again
    from what was before the activation. On a core a large block takes half the time of single steps
    (`benchmarks/bench_graph_messages.py`).

    Args:
        edges: channels first.
        inward: from an edge to a message.
        outward: from a message to an edge; None if edges are not read again.
        written: what the node that is written adds to its messages.
        read: what the node that is read adds.
        writes: what messages are multiplied by on their way to the node that is read.
        reads: what they are multiplied by on their way to the node that is written.

    Returns:
        For every node that is written the mean of its messages, and of their products with `reads`; for every node
        that is read the mean of its messages, and of their products with `writes`; `outward m`, or None.
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

        # What reaches a message from the four sums is of rank 4: one product in place of four tensors of its size.
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
