"""Messages along dense blocks, compared with separate operations."""

import pytest
import torch
from torch.nn.functional import silu

from sne.lab.neural.graph_network import pass_messages

BLOCKS, HIDDEN, EDGE_DIM = 3, 4, 2


def in_single_steps(edges, *, inward, outward, written, read, writes, reads):
    before = torch.einsum("hc,bctf->bhtf", inward, edges) + written[..., :, None] + read[..., None, :]
    message = silu(before)
    carried = torch.stack([message.mean(3), (message * reads[..., None, :]).mean(3)], -1)
    returned = torch.stack([message.mean(2), (message * writes[..., :, None]).mean(2)], -1)
    changed = None if outward is None else torch.einsum("ch,bhtf->bctf", outward, message)
    return carried, returned, changed


def made(num_to, num_from, has_outward):
    def numbers(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    torch.manual_seed(0)
    return {
        "edges": numbers(BLOCKS, EDGE_DIM, num_to, num_from),
        "inward": numbers(HIDDEN, EDGE_DIM),
        "outward": numbers(EDGE_DIM, HIDDEN) if has_outward else None,
        "written": numbers(BLOCKS, HIDDEN, num_to),
        "read": numbers(BLOCKS, HIDDEN, num_from),
        "writes": numbers(BLOCKS, HIDDEN, num_to),
        "reads": numbers(BLOCKS, HIDDEN, num_from),
    }


@pytest.mark.parametrize("has_outward", [True, False])
@pytest.mark.parametrize(("num_to", "num_from"), [(5, 7), (1, 6), (4, 1)])
def test_values_and_gradients_are_those_of_single_steps(num_to, num_from, has_outward):
    given = made(num_to, num_from, has_outward)
    leaves = [one for one in given.values() if one is not None]
    found = []
    for make in (pass_messages, in_single_steps):
        *sums, changed = make(given["edges"], **{name: one for name, one in given.items() if name != "edges"})
        assert (changed is not None) == has_outward
        outputs = [*sums, *([changed] if has_outward else [])]
        weights = [torch.linspace(-1, 2, one.numel(), dtype=one.dtype).view(one.shape) for one in outputs]
        total = torch.stack([(one * weight).sum() for one, weight in zip(outputs, weights, strict=True)]).sum()
        found.append([*outputs, *torch.autograd.grad(total, leaves)])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)


def test_edges_that_need_no_gradient_get_none():
    given = made(3, 4, has_outward=True)
    edges = given.pop("edges").detach()
    _, _, changed = pass_messages(edges, **given)
    assert changed is not None
    changed.sum().backward()
    assert edges.grad is None and given["inward"].grad is not None
    assert torch.count_nonzero(given["reads"].grad) == 0
