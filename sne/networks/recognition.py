"""Recognition: from names and shapes to layers with type, level and parts."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from sne.networks.attention import attention_nodes
from sne.networks.hints import Hint
from sne.networks.layers import TRANSPOSED, transposed, units_of
from sne.networks.levels import assign_levels, neighbour_widths
from sne.networks.names import common_prefix, natural_key
from sne.networks.network import Layer, Network, Note, TensorInfo, TensorSource
from sne.networks.stems import gather
from sne.networks.units import NORMS

Recognised = tuple[tuple[Layer, ...], tuple[Note, ...]]

_NO_HINTS: Mapping[str, Hint] = {}
_CACHE: OrderedDict[object, Recognised] = OrderedDict()
_CACHE_SIZE = 256


def build_network(name: str, source: TensorSource, hints: Mapping[str, Hint] = _NO_HINTS) -> Network:
    """Recognises the layers of a network.

    Args:
        name: what to call the network.
        source: its tensors; only their names, shapes and dtypes are looked at.
        hints: what is known beyond names and shapes, by module path or tensor name.

    Returns:
        The network. Sources of one set of names, shapes and dtypes get the same layers (the same objects,
        while they are remembered), whatever the order of their keys.
    """
    layers, notes = recognise(source.infos, hints)
    return Network(name, layers, source, notes)


def recognise(infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint] = _NO_HINTS) -> Recognised:
    """Layers and notes of a set of tensors; a pure function, remembered by names, shapes, dtypes and hints.

    Args:
        infos: tensors by name.
        hints: what is known beyond names and shapes, by module path or tensor name.

    Returns:
        Layers in order of level, and notes on tensors that are not used or used in an unsure way.
    """
    signature = (
        frozenset((info.name, info.shape, info.dtype) for info in infos.values()),
        frozenset(hints.items()),
    )
    found = _CACHE.get(signature)
    if found is None:
        found = _recognise(infos, hints)
        _CACHE[signature] = found
        while len(_CACHE) > _CACHE_SIZE:
            _CACHE.popitem(last=False)
    return found


def _recognise(infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]) -> Recognised:
    prefix = common_prefix(infos)
    weights, notes = _weights(infos, hints)
    stems = gather(weights, prefix)
    units = units_of(stems, hints)
    for unit in units:
        notes += unit.notes
    layers, guesses = assign_levels(units, attention_nodes(stems))
    hinted = frozenset(path[len(prefix) :] for path, hint in hints.items() if hint.type is not None)
    layers, turned = _turn_transposed(layers, hinted)
    notes += guesses + turned
    return tuple(layers), tuple(sorted(notes, key=lambda note: natural_key(note.tensor)))


def _weights(infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]) -> tuple[dict[str, TensorInfo], list[Note]]:
    """Sets aside what is not a weight: counters, complex numbers, tied copies, scales of other tensors."""
    weights: dict[str, TensorInfo] = {}
    notes: list[Note] = []
    tied: dict[str, str] = {}
    for name in sorted(infos, key=_reading_order):
        info, hint = infos[name], hints.get(name, Hint())
        if hint.unused is not None:
            notes.append(Note(name, hint.unused))
        elif hint.tied is not None and hint.tied in tied:
            notes.append(Note(name, f"tied: the same tensor as {tied[hint.tied]}, which is read"))
        elif info.num_entries == 0:
            notes.append(Note(name, f"empty: shape {list(info.shape)}"))
        elif info.dtype.startswith(("int", "uint", "bool", "complex")) and not hint.is_scaled:
            notes.append(Note(name, f"{info.dtype}: {_kind(info)}, not a weight"))
        else:
            weights[name] = info
            if hint.tied is not None:
                tied[hint.tied] = name
    return weights, notes


def _reading_order(name: str) -> tuple[bool, bool, tuple[str | int, ...]]:
    """Of tied tensors the first is read: rather a short name, and rather an input than an output."""
    last = name.split(".")
    is_head = any("head" in part or "decoder" in part or "predict" in part for part in last)
    return is_head, len(last) > 2, natural_key(name)


def _kind(info: TensorInfo) -> str:
    if info.dtype.startswith("complex"):
        return "complex numbers"
    if info.dtype == "bool":
        return "a mask"
    return "a counter" if not info.shape else "a table of integers"


def _turn_transposed(layers: Iterable[Layer], hinted: frozenset[str]) -> tuple[list[Layer], list[Note]]:
    """Reads a convolution as transposed where its neighbours' widths fit no other way."""
    layers = list(layers)
    notes: list[Note] = []
    kinds = {layer.level: layer.type for layer in layers}
    result = []
    for layer, (before, after) in zip(layers, neighbour_widths(layers), strict=True):
        part = layer.parts[0]
        if layer.type not in TRANSPOSED or layer.name in hinted or part.out_axis != 0:
            result.append(layer)
            continue
        first, second = part.shape[:2]
        if len(layer.parts) > 1 and first != second:  # the bias has already decided
            result.append(layer)
            continue
        followed_by_norm = kinds.get(layer.level + 1) in NORMS
        plain_fits = (before is None or before % second == 0) and (after is None or after == first)
        turned_fits = before == first and after == second
        norm_says = followed_by_norm and after == second != first and before in (None, first)
        if first != second and ((turned_fits and not plain_fits) or norm_says):
            layer = transposed(layer)
        elif _sounds_transposed(layer.name):
            notes.append(Note(part.tensor, "named as a transposed convolution, but its shape fits a plain one too"))
        result.append(layer)
    return result, notes


def _sounds_transposed(name: str) -> bool:
    last = name.lower().split(".")
    return any("deconv" in word or "transpose" in word or word.startswith("upconv") for word in last[-2:])
