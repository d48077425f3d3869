"""Recognition: from names and shapes to layers with type, level and parts."""

from collections.abc import Mapping

from sne.networks.adapters import adapter_notes
from sne.networks.attention import find_attentions
from sne.networks.layers import read_layers
from sne.networks.levels import assign_levels
from sne.networks.neighbours import settle_norms, turn_transposed
from sne.networks.network import Heads, Hint, Layer, Network, Note
from sne.networks.part import TensorInfo, TensorSource
from sne.networks.remembered import Remembered
from sne.networks.spelling import natural_key
from sne.networks.stems import Stem, common_prefix, find_weights, group_by_stem

Recognised = tuple[tuple[Layer, ...], tuple[Note, ...]]

_NO_HINTS: Mapping[str, Hint] = {}
_KNOWN: Remembered[Recognised] = Remembered(256, 200_000)


def build_network(
    name: str, source: TensorSource, hints: Mapping[str, Hint] = _NO_HINTS, *, heads: Heads | None = None
) -> Network:
    """Recognises the layers of a network.

    Args:
        name: Name of the network.
        source: Source of its tensors; only their names, shapes and dtypes are used.
        hints: Hints in addition to names and shapes, by module path or tensor name.
        heads: Heads of the attentions, if a configuration says so.

    Returns:
        The network. Its layers do not depend on the order of the keys. Sources with the same names, shapes, dtypes and
        hints share their layer objects while these are remembered.
    """
    layers, notes = recognise(source.infos, hints, heads=heads)
    return Network(name, layers, source, notes)


def recognise(
    infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint] = _NO_HINTS, *, heads: Heads | None = None
) -> Recognised:
    """Recognises the layers of a set of tensors. Results are remembered by names, shapes, dtypes, hints and heads.

    Args:
        infos: Tensors by name.
        hints: Hints in addition to names and shapes, by module path or tensor name.
        heads: Heads of the attentions, if a configuration says so.

    Returns:
        Layers in order of level, and notes on tensors that are not read or are read with doubt.

    Example:
        >>> infos = [TensorInfo("fc2.weight", (2, 8), "float32"), TensorInfo("fc1.weight", (8, 5), "float32")]
        >>> layers, notes = recognise({info.name: info for info in infos})
        >>> [(layer.level, layer.type.value, layer.name) for layer in layers]
        [(0, 'linear', 'fc1'), (1, 'linear', 'fc2')]
    """
    if len(infos) > _KNOWN.largest:
        return recognise_anew(infos, hints, heads)
    signature = (
        frozenset((info.name, info.shape, info.dtype) for info in infos.values()),
        frozenset(hints.items()),
        heads,
    )
    found = _KNOWN.get(signature)
    if found is None:
        found = recognise_anew(infos, hints, heads)
        _KNOWN.put(signature, found, len(infos))
    return found


def recognise_anew(
    infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint] = _NO_HINTS, heads: Heads | None = None
) -> Recognised:
    """Recognises the layers of a set of tensors step by step; see `recognise`."""
    prefix = common_prefix(infos)
    hinted = frozenset(path[len(prefix) :] for path, hint in hints.items() if hint.type is not None)
    weights, set_aside = find_weights(infos, hints)
    stems = group_by_stem(weights, prefix)
    attentions = find_attentions(stems)
    by_stem = read_layers(stems, attentions, hints, heads)
    orders = {path: order for path, stem in stems.items() if (order := _order(stem, hints)) is not None}
    layers, guesses = assign_levels(by_stem, attentions.modules, orders)
    layers, turned = turn_transposed(layers, hinted)
    layers, unsettled = settle_norms(layers, hinted)
    notes = [
        *set_aside,
        *adapter_notes(weights),
        *(note for stem in by_stem for note in stem.notes),
        *guesses,
        *turned,
        *unsettled,
    ]
    return tuple(layers), tuple(sorted(notes, key=lambda note: natural_key(note.tensor)))


def _order(stem: Stem, hints: Mapping[str, Hint]) -> int | None:
    """Returns the position of a layer in the graph of the file, None if there is none."""
    names = (stem.stored, *(info.name for info in stem.leaves.values()))
    found = (hints[name].order for name in names if name in hints)
    return min((order for order in found if order is not None), default=None)
