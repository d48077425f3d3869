"""The weights of a checkpoint, as a zoo keeps them."""

from pathlib import Path

from torch import Tensor

from sne.checkpoints import CheckpointError, read_network
from sne.networks import Network, TensorInfo, recognise
from sne.zoo.errors import ZooError


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors that a checkpoint's layers are made of, each once.

    Args:
        path: anything that `read_network` reads.

    Returns:
        Tensors by name, in the order of the file.

    Raises:
        ZooError: there is no such file, it cannot be read whole, or a zoo could not tell its layers again.
    """
    if not path.exists():
        raise ZooError(f"{path}: no such file")
    try:
        return used_tensors(read_network(path))
    except CheckpointError as error:
        raise ZooError(str(error)) from None


def used_tensors(network: Network) -> dict[str, Tensor]:
    """The tensors that a network's layers are made of, each once; loads them.

    Args:
        network: from `read_network`; its name is what messages call it.

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
