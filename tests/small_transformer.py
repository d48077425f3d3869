"""The network of the Small Transformer Zoo, by the names of its published state dicts; several rooms read it."""

import torch
from torch import nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

DIM = 8


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("queries", "keys", "values", "out_projection"):
            self.add_module(name, nn.Linear(DIM, DIM, bias=False))

    def forward(self, x, heads):
        layers = (self.queries, self.keys, self.values)
        parts = [layer(x).unflatten(-1, (heads, -1)).transpose(1, 2) for layer in layers]
        return self.out_projection(scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.fc1, self.fc2 = Attention(), nn.Linear(DIM, 2 * DIM), nn.Linear(2 * DIM, DIM)

    def forward(self, x, heads, has_skips):
        x = self.attention(layer_norm(x, (DIM,)), heads) + has_skips * x
        return self.fc2(self.fc1(layer_norm(x, (DIM,))).relu()) + has_skips * x


class Transformer(nn.Module):
    """The paper's network; with `has_embedding` on images, else on embedded words."""

    def __init__(self, has_embedding: bool, heads: int = 2, has_skips: bool = False):
        super().__init__()
        self.heads, self.has_skips, self.has_embedding = heads, has_skips, has_embedding
        self.encoder = nn.ModuleList([Block(), Block()])
        self.classifier = nn.Module()
        self.classifier.fc1, self.classifier.fc2 = nn.Linear(DIM, DIM), nn.Linear(DIM, 10)
        if has_embedding:
            self.embedding = nn.Module()
            self.embedding.pos_embedding = nn.Parameter(torch.randn(49, DIM))
            self.embedding.conv1 = nn.Conv2d(1, DIM, 4, 4)

    def forward(self, x):
        if self.has_embedding:
            x = self.embedding.conv1(x).flatten(2).mT + self.embedding.pos_embedding
        for block in self.encoder:
            x = block(x, self.heads, self.has_skips)
        x = layer_norm(x, (DIM,)).mean(1)
        return self.classifier.fc2(self.classifier.fc1(x).relu())
