"""The weights of a checkpoint as a zoo stores them, with the symmetries that are certain."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from sne.checkpoints import read_network
from sne.checkpoints.source import CheckpointSource
from sne.errors import CheckpointError, SymmetryError, ZooError
from sne.networks import Hint, Network, TensorInfo, recognise
from sne.symmetry import Symmetry, symmetry_by_name
from sne.symmetry.by_name.known import Known
from sne.zoo.store.layout import Layout, flatten


@dataclass(frozen=True)
class Weights:
    """The tensors of a network as one flat vector.

    Args:
        layout: Places of the tensors in the vector.
        vector: All entries.
        symmetry: Changes of the weights that keep the network's function; None if they are not known.
    """

    layout: Layout
    vector: Float[Tensor, " entries"]
    symmetry: Symmetry | None = None


class SymmetriesByName:
    """Finds the symmetries of the networks of one import, once for all networks of the same names and shapes.

    Args:
        tell: Called with one line if a format's statement about a network contradicts its shapes.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._found: dict[object, Symmetry | None] = {}

    def find(self, network: Network | Mapping[str, TensorInfo], known: Known, where: str) -> Symmetry | None:
        """Returns the symmetry of a network, one object for all networks of the same names and shapes.

        Args:
            network: Network as it was read, before anything is removed from it; or its tensors by name.
            known: Facts about the network that the format states in addition to names and shapes.
            where: Name of the network in messages.

        Returns:
            None if nothing is certain.
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


def read_weights(
    path: Path, symmetries: SymmetriesByName | None, known: Known | None = None, left_out: Collection[str] = ()
) -> Weights:
    """Reads the tensors that the layers of a checkpoint consist of, each once.

    Args:
        path: Anything that `read_network` reads.
        symmetries: Finds the symmetry of the network; None to leave it open.
        known: Facts about the network that the format states in addition to names and shapes.
        left_out: Tensors of the file that do not belong to the network.

    Raises:
        ZooError: The file is missing, cannot be read completely, or its layers would not be recognised in a zoo.
    """
    if not path.exists():
        raise ZooError(f"{path}: no such file")
    try:
        network = read_network(path)
        if left_out:
            network = _without(network, left_out)
        layout, vector = flatten(_used_tensors(network))
    except CheckpointError as error:
        raise ZooError(f"{error.file}: {error.reason}") from None  # an import has no remedy
    symmetry = symmetries.find(network, known or Known(), str(path)) if symmetries else None
    return Weights(layout, vector, symmetry if symmetry and _changes_nothing_else(symmetry, layout) else None)


def _describe(network: Network | Mapping[str, TensorInfo]) -> tuple[Mapping[str, TensorInfo], Mapping[str, Hint]]:
    if not isinstance(network, Network):
        return network, {}
    source = network.source
    return source.infos, source.hints if isinstance(source, CheckpointSource) else {}


def _without(network: Network, names: Collection[str]) -> Network:
    source = network.source
    state = {name: source.load(name) for name in source.infos if name not in names}
    try:
        return read_network(state, name=network.name)
    except CheckpointError as error:
        raise CheckpointError(network.name, error.reason) from None


def _used_tensors(network: Network) -> dict[str, Tensor]:
    """Returns the tensors of a network's layers, loaded.

    Raises:
        ZooError: No layer was recognised, or the layers depend on more than the names and shapes that a zoo stores.
        CheckpointError: A tensor cannot be read, or holds NaN or infinity.
    """
    used = {part.tensor for _, part in network.parts()}
    state = {name: network.source.load(name) for name in network.source.infos if name in used}
    if not state:
        raise ZooError(f"{network.name}: no layer was recognised")
    infos = {name: TensorInfo(name, tuple(t.shape), str(t.dtype)) for name, t in state.items()}
    layers, _ = recognise(infos)
    if [layer.parts for layer in layers] != [layer.parts for layer in network.layers]:
        raise ZooError(
            f"{network.name}: its layers cannot be recognised from names and shapes alone, which is all a zoo stores"
        )
    return state


def _changes_nothing_else(symmetry: Symmetry, layout: Layout) -> bool:
    """Whether every tensor that a symmetry changes is stored; a zoo stores only the weights of layers."""
    kept = {symmetry.aliases.get(slot.name, slot.name) for slot in layout.slots}
    return all(span.tensor in kept for one in (*symmetry.groups, *symmetry.mixings) for span in one.spans)
