"""The transformer autoencoder of hyper-representations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from sne.encoders.chunking import LAYER_TYPES
from sne.encoders.set_functions import sinusoids
from sne.lab.neural.weight_tokens import TokenPlan
from sne.nn import PreNormBlock, in_float32

_TEMPERATURE = 0.1


@dataclass(frozen=True)
class TokenWindows:
    """A batch of windows of tokens, padded to the longest window.

    Args:
        tokens: Weights of the tokens; 0 on padding.
        mask: True on weights, False on padding.
        layer_types: Number in `LAYER_TYPES` of each token's layer type.
        positions: Level, row and piece of each token.
    """

    tokens: Float[Tensor, "windows tokens token_size"]
    mask: Bool[Tensor, "windows tokens token_size"]
    layer_types: Int[Tensor, "windows tokens"]
    positions: Int[Tensor, "windows tokens 3"]

    @property
    def is_token(self) -> Bool[Tensor, "windows tokens"]:
        """True on tokens, False on padding."""
        return self.mask[:, :, 0]

    @classmethod
    def join(cls, plans: Sequence[TokenPlan], values: Sequence[Tensor], device: torch.device) -> "TokenWindows":
        """Joins windows into a batch.

        Args:
            plans: Plans of the windows.
            values: Values of their tokens, one matrix per window.
            device: Device of the batch.
        """
        columns = (values, [p.mask for p in plans], [p.layer_types for p in plans], [p.positions for p in plans])
        return cls(*(pad_sequence(list(column), batch_first=True).to(device) for column in columns))


@final
class TokenAutoencoder(nn.Module):
    """Maps tokens to short codes and back. All tokens of a window attend to each other.

    Args:
        token_size: Weights per token.
        dim: Width of the transformers.
        code_size: Length of a token's code.
        depth: Number of transformer blocks of the encoder, and of the decoder.
        heads: Number of attention heads.

    Source: Schuerholt et al., arXiv 2110.15288, section 3, and arXiv 2406.09997, section 3.
    Differs: sizes; sinusoidal positions; the decoder is given the positions again; weights pass through asinh.
    """

    @in_float32()
    def __init__(self, *, token_size: int, dim: int, code_size: int, depth: int, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.enter = nn.Linear(token_size, dim)
        self.types = nn.Embedding(len(LAYER_TYPES), dim)
        self.place = nn.Linear(3 * dim, dim)
        self.encoder = nn.Sequential(*(PreNormBlock(dim, heads=heads) for _ in range(depth)))
        self.code = nn.Linear(dim, code_size)
        self.leave = nn.Linear(code_size, dim)
        self.decoder = nn.Sequential(*(PreNormBlock(dim, heads=heads) for _ in range(depth)))
        self.out = nn.Linear(dim, token_size)
        self.project = nn.Sequential(nn.Linear(code_size, dim), nn.SiLU(), nn.Linear(dim, code_size))
        nn.init.normal_(self.types.weight, std=0.1)

    def encode_positions(
        self, layer_types: Int[Tensor, "windows tokens"], positions: Int[Tensor, "windows tokens 3"]
    ) -> Float[Tensor, "windows tokens dim"]:
        """Encodes what is known about tokens besides their weights: layer types and positions."""
        waves = [sinusoids(axis.flatten(), self.dim).view(*axis.shape, -1) for axis in positions.unbind(-1)]
        return self.types(layer_types) + self.place(torch.cat(waves, -1))

    def encode(
        self,
        tokens: Float[Tensor, "windows tokens token_size"],
        positions: Float[Tensor, "windows tokens dim"],
        is_token: Bool[Tensor, "windows tokens"],
    ) -> Float[Tensor, "windows tokens code_size"]:
        """Maps tokens to codes. Approximate inverse: `decode`."""
        x = self.enter(tokens) + positions
        for block in self.encoder:
            x = block(x, is_token)
        return self.code(x)

    def decode(
        self,
        codes: Float[Tensor, "windows tokens code_size"],
        positions: Float[Tensor, "windows tokens dim"],
        is_token: Bool[Tensor, "windows tokens"],
    ) -> Float[Tensor, "windows tokens token_size"]:
        """Maps codes to tokens. Approximate inverse: `encode`."""
        x = self.leave(codes) + positions
        for block in self.decoder:
            x = block(x, is_token)
        return self.out(x)


def contrastive_loss(ones: Float[Tensor, "networks dim"], others: Float[Tensor, "networks dim"]) -> Float[Tensor, ""]:
    """Returns the NT-Xent loss: the cross entropy of finding each vector's partner among all other vectors.

    Args:
        ones: Vectors of length 1.
        others: Vectors of length 1; each row is the partner of the same row of `ones`.

    Source: Chen et al., arXiv 2002.05709, section 2.1.
    Differs: nothing; the temperature is 0.1.
    """
    both = torch.cat([ones, others])
    logits = (both @ both.T / _TEMPERATURE).masked_fill(
        torch.eye(len(both), dtype=torch.bool, device=both.device), -torch.inf
    )
    return cross_entropy(logits, torch.arange(len(both), device=both.device).roll(len(ones)))
