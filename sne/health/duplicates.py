"""Layers that are stored twice: weights of equal values in different places of a network."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from sne.errors import counted
from sne.health.finding import Finding, Severity, finding
from sne.health.layers import LayerHealth, listed
from sne.health.tensors import DRAWN, PIECE, TensorHealth
from sne.networks import Layer, Network, Part, RangeSource, Role, TensorSource
from sne.networks.parts import TABLES

FEWEST = 16
"""Least number of entries of tensors whose equality is no chance."""

Place = tuple[Layer, TensorHealth]
Key = tuple[str, str, str, Role]


def duplicate_findings(network: Network, layers: Sequence[LayerHealth]) -> Iterator[Finding]:
    """Yields one finding per module whose weights other modules hold, too.

    Tensors that are stored once under several names are no duplicates. Tensors of equal shape and extremes are read
    once more and compared.

    Args:
        network: The network, whose source also loads NaN and infinity.
        layers: Its layers and what was measured of them.
    """
    groups: dict[tuple[object, ...], list[Place]] = {}
    for layer, tensors in layers:
        for tensor in tensors:
            if tensor.role in DRAWN and tensor.num_entries >= FEWEST and not tensor.is_constant:
                key = (tensor.shape, tensor.smallest, tensor.largest, tensor.num_zeros, f"{tensor.rms:.4g}")
                groups.setdefault(key, []).append((layer, tensor))
    parts = {(layer.name, part.tensor, part.label, part.role): part for layer, part in network.parts()}
    pairs: dict[tuple[str, str], list[tuple[Layer, Layer]]] = {}
    for places in groups.values():
        for first, others in _equal(network, parts, places):
            for other in others:
                key = _modules(first[0].name, other[0].name)
                pairs.setdefault(key, []).append((first[0], other[0]))
    copies: dict[tuple[str, int], list[str]] = {}
    for (one, other), equal in pairs.items():
        if len(equal) == 1:
            first, copy = equal[0]
            if first.type in TABLES and copy.type not in TABLES:
                message = f"equals the embedding {first.name}: they are tied, or were when the file was written"
                yield finding("duplicate", Severity.INFO, copy.name, message)
                continue
            one, other = first.name, copy.name
        copies.setdefault((one, len(equal)), []).append(other)
    for (one, number), others in copies.items():
        which = f"equals {one}" if len(others) == 1 else f"{listed(others)} equal {one}"
        message = f"{which}, in {counted(number, 'weight tensor')}"
        yield finding("duplicate", Severity.WARNING, others[0] if len(others) == 1 else "network", message)


def _equal(network: Network, parts: Mapping[Key, Part], places: Sequence[Place]) -> Iterator[tuple[Place, list[Place]]]:
    """Yields the first of several equal tensors with the others."""
    left = list(places)
    while len(left) > 1:
        first, *rest = left
        same = [other for other in rest if _are_equal(network, _part(parts, first), _part(parts, other))]
        if same:
            yield first, same
        left = [other for other in rest if other not in same]


def _part(parts: Mapping[Key, Part], place: Place) -> Part:
    layer, tensor = place
    return parts[layer.name, tensor.tensor, tensor.label, tensor.role]


def _are_equal(network: Network, one: Part, other: Part) -> bool:
    """Whether two parts of equal shape as stored hold equal values; they are read piece by piece."""
    if one.axis is None and other.axis is None:  # an embedding and a head that are tied are arranged differently
        pieces = zip(_stored(network.source, one.tensor), _stored(network.source, other.tensor), strict=True)
        return all(torch.equal(first, second) for first, second in pieces)
    if one.arranged_shape != other.arranged_shape:
        return False
    blocks = zip(network.read_blocks(one, PIECE), network.read_blocks(other, PIECE), strict=False)
    return all(first.rows == second.rows and torch.equal(first.values, second.values) for first, second in blocks)


def _stored(source: TensorSource, name: str) -> Iterator[Tensor]:
    """Yields the entries of a stored tensor in pieces."""
    count = source.infos[name].num_entries
    whole: Tensor | None = None
    for start in range(0, count, PIECE):
        stop = min(start + PIECE, count)
        found = source.load_range(name, start, stop) if whole is None and isinstance(source, RangeSource) else None
        if found is None:
            whole = source.load(name).reshape(-1) if whole is None else whole
            found = whole[start:stop]
        yield found


def _modules(one: str, other: str) -> tuple[str, str]:
    """Returns the modules in which two equal layers stand at the same place.

    Example:
        >>> _modules("h.3.attn.q", "h.5.attn.q"), _modules("a.fc1", "a.fc2")
        (('h.3', 'h.5'), ('a.fc1', 'a.fc2'))
    """
    first, second = one.split("."), other.split(".")
    while len(first) > 1 and len(second) > 1 and first[-1] == second[-1]:
        first, second = first[:-1], second[:-1]
    return ".".join(first), ".".join(second)
