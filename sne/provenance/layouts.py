"""Layouts: what names and shapes tell is found once for all networks of one layout."""

from collections.abc import Callable, Hashable
from functools import wraps
from typing import TypeVar

from sne.networks import Network

MOST_KEPT = 128
"""Largest number of layouts whose results are kept, by function."""

Found = TypeVar("Found")


def layout_of(network: Network) -> Hashable:
    """Returns what all networks of one layout have in common: layers, names and shapes of tensors, and hints.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> one, other = (read_network({"fc.weight": torch.randn(3, 4)}) for _ in range(2))
        >>> layout_of(one) == layout_of(other)
        True
    """
    hints = getattr(network.source, "hints", {})
    infos = tuple((name, info.shape) for name, info in network.source.infos.items())
    return network.layers, infos, tuple(hints.items())


def kept_by_layout(function: Callable[[Network], Found]) -> Callable[[Network], Found]:
    """Wraps a function of a network that does not read its values: networks of one layout share one result.

    Args:
        function: The function. Nobody may change what it returns.
    """
    kept: dict[Hashable, Found] = {}

    @wraps(function)
    def find(network: Network) -> Found:
        layout = layout_of(network)
        if layout not in kept:
            if len(kept) >= MOST_KEPT:
                kept.pop(next(iter(kept)))
            kept[layout] = function(network)
        return kept[layout]

    return find
