"""Measures how exact a kernel is for sets of scalars, next to the CPU's float64."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from sne.nn.folding import FoldedBlocks
from sne.nn.scalar_sets import encode_scalar_sets

Encode: TypeAlias = Callable[[Tensor, Tensor, FoldedBlocks], Tensor]

LARGEST_ERROR = 1e-5
"""Relative error up to which a kernel is used."""


def error_of(
    encode: Encode, device: torch.device, *, tokens: int, dim: int, heads: int, has_gradients: bool = False
) -> float:
    """Measures the error of a kernel on random sets with random parameters.

    Compilers, drivers and devices differ more than one test machine can show, and a wrong value would go unnoticed.
    Kernels are therefore checked in each process before they are used.

    Args:
        encode: The kernel, with the arguments and the result of `encode_scalar_sets`.
        device: Device of the tensors it is given.
        tokens: Size of the sets.
        dim: Width of the result.
        heads: Number of attention heads.
        has_gradients: Whether the kernel has a backward pass, whose results are compared as well.

    Returns:
        The largest error, relative to the largest entry of each result, or to a hundredth of that of all. Errors of
        gradients count a hundredth, since in float32 a ReLU on the edge makes other gradients.
    """
    generator = torch.Generator().manual_seed(0)
    sets, width, numbers = 128 // tokens + 3, dim // heads, heads + 2
    shapes = [(sets, tokens), (sets, dim), (heads,), (heads,), (numbers, dim), (3 * heads, dim + numbers, width)]
    shapes += [(dim, dim), (dim,), (dim, dim), (dim,), (dim, heads), (heads, dim, width), (dim,), (dim, dim), (dim,)]
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        given = [torch.randn(shape, generator=generator, dtype=torch.float32) / 4 for shape in shapes]
        expected = _results(encode_scalar_sets, [value.double() for value in given], has_gradients)
        found = _results(encode, [value.to(device) for value in given], has_gradients)
    sizes = [float(value.abs().max()) for value in expected]
    pairs = zip(found, expected, sizes, strict=True)
    errors = [float((a.cpu() - b).abs().max()) / max(size, 1e-2 * max(sizes)) for a, b, size in pairs]
    largest = torch.tensor([errors[0], *(error / 100 for error in errors[1:])], dtype=torch.float64).max()
    return float(largest)  # NaN if there is one


def _results(encode: Encode, given: list[Tensor], has_gradients: bool) -> list[Tensor]:
    x, *inputs = given
    with torch.set_grad_enabled(has_gradients):
        inputs = [value.requires_grad_(has_gradients) for value in inputs]
        out = encode(x, inputs[0], FoldedBlocks(*inputs[1:]))
        return [out.detach(), *(torch.autograd.grad(out.square().sum(), inputs) if has_gradients else ())]
