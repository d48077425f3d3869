"""Networks with NaN or infinite weights: the layers that hold them are left out."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sne.checkpoints.source import CheckpointSource, are_finite
from sne.errors import CheckpointError
from sne.networks import Layer, LayerType, Network, Note

_MOST_CONSTANTS = 1000
_LARGEST_CONSTANTS = 4_000_000
_CONSTANT = "NaN or infinite values in a parameter of no known layer, so it is no weight; set aside"
BESIDE_NONFINITE = "in a layer with NaN or infinite weights, which is left out"
"""The note of a tensor whose layer is left out because of another tensor."""
NONFINITE = "are NaN or infinite; the layer is left out"
"""How the note of a tensor ends whose layer is left out because of its values."""


def without_nonfinite(network: Network) -> Network:
    """Leaves out every layer in which some weights are NaN or infinite.

    All weights are loaded, one tensor at a time.

    Args:
        network: A network of a checkpoint.

    Returns:
        The other layers, at the levels that they had, and one note for each tensor that is left out. The network
        itself if all of its weights are finite.

    Raises:
        CheckpointError: If no layer is left.

    Example:
        >>> from sne.checkpoints import read_network
        >>> state = {"a.weight": torch.tensor([[1.0, float("nan")]]), "b.weight": torch.ones(3, 1)}
        >>> network = without_nonfinite(read_network(state))
        >>> [layer.name for layer in network.layers], network.notes[0].reason
        (['b'], '1 of 2 values are NaN or infinite; the layer is left out')
    """
    counts: dict[str, int] = {}
    for _, part in network.parts():
        if part.tensor not in counts:
            counts[part.tensor] = _count(network, part.tensor)
    bad = {name: count for name, count in counts.items() if count}
    if not bad:
        return network
    kept = tuple(layer for layer in network.layers if not any(part.tensor in bad for part in layer.parts))
    if not kept:
        raise CheckpointError(network.name, f"every layer has NaN or infinite values; first {next(iter(bad))!r}")
    return Network(network.name, kept, network.source, _notes(network, kept, bad) + network.notes)


def without_nonfinite_constants(network: Network) -> Network:
    """Sets aside parameters of no known layer that hold NaN or infinity: masks, constants and buffers, not weights.

    Their values are loaded, as long as there are few of them and they are small. A tensor with the name of a weight or
    a bias is one, whatever its layer is.

    Args:
        network: A network of a checkpoint.

    Returns:
        The other layers, and one note for each parameter that is set aside.

    Example:
        >>> from sne.checkpoints import open_source
        >>> from sne.networks import build_network
        >>> source = open_source({"fc.weight": torch.ones(2, 3), "floor": torch.full((3,), -torch.inf)})
        >>> [note.reason for note in without_nonfinite_constants(build_network("a", source)).notes][-1]
        'NaN or infinite values in a parameter of no known layer, so it is no weight; set aside'
    """
    unknown = [layer for layer in network.layers if layer.type is LayerType.OTHER][:_MOST_CONSTANTS]
    tensors = (part.tensor for layer in unknown for part in layer.parts)
    names = dict.fromkeys(name for name in tensors if name.rpartition(".")[2] not in ("weight", "bias"))
    bad: set[str] = set()
    left = _LARGEST_CONSTANTS
    for name in names:
        left -= network.source.infos[name].num_entries
        if left < 0:
            break
        try:
            bad |= {name} if _count(network, name) else set()
        except CheckpointError:  # the tensor is refused when it is loaded
            continue
    if not bad:
        return network
    kept = tuple(layer for layer in network.layers if not any(part.tensor in bad for part in layer.parts))
    own = tuple(Note(name, _CONSTANT) for name in names if name in bad)
    others = tuple(note for note in network.notes if note.tensor not in bad)
    return Network(network.name, kept, network.source, others + own)


def load_with_nonfinite(network: Network, name: str) -> Tensor:
    """Loads a tensor of a network whatever its values are."""
    source = network.source
    return source.load_any(name) if isinstance(source, CheckpointSource) else source.load(name)


def _notes(network: Network, kept: tuple[Layer, ...], bad: Mapping[str, int]) -> tuple[Note, ...]:
    """Writes one note for each tensor of the layers that are left out, unless a layer that is kept reads it too."""
    still_read = {part.tensor for layer in kept for part in layer.parts}
    left_out = dict.fromkeys(part.tensor for _, part in network.parts() if part.tensor not in still_read)
    infos = network.source.infos
    return tuple(
        Note(
            name,
            f"{bad[name]} of {infos[name].num_entries} values {NONFINITE}" if name in bad else BESIDE_NONFINITE,
        )
        for name in left_out
    )


def _count(network: Network, name: str) -> int:
    """Counts the NaN and infinite values of one tensor."""
    values = load_with_nonfinite(network, name)
    return 0 if are_finite(values) else int((~torch.isfinite(values)).sum())
