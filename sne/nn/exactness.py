"""Measures how exact a kernel is for sets of scalars, next to the CPU's float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from sne.nn.folding import FoldedBlocks
from sne.nn.scalar_sets import encode_scalar_sets

LARGEST_ERROR = 1e-5
"""Relative error up to which a kernel is used."""


def error_of(
    encode: Callable[[Tensor, Tensor, FoldedBlocks], Tensor], device: torch.device, *, tokens: int, dim: int, heads: int
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

    Returns:
        The largest error, relative to the largest entry of the result.
    """
    generator = torch.Generator().manual_seed(0)
    sets, width, numbers = 128 // tokens + 3, dim // heads, heads + 2
    shapes = [(sets, tokens), (sets, dim), (heads,), (heads,), (numbers, dim), (3 * heads, dim + numbers, width)]
    shapes += [(dim, dim), (dim,), (dim, dim), (dim,), (dim, heads), (heads, dim, width), (dim,), (dim, dim), (dim,)]
    x, added, *parameters = (torch.randn(shape, generator=generator) / 4 for shape in shapes)
    expected = encode_scalar_sets(x.double(), added.double(), FoldedBlocks(*(p.double() for p in parameters)))
    with torch.autocast(device.type, enabled=False):
        blocks = FoldedBlocks(*(p.to(device) for p in parameters))
        found = encode(x.to(device), added.to(device), blocks).cpu()
    return float((found - expected).abs().max() / expected.abs().max())
