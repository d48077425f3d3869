"""From the tensors of one stem to typed layers."""

import re
from collections.abc import Mapping

from sne.networks.attention import (
    ATTENTION_TYPES,
    attention_nodes,
    attention_role,
    fused,
    interleaved_note,
    is_multihead,
    multihead,
)
from sne.networks.hints import Hint
from sne.networks.names import is_embedding, is_norm, is_position
from sne.networks.network import Layer, Note, Part, TensorInfo
from sne.networks.recurrent import is_recurrent, recurrent
from sne.networks.stems import Stem
from sne.networks.types import LayerType, Role
from sne.networks.units import NORMS, TABLES, Unit, cut, matrix_part, table_part, vector_part

CONVS = {3: LayerType.CONV1D, 4: LayerType.CONV2D, 5: LayerType.CONV3D}
TRANSPOSED = {
    LayerType.CONV1D: LayerType.CONV_TRANSPOSE1D,
    LayerType.CONV2D: LayerType.CONV_TRANSPOSE2D,
    LayerType.CONV3D: LayerType.CONV_TRANSPOSE3D,
}
_TRANSPOSE_TYPES = frozenset(TRANSPOSED.values())
_IN_FIRST = re.compile(r"^(c_attn|c_fc|c_proj|q_attn)$")
_GROUP_NORM = re.compile(r"group_?norm|(^|_)gn\d*$", re.IGNORECASE)
_GATE_UP = re.compile(r"^(gate_up_proj|wi_gate_up)$")


def units_of(stems: Mapping[str, Stem], hints: Mapping[str, Hint]) -> list[Unit]:
    """Types every stem.

    Args:
        stems: tensors by stem, as `gather` gives them.
        hints: by module path or tensor name, as stored.

    Returns:
        One unit a stem, in the order of `stems`; every tensor is a part of one of its layers or has a note.
    """
    nodes = attention_nodes(stems)
    in_first = _has_conv1d(stems)
    units = []
    for stem in stems.values():
        hint = hints.get(stem.stored)
        if is_recurrent(stem):
            units.append(_with_rest(recurrent(stem), stem))
        elif is_multihead(stem):
            units.append(_with_rest(multihead(stem), stem))
        else:
            units.append(_with_rest(_plain(stem, hint or Hint(), nodes, stems, in_first), stem))
    return units


def _plain(stem: Stem, hint: Hint, nodes: frozenset[str], stems: Mapping[str, Stem], in_first: bool | None) -> Unit:
    leaves = stem.leaves
    weight = leaves.get("weight") or leaves.get("kernel") or leaves.get("")
    if weight is None or hint.type in NORMS or "running_var" in leaves or "running_mean" in leaves:
        if norm := _norm(stem, hint):
            return norm
    if weight is None:
        return Unit(stem.path, [], [])
    bias = leaves.get("bias")
    ndim = len(weight.shape)
    if bias is not None and (len(bias.shape) != 1 or ndim < 2 or bias.shape[0] not in _widths(stem, weight)):
        bias = None  # of another layer, or of none; it is read as other
    if hint.type in TABLES or (hint.type is None and bias is None and ndim >= 1):
        if table := _table(stem, weight, hint):
            return table
    if "" in leaves and weight is leaves[""]:
        return _bare(stem, weight)
    if ndim == 1 and hint.type is None:
        if norm := _norm(stem, hint):
            return norm
    if ndim == 2:
        return _linear(stem, weight, bias, hint, nodes, stems, in_first)
    if ndim in CONVS:
        return _conv(stem, weight, bias, hint, attention_role(stem.path, nodes) if ndim == 4 else "")
    return _other(stem, weight, f"a weight of shape {list(weight.shape)} with no known layer; read as other")


def _widths(stem: Stem, weight: TensorInfo) -> tuple[int, ...]:
    """The numbers of neurons that a weight can feed: of its first axis, or of another where it is stored turned."""
    return weight.shape[-1:] if "kernel" in stem.leaves else weight.shape[:2]


