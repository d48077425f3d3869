"""Small language models as GPT-2, on images that are read as sequences of grey levels."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform
from sne.making.images import ImageSet
from sne.making.tasks import SIDE, NextLevel

LEVELS = 16
"""Number of grey levels, which is the size of the vocabulary."""


class Conv1D(nn.Module):
    """A linear layer that stores its matrix as inputs x outputs; named and stored as in GPT-2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Float[Tensor, "batch tokens inputs"]) -> Float[Tensor, "batch tokens outputs"]:
        """Transforms each token."""
        return x @ self.weight + self.bias


class CausalAttention(nn.Module):
    """Multi-head self-attention to earlier tokens; names as in GPT-2."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = Conv1D(dim, 3 * dim)
        self.c_proj = Conv1D(dim, dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Mixes each token with those before it."""
        query, key, value = self.c_attn(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers on every token; names as in GPT-2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = Conv1D(dim, 4 * dim)
        self.c_proj = Conv1D(4 * dim, dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Transforms each token separately."""
        return self.c_proj(gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """Attention and feed-forward layers, each after a layer norm and with a skip connection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = CausalAttention(dim, heads)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Applies the block."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class LanguageModel(nn.Module):
    """A decoder with learned positions, whose table of tokens is also its last layer.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); names as in `transformers`.
    Differs: tokens are grey levels of an image, row by row; a few thousand weights; no dropout.
    """

    def __init__(self, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(LEVELS, dim)
        self.wpe = nn.Embedding(SIDE * SIDE, dim)
        self.h = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.ln_f = nn.LayerNorm(dim)

    def forward(self, tokens: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch levels tokens"]:
        """Returns the logits of the token after each token."""
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        return linear(self.ln_f(x), self.wte.weight).transpose(1, 2)


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return LanguageModel(hyperparameters["width"], hyperparameters["depth"], heads=2)


def _task(hyperparameters: Mapping[str, Any], images: ImageSet, generator: torch.Generator, limit: int) -> NextLevel:
    order = torch.randperm(len(images.x_train), generator=generator)
    count = max(round(hyperparameters["train_fraction"] * len(order)), 1)
    return NextLevel(images, order[:count].clone(), limit, LEVELS)


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draws matrices and tables with a standard deviation of 0.05."""
    for parameter in module.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.05, generator=generator)


GPT = Family(
    name="gpt",
    space={
        "width": Choice((16, 24, 32)),
        "depth": Choice((1, 2, 3)),
        "optimizer": Choice(("adam", "adamw")),
        "learning_rate": LogUniform(1e-3, 1e-2),
        "weight_decay": LogUniform(1e-6, 1e-2),
        "init": Choice(("normal",)),
        "train_fraction": Choice((0.25, 0.5, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=_module,
    task=_task,
    initialise=_initialise,
    smallest=SIDE,
)
