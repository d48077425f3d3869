"""LSTM, GRU and plain recurrent layers: fused tensors cut into one layer per gate."""

import re

from sne.networks.network import Layer, LayerType, Note
from sne.networks.part import Part, Role
from sne.networks.parts import StemLayers, cut, matrix_part, vector_part
from sne.networks.stems import Stem

GATES = {
    LayerType.LSTM: ("input gate", "forget gate", "cell gate", "output gate"),
    LayerType.GRU: ("reset gate", "update gate", "new gate"),
    LayerType.RNN: ("",),
}
_LEAF = re.compile(r"^(weight|bias)_(ih|hh|hr)(?:_l(\d+))?(_reverse)?$")
_ROLES = {
    "weight_ih": Role.WEIGHT, "weight_hh": Role.RECURRENT_WEIGHT,
    "bias_ih": Role.BIAS, "bias_hh": Role.RECURRENT_BIAS,
}  # fmt: skip


def is_recurrent(stem: Stem) -> bool:
    """Whether a stem holds the tensors of `nn.LSTM`, `nn.GRU`, `nn.RNN` or one of their cells."""
    found = {leaf: info for leaf, info in stem.leaves.items() if _LEAF.match(leaf)}
    has_shapes = all(len(info.shape) == (2 if leaf[0] == "w" else 1) for leaf, info in found.items())
    return has_shapes and any(leaf.startswith("weight_hh") for leaf in found)


def recurrent(stem: Stem) -> StemLayers:
    """Returns one layer per gate, direction and stacked layer; gates and directions share a level.

    Args:
        stem: Tensors `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, ...; those of cells have no `_l0`.

    Returns:
        The layers. A tensor whose size fits no known cell becomes a layer of type "other" with a note.
    """
    groups: dict[tuple[int, bool], dict[str, str]] = {}
    for leaf in sorted(stem.leaves):
        if match := _LEAF.match(leaf):
            groups.setdefault((int(match[3] or 0), bool(match[4])), {})[f"{match[1]}_{match[2]}"] = leaf
    found = StemLayers(stem.path)
    level, depth, previous = 0, 0, None
    for (index, is_reverse), leaves in sorted(groups.items()):
        if index != previous:
            level, previous = depth, index
        name = f"{stem.path}.l{index}".removeprefix(".") + ("_reverse" if is_reverse else "")
        depth = max(depth, _add_direction(found, stem, name, leaves, level))
    return found


def _add_direction(found: StemLayers, stem: Stem, name: str, leaves: dict[str, str], level: int) -> int:
    """Adds the gates of one direction of one stacked layer; returns the first level that is free after them."""
    infos = {key: stem.leaves[leaf] for key, leaf in leaves.items()}
    hidden = None
    if "weight_hr" in infos and len(infos["weight_hr"].shape) == 2:
        hidden = infos["weight_hr"].shape[1]
    elif "weight_hh" in infos and len(infos["weight_hh"].shape) == 2:
        hidden = infos["weight_hh"].shape[1]
    rows = {info.shape[0] if info.shape else 0 for key, info in infos.items() if key != "weight_hr"}
    total = rows.pop() if len(rows) == 1 else 0
    ratio = total // hidden if hidden and total % hidden == 0 else 0
    kind = {4: LayerType.LSTM, 3: LayerType.GRU, 1: LayerType.RNN}.get(ratio)
    if kind is None or hidden is None:
        for key, info in infos.items():
            found.layers.append(Layer(f"{name}.{key}", LayerType.OTHER, level, (vector_part(info, Role.WEIGHT),)))
            found.notes.append(Note(info.name, f"shape {list(info.shape)} fits no LSTM, GRU or RNN; read as other"))
        return level + 1
    for gate, label in enumerate(GATES[kind]):
        parts: list[Part] = []
        for key, role in _ROLES.items():
            if key in infos:
                info = infos[key]
                whole = matrix_part(info, role, in_first=False) if key[0] == "w" else vector_part(info, role)
                is_cut = len(GATES[kind]) > 1
                parts.append(cut(whole, 0, gate * hidden, hidden, label) if is_cut else whole)
        found.layers.append(Layer(f"{name}.{label.split()[0]}" if label else name, kind, level, tuple(parts)))
    if "weight_hr" in infos:
        part = matrix_part(infos["weight_hr"], Role.WEIGHT, in_first=False)
        found.layers.append(Layer(f"{name}.projection", LayerType.LINEAR, level + 1, (part,)))
    return level + (2 if "weight_hr" in infos else 1)