def _norm(stem: Stem, hint: Hint) -> Unit | None:
    leaves = stem.leaves
    scale = leaves.get("weight") or leaves.get("gamma") or leaves.get("scale")
    shift = leaves.get("bias") or leaves.get("beta")
    vectors = [scale, shift, leaves.get("running_mean"), leaves.get("running_var")]
    present = [info for info in vectors if info is not None]
    if any(len(info.shape) != 1 for info in present) or len({info.shape for info in present}) != 1:
        return None
    if "running_mean" in leaves or "running_var" in leaves:
        kind = LayerType.BATCH_NORM
    elif hint.type is not None and hint.type in NORMS:
        kind = hint.type
    elif scale is None:
        return None
    elif _GROUP_NORM.search(stem.last):
        kind = LayerType.GROUP_NORM
    elif shift is not None:
        kind = LayerType.LAYER_NORM
    elif is_norm(stem.last) or is_norm(stem.path.rpartition(".")[2]):
        kind = LayerType.RMS_NORM
    else:
        return None
    roles = (Role.SCALE, Role.BIAS, Role.RUNNING_MEAN, Role.RUNNING_VAR)
    parts = [vector_part(info, role) for info, role in zip(vectors, roles, strict=True) if info is not None]
    return Unit(stem.path, [Layer(stem.path, kind, 0, tuple(parts))], [])


def _table(stem: Stem, weight: TensorInfo, hint: Hint) -> Unit | None:
    names = (stem.path.rpartition(".")[2], stem.last)
    if hint.type is LayerType.POSITION or any(is_position(name) for name in names):
        kind = LayerType.POSITION
    elif hint.type is LayerType.EMBEDDING or any(is_embedding(name) for name in names):
        kind = LayerType.EMBEDDING
    else:
        return None
    if hint.type is None and "" not in stem.leaves and len(weight.shape) != 2:
        return None  # patch_embed.weight is a convolution
    return Unit(stem.path, [Layer(stem.path, kind, 0, (table_part(weight),))], [])


def _linear(
    stem: Stem,
    weight: TensorInfo,
    bias: TensorInfo | None,
    hint: Hint,
    nodes: frozenset[str],
    stems: Mapping[str, Stem],
    network_in_first: bool | None,
) -> Unit:
    rows, columns = weight.shape
    last = stem.path.rpartition(".")[2]
    in_first = "kernel" in stem.leaves
    if hint.in_first is not None:
        in_first = hint.in_first
    elif bias is not None and rows != columns:
        in_first = bias.shape[0] == columns
    elif network_in_first is not None and _IN_FIRST.match(last):
        in_first = network_in_first
    role = attention_role(stem.path, nodes)
    if role == "qkv":
        out = _out_width(stem.path.rpartition(".")[0], stems, in_first)
        if unit := fused(stem, weight, bias, in_first=in_first, out=out):
            return unit
    part = matrix_part(weight, Role.WEIGHT, in_first=in_first)
    parts = [part] if bias is None else [part, vector_part(bias, Role.BIAS)]
    if _GATE_UP.match(last) and part.canonical_shape[0] % 2 == 0:
        return _gate_up(stem, parts, axis=1 if in_first else 0)
    kind = ATTENTION_TYPES.get(role, LayerType.LINEAR)
    if hint.type is LayerType.OTHER:
        kind = LayerType.OTHER
    note = interleaved_note(stem.path, weight)
    return Unit(stem.path, [Layer(stem.path, kind, 0, tuple(parts))], [note] if note else [])


def _gate_up(stem: Stem, parts: list[Part], axis: int) -> Unit:
    half = parts[0].canonical_shape[0] // 2
    layers = []
    for index, label in enumerate(("gate", "up")):
        pieces = [cut(p, axis if p.role is Role.WEIGHT else 0, index * half, half, label) for p in parts]
        layers.append(Layer(f"{stem.path}.{label}", LayerType.LINEAR, 0, tuple(pieces)))
    return Unit(stem.path, layers, [])


