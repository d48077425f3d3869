"""The weights of a checkpoint, as a zoo keeps them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from sne.checkpoints import CheckpointError, read_network
from sne.errors import ZooError
from sne.networks import Network, TensorInfo, recognise
from sne.symmetry import Symmetry
from sne.symmetry.by_name.known import Known
from sne.zoo.importing.symmetries import SymmetriesByName
from sne.zoo.store.layout import Layout, flatten


@dataclass(frozen=True)
class Weights:
    """The tensors of a network as one flat vector.

    Args:
        layout: how the vector is cut into tensors.
        vector: all entries.
        symmetry: which changes of them leave what the network does alone; None where that is not known.
    """

    layout: Layout
    vector: Float[Tensor, " entries"]
    symmetry: Symmetry | None = None


def read_weights(
    path: Path, symmetries: SymmetriesByName | None, known: Known | None = None, left_out: Collection[str] = ()
) -> Weights:
    """The tensors that a checkpoint's layers are made of, each once.

    Args:
        path: anything that `read_network` reads.
        symmetries: where the network's symmetry is looked for; None to leave it open.
        known: what the format says of the network beyond names and shapes.
        left_out: tensors that stand in the file and are no part of the network.

    Raises:
        ZooError: there is no such file, it cannot be read whole, or a zoo could not tell its layers again.
    """
    if not path.exists():
        raise ZooError(f"{path}: no such file")
    try:
        network = read_network(path)
        if left_out:
            network = _without(network, left_out)
        layout, vector = flatten(_used_tensors(network))
    except CheckpointError as error:
        raise ZooError(str(error)) from None
    symmetry = symmetries.find(network, known or Known(), str(path)) if symmetries else None
    return Weights(layout, vector, symmetry if symmetry and _changes_nothing_else(symmetry, layout) else None)


def _without(network: Network, names: Collection[str]) -> Network:
    source = network.source
    state = {name: source.load(name) for name in source.infos if name not in names}
    try:
        return read_network(state, name=network.name)
    except CheckpointError as error:
        raise CheckpointError(network.name, error.reason) from None


def _used_tensors(network: Network) -> dict[str, Tensor]:
    """The tensors of a network's layers, loaded.

    Raises:
        ZooError: no layer was recognised, or names and shapes alone, which a zoo keeps, do not tell the layers.
        CheckpointError: a tensor cannot be read, or holds NaN or infinity.
    """
    used = {part.tensor for _, part in network.parts()}
    state = {name: network.source.load(name) for name in network.source.infos if name in used}
    if not state:
        raise ZooError(f"{network.name}: no layer was recognised")
    infos = {name: TensorInfo(name, tuple(t.shape), str(t.dtype)) for name, t in state.items()}
    layers, _ = recognise(infos)
    if [layer.parts for layer in layers] != [layer.parts for layer in network.layers]:
        raise ZooError(f"{network.name}: its layers cannot be told from names and shapes alone, as a zoo keeps them")
    return state


def _changes_nothing_else(symmetry: Symmetry, layout: Layout) -> bool:
    """Whether a zoo keeps all tensors that a symmetry changes: it keeps none that is no weight of a layer."""
    kept = {symmetry.aliases.get(slot.name, slot.name) for slot in layout.slots}
    return all(span.tensor in kept for one in (*symmetry.groups, *symmetry.mixings) for span in one.spans)
