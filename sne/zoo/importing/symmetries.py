"""The symmetries of networks that come without code: found once for all that have the same names and shapes."""

from collections.abc import Callable, Mapping

from sne.checkpoints.source import CheckpointSource
from sne.networks import Hint, Network, TensorInfo
from sne.symmetry import Symmetry, SymmetryError, symmetry_by_name
from sne.symmetry.by_name.known import Known


class SymmetriesByName:
    """What `symmetry_by_name` finds for the networks of one import.

    Args:
        tell: called with one line where what a format says of a network contradicts its shapes.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._found: dict[object, Symmetry | None] = {}

    def find(self, network: Network | Mapping[str, TensorInfo], known: Known, where: str) -> Symmetry | None:
        """The symmetry of a network: one object for all of the same names and shapes, whatever their order.

        Args:
            network: as it was read, before anything is dropped from it; or its tensors by name.
            known: what the format says of it beyond names and shapes.
            where: what messages call it.

        Returns:
            None where nothing is certain.
        """
        infos, hints = _describe(network)
        key = known, frozenset((name, info.shape) for name, info in infos.items()), frozenset(hints.items())
        if key not in self._found:
            self._found[key] = self._look(network, known, where)
        return self._found[key]

    def _look(self, network: Network | Mapping[str, TensorInfo], known: Known, where: str) -> Symmetry | None:
        try:
            symmetry = symmetry_by_name(
                network,
                heads=known.heads,
                config={"tie_word_embeddings": known.is_tied},
                activation=known.activation,
                assume_sequential=known.is_sequential,
            )
        except SymmetryError as error:
            self._tell(f"{where}: {error}; kept without its symmetry")
            return None
        return symmetry if symmetry.groups else None


def _describe(network: Network | Mapping[str, TensorInfo]) -> tuple[Mapping[str, TensorInfo], Mapping[str, Hint]]:
    if not isinstance(network, Network):
        return network, {}
    source = network.source
    return source.infos, source.hints if isinstance(source, CheckpointSource) else {}
