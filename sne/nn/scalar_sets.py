"""Encodes many small sets of scalars on the CPU: two set attention blocks and PMA, slice by slice."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from sne.nn.folding import FoldedBlocks

SLICE_TOKENS = 4608
"""Number of tokens processed at once; the tensors between two products then stay in a core's cache."""

LANES = 16
"""Number of groups of slices that threads take. Gradients are summed per group: they do not depend on the threads."""

SMALLEST_SUM, LARGEST_SUM = 1e-25, 1e30
"""Bounds of the sums of exponentials between which a softmax without a shift by its largest logit is exact."""


class SetKernel(NamedTuple):
    """Passes that are computed outside torch; their tensors are contiguous.

    Args:
        forward: Writes the vectors of sets to the last argument, given the sets, what is added, and the parameters.
        backward: Writes the gradient of what is added to the last argument but one, and adds the gradients of the
            parameters to the last, given what `forward` is given and the gradient of the vectors.
    """

    forward: Callable[[Tensor, Tensor, FoldedBlocks, Tensor], None]
    backward: Callable[[Tensor, Tensor, FoldedBlocks, Tensor, Tensor, list[Tensor]], None]


def encode_scalar_sets(
    x: Float[Tensor, "sets tokens"],
    added: Float[Tensor, "sets dim"],
    blocks: FoldedBlocks,
    *,
    kernel: SetKernel | None = None,
) -> Float[Tensor, "sets dim"]:
    """Passes sets of scalars through two set attention blocks, adds a vector per set, and pools by attention.

    Memory does not grow with the number of sets, with gradients neither: the backward pass computes the slices again,
    which is faster than to write and to read their tokens. Slices are distributed over torch's threads; the result
    does not depend on their number.

    Args:
        x: The sets; all entries are real, and no gradient flows to them.
        added: Vector added to all tokens of each set before they are pooled.
        blocks: The parameters.
        kernel: Computes both passes in place of torch's operations.

    Returns:
        One vector per set.

    Source: Lee et al., arXiv 1810.00825, sections 3.1 and 3.2; method.md, section 5.
    Differs: nothing but the order of operations.
    """
    if kernel is not None:
        x, added, blocks = x.contiguous(), added.contiguous(), FoldedBlocks(*(value.contiguous() for value in blocks))
    return _ScalarSets.apply(kernel, x, added, *blocks)  # pyright: ignore[reportReturnType]


@final
class _Workspace:
    """Named buffers that are used again by each slice, because fresh memory costs more than a product."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Returns a buffer with arbitrary contents."""
        count = torch.Size(shape).numel()
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = self.buffers[name] = self.like.new_empty(count)
        return buffer[:count].view(shape)


