"""Places: the parts of a network with their layers and names."""

from collections.abc import Iterator
from dataclasses import dataclass

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
