"""Encodes many small sets of scalars on a GPU: two set attention blocks and PMA in one Triton kernel."""

import logging
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from sne.nn.exactness import LARGEST_ERROR, error_of
from sne.nn.folding import FoldedBlocks

ROWS = 64
"""Number of tokens per program. Its sets are whole; those of nine scalars leave one row of 64 without use."""

LARGEST_DIM = 64
"""Largest width whose tensors nearly fit the registers of a program: at 128, 20 kB per thread would not."""

SMALLEST_WIDTH = 16
"""Smallest side of a product on tensor cores, and therefore the smallest width of a head."""

PRECISION = "tf32x3"
"""Products are sums of three products of TF32 numbers, which are about as exact as those of float32."""


def can_encode(x: Float[Tensor, "sets tokens"], added: Float[Tensor, "sets dim"], *, heads: int) -> bool:
    """Tells whether the kernel supports the device, these sizes and these types, and has passed its check there.

    Args:
        x: The sets.
        added: Vector added to all tokens of each set before they are pooled.
        heads: Number of attention heads.

    Returns:
        Whether `encode_sets` can be called.
    """
    dim, tokens = added.shape[1], x.shape[1]
    are_single = x.dtype == added.dtype == torch.float32
    are_powers = dim & (dim - 1) == 0 and heads & (heads - 1) == 0
    fits = are_powers and dim <= LARGEST_DIM and dim >= heads * SMALLEST_WIDTH and 0 < tokens <= ROWS // 2
    if not (are_single and fits and len(x)) or torch.version.hip is not None:
        return False
    has_tf32 = torch.cuda.get_device_capability(x.device) >= (8, 0)
    return has_tf32 and is_exact(x.device, tokens, dim, heads)


@cache
def is_exact(device: torch.device, tokens: int, dim: int, heads: int) -> bool:
    """Checks the kernel once per process, device and size; a failure is logged.

    Args:
        device: The device.
        tokens: Size of the sets.
        dim: Width of the result.
        heads: Number of attention heads.

    Returns:
        Whether the kernel runs, and its error is within `LARGEST_ERROR`.
    """
    try:
        error = error_of(encode_sets, device, tokens=tokens, dim=dim, heads=heads)
        reason = "" if error < LARGEST_ERROR else f"its relative error is {error:.1e}"
    except Exception as problem:  # of the compiler or the driver
        reason = " ".join(str(problem).split())
    if reason:
        message = "the Triton kernel for sets of %d is not used on %s: %s"
        logging.getLogger(__name__).warning(message, tokens, device, reason)
    return not reason


def encode_sets(
    x: Float[Tensor, "sets tokens"], added: Float[Tensor, "sets dim"], blocks: FoldedBlocks
) -> Float[Tensor, "sets dim"]:
    """Computes what `encode_scalar_sets` computes, without gradients.

    A program takes `ROWS` tokens of consecutive sets. Attention is computed between all of them, and weights between
    different sets are zero: on tensor cores this is cheaper than to pad each set to a power of two.

    Args:
        x: The sets; all entries are real.
        added: Vector added to all tokens of each set before they are pooled.
        blocks: The parameters.

    Returns:
        One vector per set. If an entry of a set, or a number computed from it, is not finite, its vector is NaN.

    Source: Lee et al., arXiv 1810.00825, sections 3.1 and 3.2; method.md, section 5.
    Differs: nothing but the order of operations.
    """
    heads, dim = len(blocks.slopes), added.shape[1]
    sets, tokens = x.shape
    x, blocks = x.contiguous(), FoldedBlocks(*(value.contiguous() for value in blocks))
    shifts = torch.addmm(blocks.pooling_bias, added, blocks.pooling)
    averages = x.new_empty(sets, heads, dim)
    per_program = ROWS // tokens
    sizes = {
        "ROWS": ROWS,
        "SETS": max(SMALLEST_WIDTH, triton.next_power_of_2(per_program)),
        "DIM": dim,
        "HEADS": heads,
        "NUMBERS": max(SMALLEST_WIDTH, triton.next_power_of_2(heads + 2)),
        "PRECISION": PRECISION,
    }
    until_pooling = blocks[: FoldedBlocks._fields.index("pooling_bias")]
    kernel: Any = _average_sets  # the decorator changes its type, where Triton is installed
    with torch.cuda.device_of(x):
        kernel[(triton.cdiv(sets, per_program),)](
            x, shifts, *until_pooling, blocks.pooling_keys, averages, sets, tokens, **sizes
        )
    hidden = torch.einsum("shd,hdw->shw", averages, blocks.pooling_values).flatten(1) + blocks.pooling_query
    return hidden + torch.addmm(blocks.last_bias, hidden, blocks.last).relu_()


