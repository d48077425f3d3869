"""Networks read as if their weights stood at the canonical point of their orbit."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from torch import Tensor

from sne.networks import Network, TensorInfo, TensorSource
from sne.symmetry.canonical import CANONICAL_KINDS
from sne.symmetry.of_network import symmetry_of
from sne.symmetry.symmetry import Symmetry
from sne.symmetry.transformation import Transformation


class CanonicalTensors:
    """The tensors of a network at the canonical point of its orbit; a `TensorSource`.

    Args:
        source: of the tensors as they are stored.
        symmetry: what may be changed in them.
    """

    def __init__(self, source: TensorSource, symmetry: Symmetry) -> None:
        self._source = source
        self.symmetry: Symmetry | None = symmetry

    @property
    def name(self) -> str:
        """That of the source."""
        return self._source.name

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor, by name."""
        return self._source.infos

    def load(self, name: str) -> Tensor:
        """The values of one tensor. The first call reads all tensors that the symmetry scales."""
        tensor = self._source.load(name)
        for dim, one in self._change.maps(name).items():
            tensor = one.apply(tensor, dim)
        return tensor

    @cached_property
    def _change(self) -> Transformation:
        assert self.symmetry is not None
        return self.symmetry.canonical(_Loaded(self._source))


class _Loaded(Mapping[str, Tensor]):
    """A state dict whose tensors are read when they are asked for."""

    def __init__(self, source: TensorSource) -> None:
        self._source = source

    def __getitem__(self, name: str) -> Tensor:
        return self._source.load(name)

    def __contains__(self, name: object) -> bool:
        return name in self._source.infos

    def __iter__(self):
        return iter(self._source.infos)

    def __len__(self) -> int:
        return len(self._source.infos)


def canonical_network(network: Network) -> Network:
    """The network with scales and signs of its neurons brought to the canonical point of their orbit.

    Args:
        network: read from a zoo, a file, a state dict or a module. Its symmetry is that of `symmetry_of`.

    Returns:
        A network that computes the same function, read lazily; the same object where nothing is known that may be
        scaled or flipped.
    """
    symmetry = symmetry_of(network)
    if not any(kind in group.kinds for group in symmetry.groups for kind in CANONICAL_KINDS):
        return network
    return replace(network, source=CanonicalTensors(network.source, symmetry))
