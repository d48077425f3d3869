"""Places: the parts of a network with their layers and names, and entries at equal distances."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sne.networks import Layer, Network, Part


@dataclass(frozen=True)
class Place:
    """A part with its layer.

    Args:
        layer: The layer.
        part: One of its parts.
    """

    layer: Layer
    part: Part

    @property
    def name(self) -> str:
        """Name of the layer and role of the part, and the label of a piece of a fused tensor."""
        return f"{self.layer.name}.{self.part.role.value}" + (f" ({self.part.label})" if self.part.label else "")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of outputs, inputs and kernel positions."""
        return self.part.arranged_shape


def places_of(network: Network) -> Iterator[Place]:
    """Yields the parts of a network with their layers, in order."""
    for layer, part in network.parts():
        yield Place(layer, part)


def spaced(length: int, most: int) -> Int[Tensor, " indices"]:
    """Returns at most so many indices of an axis at equal distances, with the first and the last one.

    Example:
        >>> spaced(9, 3).tolist(), spaced(2, 3).tolist()
        ([0, 4, 8], [0, 1])
    """
    return torch.linspace(0, length - 1, min(length, most), dtype=torch.float32).long()