def _conv(stem: Stem, weight: TensorInfo, bias: TensorInfo | None, hint: Hint, role: str) -> Unit:
    kind = CONVS[len(weight.shape)]
    if "kernel" in stem.leaves:  # HWIO
        ndim = len(weight.shape)
        part = Part(weight.name, Role.WEIGHT, weight.shape, out_axis=ndim - 1, in_axis=ndim - 2)
        parts = [part] if bias is None else [part, vector_part(bias, Role.BIAS)]
        return Unit(stem.path, [Layer(stem.path, kind, 0, tuple(parts))], [])
    is_transposed = hint.type in _TRANSPOSE_TYPES
    first, second = weight.shape[:2]
    if hint.type is None and bias is not None and first != second:
        is_transposed = bias.shape[0] == second  # a plain kernel's bias counts its first axis
    layer = Layer(stem.path, kind, 0, (matrix_part(weight, Role.WEIGHT, in_first=False),))
    if bias is not None:
        layer = Layer(stem.path, kind, 0, (*layer.parts, vector_part(bias, Role.BIAS)))
    if role in ATTENTION_TYPES and weight.shape[2:] == (1, 1):
        layer = Layer(stem.path, ATTENTION_TYPES[role], 0, layer.parts)
    return Unit(stem.path, [transposed(layer) if is_transposed else layer], [])


def transposed(layer: Layer) -> Layer:
    """The same convolution read as a transposed one, whose weight is stored [in, out, ...]."""
    first, *rest = layer.parts
    flipped = Part(first.tensor, first.role, first.shape, out_axis=1, in_axis=0)
    return Layer(layer.name, TRANSPOSED[layer.type], layer.level, (flipped, *rest))


def _bare(stem: Stem, info: TensorInfo) -> Unit:
    if len(info.shape) == 1 and is_norm(stem.path.rpartition(".")[2]):
        part = vector_part(info, Role.SCALE)
        return Unit(stem.path, [Layer(stem.path, LayerType.RMS_NORM, 0, (part,))], [])
    return _other(stem, info, "a parameter of no known layer; read as other")


def _other(stem: Stem, info: TensorInfo, reason: str) -> Unit:
    role = Role.SCALE if len(info.shape) <= 1 else Role.WEIGHT
    if len(info.shape) >= 2:
        part = matrix_part(info, role, in_first=False)
    else:
        part = vector_part(info, role)
    return Unit(stem.path, [Layer(stem.path, LayerType.OTHER, 0, (part,))], [Note(info.name, reason)])


def _with_rest(unit: Unit, stem: Stem) -> Unit:
    """Adds what the layers above have not used, one layer of type "other" a tensor, each with a note."""
    used = {part.tensor for layer in unit.layers for part in layer.parts}
    rest = [(leaf, info) for leaf, info in sorted(stem.leaves.items()) if info.name not in used]
    for leaf, info in rest:
        name = f"{stem.path}.{leaf}" if leaf else stem.path
        role = {"bias": Role.BIAS, "beta": Role.BIAS}.get(leaf, Role.SCALE if len(info.shape) <= 1 else Role.WEIGHT)
        part = vector_part(info, role) if len(info.shape) <= 1 else matrix_part(info, role, in_first=False)
        unit.layers.append(Layer(name, LayerType.OTHER, 0, (part,)))
        unit.notes.append(Note(info.name, "a parameter of no known layer; read as other"))
    return unit


def _has_conv1d(stems: Mapping[str, Stem]) -> bool | None:
    """Whether `c_attn` and kin are stored [in, out] (GPT-2) or [out, in] (rewrites); None if it is open."""
    for stem in stems.values():
        weight = stem.leaves.get("weight")
        if weight is not None and len(weight.shape) == 2 and stem.path.endswith("c_attn"):
            rows, columns = weight.shape
            if rows != columns:
                return columns > rows
    return None


def _out_width(node: str, stems: Mapping[str, Stem], in_first: bool) -> int | None:
    for name in ("out_proj", "o_proj", "proj", "c_proj", "dense", "wo", "to_out.0", "to_out"):
        stem = stems.get(f"{node}.{name}" if node else name)
        weight = stem.leaves.get("weight") if stem else None
        if weight is not None and len(weight.shape) == 2:
            return weight.shape[0] if in_first else weight.shape[1]
    return None
