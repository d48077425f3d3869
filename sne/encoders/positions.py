"""Encodings of a layer's type and level, added to what set functions see of it."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sne.encoders.chunking import LAYER_TYPES, ROLES


def sinusoids(levels: Int[Tensor, " parts"], dim: int) -> Float[Tensor, "parts dim"]:
    """Sinusoidal encoding of levels: defined, and different, for networks deeper than any seen.

    Args:
        levels: positions in depth, from 0.
        dim: width of the encoding; even.

    Returns:
        Sines of falling frequency, then the cosines.

    Source: Vaswani et al., arXiv 1706.03762, section 3.5.
    Differs: sines and cosines are not interleaved.
    """
    steps = torch.arange(dim // 2, device=levels.device, dtype=torch.float32)
    angles = levels[:, None].float() * torch.exp(steps * (-math.log(1e4) / max(dim // 2, 1)))
    return torch.cat((angles.sin(), angles.cos()), dim=1)


class TypeLevelEncoding(nn.Module):
    """The encodings of a part's type (learned) and level (sinusoidal), added up.

    The type of a part is its pair of layer type and role: the bias of a convolution has a vector of its own.

    Args:
        dim: width of the encoding; even.

    Source: Andreis et al., arXiv 2305.16625, section 3; method.md, section 1.
    Differs: learned or sinusoidal is OPEN. Types are learned, from small values; levels are sinusoidal times
        a learned gain, so that they reach beyond the depths seen in training and do not drown the weights.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim must be even for sines and cosines, got {dim}")
        self.dim = dim
        self.types = nn.Embedding(len(LAYER_TYPES) * len(ROLES), dim)
        nn.init.normal_(self.types.weight, std=0.1)
        self.gain = nn.Parameter(torch.tensor(0.1))

    def forward(
        self,
        layer_types: Int[Tensor, " parts"],
        roles: Int[Tensor, " parts"],
        levels: Int[Tensor, " parts"],
    ) -> Float[Tensor, "parts dim"]:
        """Encodes parts by the numbers of their layer type and role and by their level."""
        types = self.types(len(ROLES) * layer_types + roles)
        return types + self.gain * sinusoids(levels, self.dim).to(types.dtype)
