"""Attention: which linear layers are queries, keys, values and outputs, and how fused ones are cut."""

from collections.abc import Iterable, Mapping

from sne.networks.names import attention_word
from sne.networks.network import Layer, Note, TensorInfo
from sne.networks.stems import Stem
from sne.networks.types import LayerType, Role
from sne.networks.units import Unit, cut, matrix_part, vector_part

ATTENTION_TYPES = {
    "query": LayerType.ATTENTION_QUERY,
    "key": LayerType.ATTENTION_KEY,
    "value": LayerType.ATTENTION_VALUE,
    "out": LayerType.ATTENTION_OUT,
}
_PIECES = ("query", "key", "value")
_INTERLEAVED = "query_key_value"


def attention_nodes(stems: Mapping[str, Stem]) -> frozenset[str]:
    """Paths of the modules that hold queries and keys (apart or fused), and so are attentions."""
    words: dict[str, set[str]] = {}
    for path, stem in stems.items():
        node, _, last = path.rpartition(".")
        if is_multihead(stem):
            words.setdefault(path, set()).add("qkv")
        elif not any(len(info.shape) in (2, 4) for info in stem.leaves.values()):
            continue
        elif last == _INTERLEAVED:
            words.setdefault(node, set()).add("qkv")
        elif word := attention_word(last):
            words.setdefault(node, set()).add(word)
    found = {node for node, held in words.items() if "qkv" in held or {"query", "key"} <= held}
    # Mamba and the like have an `in_proj` too; an an attention has three rows for each output.
    return frozenset(node for node in found if _is_attention(node, stems))


def attention_role(path: str, nodes: Iterable[str]) -> str:
    """What a linear layer does in the attention that holds it.

    Args:
        path: the layer's stem.
        nodes: paths of attentions, from `attention_nodes`.

    Returns:
        "query", "key", "value", "qkv", "out" or "" for a layer outside attentions.
    """
    node, _, last = path.rpartition(".")
    if last.isdigit():  # to_out.0
        node, _, last = node.rpartition(".")
    if node in nodes:
        return attention_word(last)
    # attention.output.dense beside attention.self.query (BERT, ViT)
    parent, _, middle = node.rpartition(".")
    if middle == "output" and attention_word(last) == "out":
        return "out" if any(f"{parent}.{inner}" in nodes for inner in ("self", "attention")) else ""
    return ""


def is_multihead(stem: Stem) -> bool:
    """Whether a stem holds the tensors of `nn.MultiheadAttention`, in the shapes that these have."""
    leaves = stem.leaves
    bias = leaves.get("in_proj_bias")
    if bias is not None and (len(bias.shape) != 1 or bias.shape[0] % 3):
        return False
    if "in_proj_weight" in leaves:
        shape = leaves["in_proj_weight"].shape
        return len(shape) == 2 and shape[0] % 3 == 0 and not any(f"{p[0]}_proj_weight" in leaves for p in _PIECES)
    apart = [leaves.get(f"{piece[0]}_proj_weight") for piece in _PIECES]
    return all(info is not None and len(info.shape) == 2 for info in apart)


def multihead(stem: Stem) -> Unit:
    """`nn.MultiheadAttention`: `in_proj_weight` or `q/k/v_proj_weight`, and `in_proj_bias`, as 3 layers."""
    unit = Unit(stem.path, [], [])
    leaves = stem.leaves
    bias = leaves.get("in_proj_bias")
    for index, piece in enumerate(_PIECES):
        parts = []
        if "in_proj_weight" in leaves:
            info = leaves["in_proj_weight"]
            third = info.shape[0] // 3
            whole = matrix_part(info, Role.WEIGHT, in_first=False)
            parts.append(cut(whole, 0, index * third, third, piece))
        elif f"{piece[0]}_proj_weight" in leaves:
            parts.append(matrix_part(leaves[f"{piece[0]}_proj_weight"], Role.WEIGHT, in_first=False))
        if bias is not None:
            third = bias.shape[0] // 3
            parts.append(cut(vector_part(bias, Role.BIAS), 0, index * third, third, piece))
        if parts:
            unit.layers.append(Layer(f"{stem.path}.{piece}", ATTENTION_TYPES[piece], 0, tuple(parts)))
    return unit


def fused(stem: Stem, weight: TensorInfo, bias: TensorInfo | None, *, in_first: bool, out: int | None) -> Unit | None:
    """One tensor that holds queries, keys and values one after the other.

    Args:
        stem: the layer.
        weight: its fused weight.
        bias: its fused bias, if any.
        in_first: the weight is stored [in, out].
        out: what the attention's output projection reads, where known: the width of the queries.

    Returns:
        Three layers of one level, or None where the size does not say where to cut.
    """
    axis = 1 if in_first else 0
    total = weight.shape[axis]
    if out is not None and out < total < 3 * out and (total - out) % 2 == 0:
        sizes = (out, (total - out) // 2, (total - out) // 2)  # grouped queries
    elif total % 3 == 0:
        sizes = (total // 3,) * 3
    else:
        return None
    unit = Unit(stem.path, [], [])
    start = 0
    for piece, size in zip(_PIECES, sizes, strict=True):
        parts = [cut(matrix_part(weight, Role.WEIGHT, in_first=in_first), axis, start, size, piece)]
        if bias is not None:
            parts.append(cut(vector_part(bias, Role.BIAS), 0, start, size, piece))
        unit.layers.append(Layer(f"{stem.path}.{piece}", ATTENTION_TYPES[piece], 0, tuple(parts)))
        start += size
    return unit


def interleaved_note(path: str, weight: TensorInfo) -> Note | None:
    """A note for `query_key_value`, whose rows alternate by head in most models: no slice is all queries."""
    if path.rpartition(".")[2] != _INTERLEAVED:
        return None
    return Note(weight.name, "query, key and value may alternate by head in this tensor; read as one linear layer")


def _is_attention(node: str, stems: Mapping[str, Stem]) -> bool:
    stem = stems.get(f"{node}.in_proj" if node else "in_proj")
    if stem is None or "weight" not in stem.leaves:
        return True
    rows = stem.leaves["weight"].shape[0]
    outs = [stems.get(f"{node}.{name}".lstrip(".")) for name in ("out_proj", "proj", "c_proj")]
    return any(rows == 3 * out.leaves["weight"].shape[1] for out in outs if out and "weight" in out.leaves)
