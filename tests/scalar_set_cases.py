"""Encoders and inputs for the tests of the kernels for sets of scalars."""

import torch

from sne.encoders.set_functions import ChunkEncoder


def chunk_encoder(dim: int, heads: int) -> ChunkEncoder:
    """Every parameter away from the zeros it may start at."""
    torch.manual_seed(0)
    module = ChunkEncoder(dim, heads=heads, has_norm=False)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return module


def inputs(sets: int, tokens: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(sets, tokens, generator=generator), torch.randn(sets, dim, generator=generator)