@final
class _Slice:
    """One slice: the forward pass keeps in `space` what the backward pass needs."""

    def __init__(self, space: _Workspace, x: Tensor, added: Tensor, blocks: FoldedBlocks) -> None:
        self.space, self.x, self.added, self.blocks = space, x, added, blocks
        self.sets, self.tokens = x.shape
        self.rows = x.numel()
        self.heads, self.dim = len(blocks.slopes), added.shape[1]
        self.width = self.dim // self.heads

    def numbers(self, features: Tensor, *, has_variances: bool) -> None:
        """Writes x, the tilted means and one to the last columns; keeps the tilted variances."""
        space, heads, tokens, sets = self.space, self.heads, self.tokens, self.sets
        mean = self.x.mean(1)
        centred = torch.sub(self.x.T, mean, out=space("centred", tokens, sets))
        slopes, offsets = (v[:, None, None] for v in (self.blocks.slopes, self.blocks.offsets))
        tilts = torch.addcmul(offsets + slopes * mean, slopes, centred)
        top = torch.maximum(tilts * centred.amin(0), tilts * centred.amax(0)).neg_()
        table = space("tilted", heads, tokens, tokens, sets)  # sets are innermost: all operations vectorise
        torch.addcmul(top[:, :, None], tilts[:, :, None], centred, out=table).exp_()
        total = table.sum(2)
        first = table.mul_(centred).sum(2).div_(total)
        if has_variances:
            self.variances = table.mul_(centred).sum(2).div_(total).addcmul_(first, first, value=-1)
        by_set = features.view(sets, tokens, -1)
        by_set[:, :, self.dim] = self.x
        torch.add(first, mean, out=first)
        by_set[:, :, self.dim + 1 : -1] = first.permute(2, 1, 0)
        by_set[:, :, -1] = 1

    def forward(self, out: Tensor, *, has_variances: bool = False) -> None:
        """Writes the vectors of the slice to `out`."""
        space, blocks, rows, dim = self.space, self.blocks, self.rows, self.dim
        heads, tokens, sets, width = self.heads, self.tokens, self.sets, self.width
        self.features = features = space("features", rows, dim + heads + 2)
        self.numbers(features, has_variances=has_variances)
        torch.mm(features[:, dim:], blocks.inner, out=features[:, :dim]).relu_()

        projected = space("projected", 3 * heads, rows, width)
        torch.bmm(features.expand(3 * heads, -1, -1), blocks.projections, out=projected)
        self.queries, self.keys, self.values = projected.view(3, heads * sets, tokens, width)
        table = space("table", heads * sets, tokens, tokens)
        self.weights, self.sums = self.exponentials(table)
        attended = torch.bmm(self.weights, self.values, out=space("attended", heads * sets, tokens, width))
        self.hidden = hidden = space("hidden", rows, dim)
        torch.addcdiv(  # merges the heads
            self.queries.view(heads, rows, width).transpose(0, 1),
            attended.view(heads, rows, width).transpose(0, 1),
            self.sums.view(heads, rows, 1).transpose(0, 1),
            out=hidden.view(rows, heads, width),
        )
        # relu(y + b) is max(y, -b) + b: here the maximum is taken, and b is part of the shifts in `pool`.
        self.mapped = torch.mm(hidden, blocks.feedforward, out=space("mapped", rows, dim))
        torch.maximum(self.mapped, -blocks.feedforward_bias, out=self.mapped)
        self.second = torch.add(hidden, self.mapped, out=space("second", rows, dim))
        self.pool(out)

    def exponentials(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the weights of the second block before their division, and their sums."""
        torch.bmm(self.queries, self.keys.transpose(1, 2), out=table)
        ones = table.new_ones(self.tokens)
        sums = torch.mv(table.exp_().view(-1, self.tokens), ones, out=self.space("sums", table.numel() // self.tokens))
        low, high = torch.aminmax(sums)
        if not (low > SMALLEST_SUM and high < LARGEST_SUM):
            torch.bmm(self.queries, self.keys.transpose(1, 2), out=table)
            table.sub_(table.amax(2, keepdim=True)).exp_()
            torch.mv(table.view(-1, self.tokens), ones, out=sums)
        return table, sums

    def pool(self, out: Tensor) -> None:
        """Pools the tokens of the second block; what was added to them enters as one shift per set."""
        space, blocks, dim, heads, sets = self.space, self.blocks, self.dim, self.heads, self.sets
        constant = blocks.pooling_bias + blocks.feedforward_bias @ blocks.pooling
        self.shifts = torch.addmm(constant, self.added, blocks.pooling)
        self.pooled = torch.mm(self.second, blocks.pooling, out=space("pooled", self.rows, dim))
        by_set = self.pooled.view(sets, self.tokens, dim)
        torch.maximum(by_set, -self.shifts[:, None], out=by_set)
        logits = torch.mm(self.pooled, blocks.pooling_keys).view(sets, self.tokens, heads)
        weights = logits.transpose(1, 2).contiguous()
        weights.sub_(weights.amax(2, keepdim=True)).exp_()
        sums = torch.mv(weights.view(-1, self.tokens), weights.new_ones(self.tokens))
        self.pool_weights = weights.div_(sums.view(sets, heads, 1))
        self.averages = torch.bmm(weights, by_set, out=space("averages", sets, heads, dim)).add_(self.shifts[:, None])

        self.last_hidden = hidden = space("last hidden", sets, dim)
        torch.bmm(self.averages.transpose(0, 1), blocks.pooling_values, out=self.by_head(hidden))
        hidden.add_(blocks.pooling_query)
        self.last_mapped = torch.addmm(blocks.last_bias, hidden, blocks.last).relu_()
        torch.add(hidden, self.last_mapped, out=out)

    def by_head(self, rows: Tensor) -> Tensor:
        """Returns a view [heads, rows, width]."""
        return rows.unflatten(1, (self.heads, -1)).transpose(0, 1)

    def backward(self, grad: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns the gradients of what was added and of the parameters, after `forward` with variances."""
        grad_averages, of_last = self.last_backward(grad)
        grad_added, of_pooling, grad_second = self.pooling_backward(grad_averages)
        space, blocks, rows, dim = self.space, self.blocks, self.rows, self.dim
        mapped = self.mapped.add_(blocks.feedforward_bias)
        grad_mapped = _relu_backward(grad_second, mapped, out=space("gradient", rows, dim))
        of_feedforward = [torch.mm(self.hidden.T, grad_mapped), grad_mapped.sum(0)]
        grad_hidden = grad_second.addmm_(grad_mapped, blocks.feedforward.T)

        grad_projected = self.attention_backward(grad_hidden)
        heads = self.heads
        grad_projections = torch.mm(self.features.T, grad_projected).view(-1, 3 * heads, self.width).transpose(0, 1)
        projections = blocks.projections.transpose(1, 2).reshape(3 * dim, -1)
        grad_features = torch.mm(grad_projected, projections, out=space("features gradient", *self.features.shape))
        inside = _relu_backward(grad_features[:, :dim], self.features[:, :dim], out=space("gradient", rows, dim))
        grad_inner = torch.mm(self.features[:, dim:].T, inside)
        grad_means = torch.addmm(grad_features[:, dim + 1 : -1], inside, blocks.inner[1:-1].T)
        grad_tilts = grad_means.view(self.sets, self.tokens, heads).permute(2, 1, 0) * self.variances
        of_tilts = [(grad_tilts * self.x.T).sum((1, 2)), grad_tilts.sum((1, 2))]
        return grad_added, [*of_tilts, grad_inner, grad_projections, *of_feedforward, *of_pooling, *of_last]

    def last_backward(self, grad: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns the gradients of the averages and of the parameters that follow them."""
        blocks, hidden = self.blocks, self.last_hidden
        grad_mapped = torch.ops.aten.threshold_backward(grad, self.last_mapped, 0)
        grad_hidden = torch.addmm(grad, grad_mapped, blocks.last.T)
        by_head = self.by_head(grad_hidden)
        grad_averages = torch.empty_like(self.averages)
        torch.bmm(by_head, blocks.pooling_values.transpose(1, 2), out=grad_averages.transpose(0, 1))
        grad_values = torch.bmm(self.averages.permute(1, 2, 0), by_head)
        of_last = [torch.mm(hidden.T, grad_mapped), grad_mapped.sum(0)]
        return grad_averages, [grad_values, grad_hidden.sum(0), *of_last]

    def pooling_backward(self, grad: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Returns the gradients of what was added, of the parameters that tokens meet in PMA, and of the tokens."""
        space, blocks, rows, dim = self.space, self.blocks, self.rows, self.dim
        by_set, weights = self.pooled.view(self.sets, self.tokens, dim), self.pool_weights
        by_set.add_(self.shifts[:, None])
        grad_logits = torch.bmm(grad, by_set.transpose(1, 2)).mul_(weights)
        grad_logits.addcmul_(weights, grad_logits.sum(2, keepdim=True), value=-1)
        left = torch.cat((weights, grad_logits), 1).transpose(1, 2)
        right = torch.cat((grad, blocks.pooling_keys.T.expand(self.sets, -1, -1)), 1)
        inside = torch.bmm(left, right, out=space("gradient", self.sets, self.tokens, dim))
        of_keys = torch.mm(self.pooled.T, grad_logits.transpose(1, 2).reshape(rows, self.heads))
        _relu_backward(inside, by_set, out=inside)
        grad_shifts = inside.sum(1)
        inside = inside.view(rows, dim)
        of_bias = grad_shifts.sum(0)
        of_pooling = torch.outer(blocks.feedforward_bias, of_bias)
        of_pooling.addmm_(self.second.T, inside).addmm_(self.added.T, grad_shifts)
        grad_second = torch.mm(inside, blocks.pooling.T, out=space("second gradient", rows, dim))
        return torch.mm(grad_shifts, blocks.pooling.T), [of_pooling, of_bias, of_keys], grad_second

    def attention_backward(self, grad_hidden: Tensor) -> Tensor:
        """Returns the gradients of queries, keys and values, one row per token."""
        space, rows, heads, width, tokens = self.space, self.rows, self.heads, self.width, self.tokens
        by_head = (heads * self.sets, tokens, width)
        weights, sums, grad_rows = self.weights, self.sums, grad_hidden.view(rows, heads, width)
        divided = space("attended", *by_head)
        torch.div(grad_rows.transpose(0, 1), sums.view(heads, rows, 1), out=divided.view(heads, rows, width))
        grad_logits = torch.bmm(divided, self.values.transpose(1, 2), out=space("logits gradient", *weights.shape))
        grad_logits.mul_(weights)
        means = torch.mv(grad_logits.view(-1, tokens), weights.new_ones(tokens)).div_(sums)
        spread = torch.mm(means[:, None], weights.new_ones(1, tokens), out=space("means", len(means), tokens))
        grad_logits.addcmul_(weights, spread.view_as(weights), value=-1)

        result = space("projected gradient", rows, 3, heads, width)
        part = space("part gradient", *by_head)
        part_rows = part.view(heads, rows, width).transpose(0, 1)
        torch.bmm(weights.transpose(1, 2), divided, out=part)
        result[:, 2] = part_rows
        torch.bmm(grad_logits.transpose(1, 2), self.queries, out=part)
        result[:, 1] = part_rows
        torch.bmm(grad_logits, self.keys, out=part)
        torch.add(grad_rows, part_rows, out=result[:, 0])
        return result.view(rows, -1)


def _relu_backward(grad: Tensor, result: Tensor, *, out: Tensor) -> Tensor:
    """Writes the gradient where the result of a ReLU is positive, and zero elsewhere."""
    return torch.ops.aten.threshold_backward.grad_input(grad, result, 0, grad_input=out)


def _for_each_slice(num_slices: int, like: Tensor, run: Callable[[int, int, _Workspace], None]) -> None:
    """Calls `run(slice, lane, workspace)` for each slice, in order within each of `LANES` lanes.

    Each thread takes whole lanes. Threads of our own are faster than those of each operation, which would exchange
    the tensors of a slice between their caches.
    """
    lanes = iter(range(min(LANES, num_slices)))
    is_inference = torch.is_inference_mode_enabled()  # threads of the pool do not inherit it

    def work() -> None:
        space = _Workspace(like)
        for lane in lanes:
            for index in range(lane, num_slices, LANES):
                run(index, lane, space)

    def work_alone(_: int) -> None:
        with torch.inference_mode() if is_inference else torch.no_grad():
            work()

    threads = torch.get_num_threads()
    if min(threads, num_slices) == 1:
        work()
        return
    try:
        list(_thread_pool(threads).map(work_alone, range(threads)))
    finally:
        torch.set_num_threads(threads)  # that of the pool's threads became the default of threads to come


@cache
def _thread_pool(threads: int) -> ThreadPoolExecutor:
    """Returns threads that compute operations alone; new threads for each call would leave their buffers behind."""
    return ThreadPoolExecutor(threads, "sne-sets", initializer=torch.set_num_threads, initargs=(1,))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_thread_pool.cache_clear)  # threads do not survive a fork


class _ScalarSets(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: SetKernel | None, x: Tensor, added: Tensor, *parameters: Tensor) -> Tensor:
        blocks = FoldedBlocks(*parameters)
        ctx.save_for_backward(x, added, *parameters)
        ctx.kernel = kernel
        out = torch.empty_like(added)
        size = max(1, SLICE_TOKENS // x.shape[1])
        slices = list(zip(*(tensor.split(size) for tensor in (x, added, out)), strict=True))

        def run(index: int, lane: int, space: _Workspace) -> None:
            some, some_added, target = slices[index]
            if kernel is None:
                _Slice(space, some, some_added, blocks).forward(target)
            else:
                kernel.forward(some, some_added, blocks, target)

        _for_each_slice(len(slices), x, run)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, added, *parameters = ctx.saved_tensors
        blocks = FoldedBlocks(*parameters)
        grad_added = torch.empty_like(added)
        size = max(1, SLICE_TOKENS // x.shape[1])
        tensors = (x, added, grads[0].contiguous(), grad_added)
        slices = list(zip(*(tensor.split(size) for tensor in tensors), strict=True))
        totals = [[torch.zeros_like(p) for p in parameters] for _ in range(min(LANES, len(slices)))]

        def run(index: int, lane: int, space: _Workspace) -> None:
            some, some_added, grad, target = slices[index]
            if ctx.kernel is not None:
                ctx.kernel.backward(some, some_added, blocks, grad, target, totals[lane])
                return
            piece = _Slice(space, some, some_added, blocks)
            piece.forward(space("result", *grad.shape), has_variances=True)
            result, of_parameters = piece.backward(grad)
            target.copy_(result)
            for total, value in zip(totals[lane], of_parameters, strict=True):
                total.add_(value)

        with torch.autocast("cpu", enabled=False):
            _for_each_slice(len(slices), x, run)
        return (None, None, grad_added, *(torch.stack(each).sum(0) for each in zip(*totals, strict=True)))
