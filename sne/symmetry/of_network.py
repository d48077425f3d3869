"""The symmetry of a network that has been read: what its source knows, or else what names and shapes say."""

from typing import Protocol, runtime_checkable

from sne.networks import Network
from sne.symmetry.by_name import symmetry_by_name
from sne.symmetry.symmetry import Symmetry


@runtime_checkable
class KnowsSymmetry(Protocol):
    """A source of tensors that keeps the symmetry of its network, as the rows of a zoo do."""

    @property
    def symmetry(self) -> Symmetry | None:
        """The symmetry; None where it is not known."""
        ...


def symmetry_of(network: Network) -> Symmetry:
    """Which changes of a network's weights leave its function alone, as well as that is known.

    Args:
        network: read from a zoo, a file, a state dict or a module.

    Returns:
        The traced symmetry where the network's source keeps one, else that of `symmetry_by_name`, which may have no
        groups.
    """
    source = network.source
    kept = source.symmetry if isinstance(source, KnowsSymmetry) else None
    return symmetry_by_name(network) if kept is None else kept
