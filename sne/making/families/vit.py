"""Small vision transformers, with and without residual connections."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sne.making.families.blocks import ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform, Uniform

PATCH = 4


class Attention(nn.Module):
    """Multi-head self-attention with a fused projection; names as in timm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Mixes the tokens."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers on every token; names as in timm."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Transforms each token separately."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Attention and feed-forward layers, each after a layer norm, and each with a skip connection if `residual`."""

    def __init__(self, dim: int, heads: int, dropout: float, number: int, residual: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, 2 * dim)
        self.drop1 = ByteDropout(dropout, salt=2 * number)
        self.drop2 = ByteDropout(dropout, salt=2 * number + 1)
        self.residual = residual

    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Applies the block."""
        y = self.drop1(self.attn(self.norm1(x)))
        x = x + y if self.residual else y
        y = self.drop2(self.mlp(self.norm2(x)))
        return x + y if self.residual else y


class PatchEmbedding(nn.Module):
    """Turns patches into tokens with one strided convolution; names as in timm."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, PATCH, stride=PATCH)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens dim"]:
        """Returns the tokens of images."""
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Two blocks of width 32, two heads, feed-forward of twice the width, patches of 4, mean over tokens.

    Source: Tran et al., "Equivariant Neural Functional Networks for Transformers" (2024), its vision zoo.
    Differs: pre-norm blocks with learned positions, named as in timm; one learning-rate range for all
    optimisers.
    """

    def __init__(
        self, shape: ImageShape, classes: int, dropout: float, dim: int = 32, depth: int = 2, residual: bool = True
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.patch_embed = PatchEmbedding(channels, dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, (height // PATCH) * (width // PATCH), dim))
        self.blocks = nn.ModuleList(Block(dim, 2, dropout, i, residual) for i in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return VisionTransformer(shape, classes, hyperparameters["dropout"])


def _plain_module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return VisionTransformer(shape, classes, hyperparameters["dropout"], residual=False)


VIT = Family(
    name="vit",
    space={
        "optimizer": Choice(("adam", "rmsprop", "sgd", "momentum")),
        "learning_rate": LogUniform(3e-4, 5e-2),
        "weight_decay": LogUniform(1e-8, 1e-2),
        "dropout": Uniform(0.0, 0.2),
        "init": Choice(("truncated_normal", "normal", "glorot_normal")),
        "init_std": LogUniform(0.02, 0.5),
        "train_fraction": Choice((0.1, 0.5, 0.9, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=_module,
    smallest=PATCH,
    multiple=PATCH,
)

VIT_PLAIN = replace(VIT, name="vit_plain", module=_plain_module)
"""Vision transformers without residual connections, with the same names and shapes of tensors as `vit`."""
