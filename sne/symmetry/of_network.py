"""Symmetries of networks that have been read, and networks at the canonical point of their orbit."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Protocol, runtime_checkable

from torch import Tensor

from sne.networks import Network, TensorInfo, TensorSource
from sne.symmetry.by_name import symmetry_by_name
from sne.symmetry.canonical import CANONICAL_KINDS, canonical_transformation
from sne.symmetry.symmetry import Symmetry
from sne.symmetry.transformation import Transformation, apply_to_tensor


@runtime_checkable
class KnowsSymmetry(Protocol):
    """A tensor source that stores the symmetry of its network, as the rows of a zoo do."""

    @property
    def symmetry(self) -> Symmetry | None:
        """Symmetry of the network; None if it is unknown."""
        ...


def symmetry_of(network: Network) -> Symmetry:
    """Returns the symmetry of a network: the one that its source stores, or else the one that names and shapes imply.

    Args:
        network: Network read from a zoo, a file, a state dict or a module.

    Returns:
        The stored symmetry, or the result of `symmetry_by_name`, which may have no groups.

    Example:
        >>> import torch, sne
        >>> state = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).state_dict()
        >>> [group.size for group in sne.symmetry.symmetry_of(sne.read_network(state)).groups]
        [4]
    """
    source = network.source
    stored = source.symmetry if isinstance(source, KnowsSymmetry) else None
    return symmetry_by_name(network) if stored is None else stored


def canonicalize(network: Network) -> Network:
    """Returns a network with scales and signs of its neurons at the canonical point of their orbit.

    Args:
        network: Network read from a zoo, a file, a state dict or a module. Its symmetry is that of `symmetry_of`.

    Returns:
        A network that computes the same function and is read lazily. It is the same object if no scaling or sign flip
        is known for it.
    """
    symmetry = symmetry_of(network)
    if not any(kind in group.kinds for group in symmetry.groups for kind in CANONICAL_KINDS):
        return network
    return replace(network, source=_CanonicalTensors(network.source, symmetry))


class _CanonicalTensors:
    """Tensors of a network at the canonical point of its orbit; a `TensorSource`.

    Args:
        source: Tensors as they are stored.
        symmetry: Symmetry of the network.
    """

    def __init__(self, source: TensorSource, symmetry: Symmetry) -> None:
        self._source = source
        self.symmetry: Symmetry | None = symmetry

    @property
    def name(self) -> str:
        """Name of the source."""
        return self._source.name

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape and dtype of every stored tensor, by name."""
        return self._source.infos

    def load(self, name: str) -> Tensor:
        """Returns the values of one tensor. The first call reads all tensors that the symmetry scales."""
        return apply_to_tensor(self._transformation, name, self._source.load(name))

    @cached_property
    def _transformation(self) -> Transformation:
        assert self.symmetry is not None
        return canonical_transformation(self.symmetry, _LazyState(self._source))


class _LazyState(Mapping[str, Tensor]):
    """A state dict whose tensors are loaded on access."""

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