@triton.jit(do_not_specialize=["num_sets", "tokens"])  # one program for many sizes: it takes seconds to compile
def _average_sets(
    x_at,
    shifts_at,
    slopes_at,
    offsets_at,
    inner_at,
    projections_at,
    feedforward_at,
    feedforward_bias_at,
    pooling_at,
    pooling_keys_at,
    averages_at,
    num_sets,
    tokens,
    ROWS: tl.constexpr,
    SETS: tl.constexpr,
    DIM: tl.constexpr,
    HEADS: tl.constexpr,
    NUMBERS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Writes the average of the tokens of each set under the weights of each head of PMA."""
    WIDTH: tl.constexpr = DIM // HEADS
    row, column, number = tl.arange(0, ROWS), tl.arange(0, DIM), tl.arange(0, NUMBERS)
    part = tl.arange(0, WIDTH)
    per_program = ROWS // tokens
    first_set = tl.program_id(0).to(tl.int64) * per_program
    set_of = row // tokens
    is_real = (set_of < per_program) & (first_set + set_of < num_sets)
    is_same = set_of[:, None] == set_of[None, :]
    x = tl.load(x_at + first_set * tokens + row, mask=is_real, other=0.0)

    numbers = _numbers(x, is_same, slopes_at, offsets_at, ROWS, HEADS, NUMBERS)
    is_number = (number < HEADS + 2)[:, None]
    inner = tl.load(inner_at + number[:, None] * DIM + column[None, :], mask=is_number, other=0.0)
    inside = tl.maximum(tl.dot(numbers, inner, input_precision=PRECISION), 0.0)

    mapped = tl.zeros((ROWS, DIM), tl.float32)  # of the feed-forward layer
    direct = tl.zeros((ROWS, DIM), tl.float32)  # the part of PMA's input that does not pass it
    is_bad = tl.zeros((ROWS,), tl.int32)
    for head in range(HEADS):
        queries = _project(inside, numbers, projections_at, head, DIM, HEADS, NUMBERS, PRECISION)
        keys = _project(inside, numbers, projections_at, HEADS + head, DIM, HEADS, NUMBERS, PRECISION)
        values = _project(inside, numbers, projections_at, 2 * HEADS + head, DIM, HEADS, NUMBERS, PRECISION)
        is_bad, values = _set_aside(is_bad, values)
        weights = _exponentials(tl.dot(queries, tl.trans(keys), input_precision=PRECISION), is_same)
        hidden = queries + tl.dot(weights, values, input_precision=PRECISION) / tl.sum(weights, 1)[:, None]
        at = (head * WIDTH + part)[:, None] * DIM + column[None, :]
        mapped = tl.dot(hidden, tl.load(feedforward_at + at), mapped, input_precision=PRECISION)
        direct = tl.dot(hidden, tl.load(pooling_at + at), direct, input_precision=PRECISION)

    mapped = tl.maximum(mapped + tl.load(feedforward_bias_at + column)[None, :], 0.0)
    pooling = tl.load(pooling_at + column[:, None] * DIM + column[None, :])
    shifts = tl.load(
        shifts_at + (first_set + set_of)[:, None] * DIM + column[None, :], mask=is_real[:, None], other=0.0
    )
    pooled = tl.dot(mapped, pooling, direct, input_precision=PRECISION) + shifts
    is_bad, pooled = _set_aside(is_bad, tl.maximum(pooled, 0.0, propagate_nan=tl.PropagateNan.ALL))

    own_set = tl.arange(0, SETS)
    is_member = own_set[:, None] == set_of[None, :]
    is_stored = (own_set < per_program) & (first_set + own_set < num_sets)
    is_bad_set = tl.max(tl.where(is_member, is_bad[None, :], 0), 1)[:, None] > 0
    for head in range(HEADS):
        logits = tl.sum(pooled * tl.load(pooling_keys_at + column * HEADS + head)[None, :], 1)
        weights = _exponentials(tl.broadcast_to(logits[None, :], (SETS, ROWS)), is_member)
        averages = tl.dot(weights, pooled, input_precision=PRECISION) / tl.sum(weights, 1)[:, None]
        at = ((first_set + own_set) * HEADS + head)[:, None] * DIM + column[None, :]
        tl.store(averages_at + at, tl.where(is_bad_set, float("nan"), averages), mask=is_stored[:, None])


@triton.jit
def _numbers(x, is_same, slopes_at, offsets_at, ROWS: tl.constexpr, HEADS: tl.constexpr, NUMBERS: tl.constexpr):
    """Returns one row [x, m_1 .. m_H, 1, 0 ..] per token; the tilted means are taken of differences to the token."""
    number = tl.arange(0, NUMBERS)
    is_one = (number == HEADS + 1)[None, :]
    numbers = tl.where((number == 0)[None, :], x[:, None], tl.where(is_one, 1.0, tl.zeros((ROWS, NUMBERS), tl.float32)))
    apart = tl.where(is_same, x[None, :] - x[:, None], 0.0)
    for head in range(HEADS):
        tilts = tl.load(slopes_at + head) * x + tl.load(offsets_at + head)
        weights = _exponentials(tilts[:, None] * apart, is_same)
        means = x + tl.sum(weights * apart, 1) / tl.sum(weights, 1)
        numbers = tl.where((number == 1 + head)[None, :], means[:, None], numbers)
    return numbers


@triton.jit
def _project(
    inside,
    numbers,
    projections_at,
    index,
    DIM: tl.constexpr,
    HEADS: tl.constexpr,
    NUMBERS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Applies one of the maps to queries, keys or values of one head."""
    WIDTH: tl.constexpr = DIM // HEADS
    column, number, part = tl.arange(0, DIM), tl.arange(0, NUMBERS), tl.arange(0, WIDTH)
    at = projections_at + index * (DIM + HEADS + 2) * WIDTH + part[None, :]
    of_numbers = tl.load(at + (DIM + number)[:, None] * WIDTH, mask=(number < HEADS + 2)[:, None], other=0.0)
    result = tl.dot(numbers, of_numbers, input_precision=PRECISION)
    return tl.dot(inside, tl.load(at + column[:, None] * WIDTH), result, input_precision=PRECISION)


@triton.jit
def _exponentials(logits, is_same):
    """Returns the weights of a softmax before their division; they are zero outside a row's set."""
    logits = tl.where(is_same, logits, float("-inf"))
    return tl.exp(logits - tl.max(logits, 1)[:, None])


@triton.jit
def _set_aside(is_bad, rows):
    """Sets what is not finite to zero, since zero times it would reach other sets, and keeps in which rows it was."""
    is_finite = tl.abs(rows) < float("inf")
    return is_bad | tl.max(tl.where(is_finite, 0, 1), 1), tl.where(is_finite, rows, 0.0)
