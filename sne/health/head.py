"""Whether the last layer of a network was made anew and not trained yet, without reading the other layers."""

from sne.errors import CheckpointError
from sne.health.tensors import DRAWN, measure
from sne.health.untrained import LOOKS_UNTRAINED, untrained_heads
from sne.networks import LayerType, Network

MOST_WEIGHTS = 4_000_000
"""Largest number of weights of a last layer that is looked at."""


def describe_head(network: Network) -> str | None:
    """Says that the last layer of a network looks untrained, as that of a network that got a new head.

    It reads the last layer alone, so it may name layers that `sne.check` does not, such as that of a small network that
    was never trained, and misses those that show only next to other layers.

    Args:
        network: The network. The weights of its last layer are read, unless there are more than `MOST_WEIGHTS`.

    Returns:
        A sentence that names the layer and ends with `LOOKS_UNTRAINED`; None if nothing shows that it is untrained, or
        if it cannot be read.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> drawn = torch.randn(10, 64, generator=torch.Generator().manual_seed(0)) * 0.02
        >>> describe_head(read_network({"fc.weight": drawn, "fc.bias": torch.zeros(10)}))
        'the last layer (fc) looks untrained'
    """
    judged = [layer for layer in network.layers if layer.type is not LayerType.OTHER]
    judged = [layer for layer in judged if any(part.role in DRAWN and part.num_entries > 1 for part in layer.parts)]
    last = max((layer.level for layer in judged), default=0)
    heads = [layer for layer in judged if layer.level == last]
    if sum(part.num_entries for layer in heads for part in layer.parts) > MOST_WEIGHTS:
        return None
    try:
        layers = [(one, [measure(network, one, part, has_spectrum=False) for part in one.parts]) for one in heads]
    except CheckpointError:
        return None
    named = untrained_heads(layers)
    return f"the last layer ({', '.join(named)}) {LOOKS_UNTRAINED}" if named else None
