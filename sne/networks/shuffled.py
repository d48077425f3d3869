"""Shuffled copies: networks whose weights change places within each tensor."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from sne.networks.network import Network
from sne.networks.part import TensorInfo, TensorSource


@final
@dataclass(frozen=True)
class ShuffledSource:
    """A source whose tensors are shuffled.

    Args:
        source: The source as it is.
        seed: Random seed.
    """

    source: TensorSource
    seed: int

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor by name."""
        return self.source.infos

    def load(self, name: str) -> Tensor:
        """Loads a tensor with its entries in random order, the same for every call."""
        values = self.source.load(name)
        generator = torch.Generator().manual_seed(self.seed + list(self.infos).index(name))
        order = torch.randperm(values.numel(), generator=generator)
        return values.flatten()[order].reshape(values.shape)


def shuffled(network: Network, seed: int) -> Network:
    """Returns a network with the same entries in each tensor, in random order.

    What it has learned is lost: only the distribution of each tensor remains.

    Args:
        network: The network.
        seed: Random seed.

    Example:
        >>> from sne import read_network
        >>> network = read_network({"fc.weight": torch.arange(6.0).view(2, 3)})
        >>> part = network.layers[0].parts[0]
        >>> shuffled(network, 0).read(part).flatten().sort().values.tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    return replace(network, source=ShuffledSource(network.source, seed))
