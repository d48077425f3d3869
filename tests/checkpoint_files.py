"""Networks and files that the reader tests share."""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sne.networks import Network


class Branching(nn.Module):
    """A convolution, a norm, a transposed convolution and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 6, 2)
        self.fc = nn.Linear(6, 5)
        self.out = nn.Linear(5, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(torch.relu(self.bn1(self.conv1(x)))).mean((2, 3))
        return self.out(torch.relu(self.fc(x)))


def branching(seed: int = 0) -> Branching:
    torch.manual_seed(seed)
    return Branching().eval()


def layout(network: Network) -> list[Any]:
    """Everything of the layers but the names of the tensors."""
    return [
        (layer.name, layer.type, layer.level, [(p.role, p.arranged_shape) for p in layer.parts])
        for layer in network.layers
    ]


def values(network: Network) -> dict[tuple[str, str], torch.Tensor]:
    return {(layer.name, part.role): network.read(part) for layer, part in network.parts()}


def same_values(a: Network, b: Network) -> bool:
    first, second = values(a), values(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def write_safetensors(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path
