"""Shuffled copies: networks whose weights change places within each tensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from sne.networks.network import Layer, Network
from sne.networks.part import RangeSource, TensorInfo, TensorSource


@final
@dataclass(frozen=True)
class ShuffledSource:
    """A source whose tensors, or some of them, are shuffled.

    Args:
        source: The source as it is.
        seed: Random seed.
        names: The tensors that are shuffled; None for all of them.
    """

    source: TensorSource
    seed: int
    names: frozenset[str] | None = None

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor by name."""
        return self.source.infos

    def load(self, name: str) -> Tensor:
        """Loads a tensor; one that is shuffled has its entries in random order, the same for every call."""
        values = self.source.load(name)
        if not self._is_shuffled(name):
            return values
        generator = torch.Generator().manual_seed(self.seed + list(self.infos).index(name))
        order = torch.randperm(values.numel(), generator=generator)
        return values.flatten()[order].reshape(values.shape)

    def load_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Loads a range of a tensor that is not shuffled."""
        if self._is_shuffled(name) or not isinstance(self.source, RangeSource):
            return None
        return self.source.load_range(name, start, stop)

    def _is_shuffled(self, name: str) -> bool:
        return self.names is None or name in self.names


def shuffled(network: Network, seed: int, layers: Sequence[Layer] | None = None) -> Network:
    """Returns a network with the same entries in each tensor, in random order.

    What it has learned is lost: only the distribution of each tensor remains.

    Args:
        network: The network.
        seed: Random seed.
        layers: Layers whose tensors are shuffled; None for all.

    Example:
        >>> from sne import read_network
        >>> network = read_network({"fc.weight": torch.arange(6.0).view(2, 3)})
        >>> part = network.layers[0].parts[0]
        >>> shuffled(network, 0).read(part).flatten().sort().values.tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    names = None if layers is None else frozenset(part.tensor for layer in layers for part in layer.parts)
    return replace(network, source=ShuffledSource(network.source, seed, names))
