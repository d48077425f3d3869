"""Where queries, keys and values lie in a fused tensor: what architectures, names, widths and numbers of heads say.

Three layouts are in use. Rows are concatenated (all queries, all keys, all values: GPT-2, timm, Phi-3), or grouped by
head of keys (its queries, its key, its value: GPT-NeoX, BLOOM, Falcon, InternLM2), or stand in blocks as in CodeGen
(queries, values, keys). A fused tensor whose layout is open is not cut.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from sne.networks.network import Heads

OPEN_HEADS = (
    "queries, keys and values alternate by head in this tensor and the number of heads is not known; read as one "
    "layer (a config.json beside the file tells the heads)"
)
OPEN_LAYOUT = (
    "holds queries, keys and values, and names and shapes do not tell where each of them lies; read as one layer "
    "(a config.json beside the file may tell)"
)
OPEN_PAIR = "holds keys and values, and names and shapes do not tell where each of them lies; read as one layer"
AS_NANOGPT = (
    "read as all queries, all keys and all values (nanoGPT, Qwen); GPT-BigCode without multi-query attention stores "
    "the same names and shapes by head (a config.json beside the file tells)"
)


class Layout(StrEnum):
    """How the rows of a fused tensor are arranged."""

    CONCATENATED = "concatenated"
    BY_GROUP = "by group"  # per head of keys: its queries, the key, the value
    BY_GROUP_IF_THIRDS = "by group if thirds"  # with fewer keys than queries, concatenated
    BLOCKS = "blocks"  # several blocks of queries, values and keys
    OPEN = "open"


@dataclass(frozen=True)
class Fusion:
    """The layout of fused tensors of one name.

    Args:
        pattern: Regular expression that is searched in the path of the tensor's layer, in upper and lower case.
        layout: The layout.
        example: Where it was seen.
        model_type: Regular expression for the whole `model_type` of the configuration; empty if the path alone decides.
    """

    pattern: str
    layout: Layout
    example: str
    model_type: str = ""


FUSIONS = (
    Fusion(r"query_key_value$", Layout.BY_GROUP, "Pythia, Aquila, rinna", r"gpt_neox(_japanese)?"),
    Fusion(r"query_key_value$", Layout.BY_GROUP, "BLOOM, Falcon 7B, 40B, 180B", r"bloom|falcon|RefinedWeb(Model)?"),
    Fusion(r"query_key_value$", Layout.BY_GROUP, "Persimmon, Fuyu's text model", r"persimmon"),
    Fusion(r"query_key_value$", Layout.BY_GROUP_IF_THIRDS, "ChatGLM 1 to 4", r"chatglm"),
    Fusion(r"query_key_value$", Layout.CONCATENATED, "Ling", r"bailing\w*"),
    Fusion(r"wqkv$", Layout.BY_GROUP, "InternLM2 and 2.5", r"internlm2"),
    Fusion(r"qkv_proj$", Layout.BLOCKS, "CodeGen 1 and 2", r"codegen"),
    Fusion(r"qkv_proj$", Layout.BY_GROUP, "MiniMax-Text, layers with linear attention", r"minimax\w*"),
    Fusion(r"c_attn$", Layout.BY_GROUP_IF_THIRDS, "StarCoder, SantaCoder", r"gpt_bigcode"),
    Fusion(r"in_proj$", Layout.BY_GROUP, "DeBERTa", r"deberta"),
    # Without a configuration: architectures whose paths no other one has.
    Fusion(r"(^|\.)gpt_neox\.layers\.\d+\.attention\.query_key_value$", Layout.BY_GROUP, "GPT-NeoX"),
    Fusion(r"(^|\.)h\.\d+\.self_attention\.query_key_value$", Layout.BY_GROUP, "BLOOM, Falcon"),
    Fusion(r"^transformer\.encoder\.layers\.\d+\.self_attention\.query_key_value$", Layout.BY_GROUP_IF_THIRDS, "GLM"),
    Fusion(r"(^|\.)h\.\d+\.attn\.qkv_proj$", Layout.BLOCKS, "CodeGen"),
    Fusion(r"(^|\.)model\.layers\.\d+\.attention\.wqkv$", Layout.BY_GROUP, "InternLM2; gpt-fast has other prefixes"),
    Fusion(r"query_key_value$", Layout.OPEN, "Megatron-LM, whose versions differ"),
    Fusion(r"linear_qkv$", Layout.BY_GROUP, "Megatron-Core"),
    Fusion(r"(^|\.)wqkv$", Layout.OPEN, "InternLM2 by group, gpt-fast concatenated"),
    Fusion(r"\.attn_(block|grid)\.attn\.qkv$", Layout.BY_GROUP, "timm MaxViT; those from TensorFlow concatenated"),
    Fusion(r"", Layout.CONCATENATED, "GPT-2, timm ViT, MPT, Phi-3, Baichuan, ModernBERT"),
)
"""The first row whose patterns match decides. Source: the modelling code of each architecture."""

_SIBLINGS_OF_OPEN = {"output_gate"}  # MiniMax: by head
_SIBLINGS_OF_DEBERTA = ({"pos_proj"}, {"pos_q_proj"}, {"q", "v"})  # the last two are q_bias and v_bias
_CODEGEN2_HEADS = (128, 256)
_CODEGEN2_WIDTHS = (2048, 4096)  # widths that CodeGen 2, which has eight blocks, shares with other models
PIECES = ("query", "key", "value")


@dataclass(frozen=True)
class Piece:
    """One of the pieces of a fused tensor, along the axis of its outputs; see `Part` for the arguments."""

    label: str
    start: int
    length: int
    run: int = 0
    step: int = 0


Pieces = tuple[Piece, ...] | str
"""The pieces of a fused tensor, or the reason why it cannot be cut."""


@dataclass(frozen=True)
class Fused:
    """What is known about a tensor that holds queries, keys and values.

    Args:
        path: Path of its layer as stored.
        total: Number of outputs.
        width: Number of inputs.
        num_queries: Width of all queries, which is what the output projection reads; None if unknown.
        siblings: Names of the modules and parameters beside it.
        bias_heads: Number of heads that a table of attention biases beside it has; None if there is none.
    """

    path: str
    total: int
    width: int
    num_queries: int | None = None
    siblings: frozenset[str] = frozenset()
    bias_heads: int | None = None


def qkv_pieces(fused: Fused, heads: Heads | None) -> Pieces:
    """Returns the pieces of a tensor that holds queries, keys and values.

    Args:
        fused: The tensor.
        heads: Heads of the attentions, if a configuration says so.

    Returns:
        Queries, keys and values in this order, or the reason why the tensor is not cut.

    Example:
        >>> qkv_pieces(Fused("gpt_neox.layers.0.attention.query_key_value", 24, 8), Heads(2, model_type="gpt_neox"))[1]
        Piece(label='key', start=4, length=8, run=4, step=12)
    """
    if fused.bias_heads is not None:
        return _with_attention_biases(fused, fused.bias_heads)
    layout = _layout(fused, heads)
    if layout is Layout.BY_GROUP_IF_THIRDS:
        queries = fused.num_queries or fused.width
        layout = Layout.BY_GROUP if fused.total == 3 * queries else Layout.CONCATENATED
    if layout is Layout.BY_GROUP:
        return _by_group(fused, heads)
    if layout is Layout.BLOCKS:
        return _in_blocks(fused, heads)
    return OPEN_LAYOUT if layout is Layout.OPEN else _concatenated(fused, heads)


def kv_pieces(total: int, num_queries: int | None, heads: Heads | None) -> Pieces:
    """Returns the pieces of a tensor that holds keys and values: two halves, if its size fits.

    Args:
        total: Number of outputs.
        num_queries: Number of outputs of the queries beside it; None if unknown.
        heads: Heads of the attentions, if a configuration says so.
    """
    fits = num_queries is not None and total == 2 * num_queries
    if not fits and heads is not None and heads.num_kv_heads is not None and num_queries is not None:
        fits = total * heads.num_heads == 2 * num_queries * heads.num_kv_heads
    if not fits or total % 2:
        return OPEN_PAIR
    return Piece("key", 0, total // 2), Piece("value", total // 2, total // 2)


def _layout(fused: Fused, heads: Heads | None) -> Layout:
    kind = "" if heads is None else heads.model_type
    rows = [row for row in FUSIONS if re.search(row.pattern, fused.path)]
    configured = [row.layout for row in rows if row.model_type and re.fullmatch(row.model_type, kind)]
    if configured:
        return configured[0]
    if fused.path.endswith("in_proj") and any(fused.siblings >= names for names in _SIBLINGS_OF_DEBERTA):
        return Layout.BY_GROUP
    if not fused.siblings.isdisjoint(_SIBLINGS_OF_OPEN):
        return Layout.OPEN
    return next(row.layout for row in rows if not row.model_type)


def _concatenated(fused: Fused, heads: Heads | None) -> Pieces:
    total, queries = fused.total, fused.num_queries
    if queries is None and total != 3 * fused.width and heads is not None:
        size = heads.head_size or fused.width // heads.num_heads
        queries = heads.num_heads * size
    if queries is None or total == 3 * queries:
        if total % 3 or (queries is None and total != 3 * fused.width):
            return OPEN_LAYOUT
        sizes = (total // 3,) * 3
    else:
        keys = (total - queries) // 2
        if keys < 1 or (total - queries) % 2 or queries % keys:
            return OPEN_LAYOUT
        sizes = (queries, keys, keys)
    starts = (0, sizes[0], sizes[0] + sizes[1])
    return tuple(map(Piece, PIECES, starts, sizes))


def _by_group(fused: Fused, heads: Heads | None) -> Pieces:
    if heads is None:
        return OPEN_HEADS
    queries = fused.num_queries or fused.width
    size = heads.head_size or queries // heads.num_heads
    if size * heads.num_heads != queries or (fused.total - queries) % (2 * size):
        return OPEN_HEADS
    groups = (fused.total - queries) // (2 * size)
    if groups < 1 or heads.num_heads % groups:
        return OPEN_HEADS
    return _repeating(groups, (heads.num_heads // groups * size, size, size))


def _in_blocks(fused: Fused, heads: Heads | None) -> Pieces:
    is_known = heads is not None and heads.model_type == "codegen"
    if not is_known and fused.width in _CODEGEN2_WIDTHS:
        return OPEN_LAYOUT
    blocks = 8 if heads is not None and heads.head_size in _CODEGEN2_HEADS else 4
    if fused.total % (3 * blocks) or fused.total != 3 * fused.width:
        return OPEN_LAYOUT
    size = fused.total // blocks // 3
    query, second, third = _repeating(blocks, (size, size, size))
    return query, replace(third, label="key"), replace(second, label="value")


def _with_attention_biases(fused: Fused, heads: int) -> Pieces:
    """Returns the pieces by head in TinyViT and EfficientFormer, whose values may be wider than queries and keys."""
    values = fused.num_queries  # what the output projection reads
    if values is None or values % heads or (fused.total - values) % (2 * heads) or fused.total <= values:
        return OPEN_HEADS
    size = (fused.total - values) // (2 * heads)
    return _repeating(heads, (size, size, values // heads))


def _repeating(count: int, sizes: tuple[int, int, int]) -> tuple[Piece, Piece, Piece]:
    """Returns three pieces that follow one another, `count` times."""
    step = sum(sizes)
    starts = (0, sizes[0], sizes[0] + sizes[1])
    if count == 1:
        query, key, value = map(Piece, PIECES, starts, sizes)
    else:
        lengths = [count * size for size in sizes]
        query, key, value = (
            Piece(label, start, length, size, step)
            for label, start, length, size in zip(PIECES, starts, lengths, sizes, strict=True)
        )
    return query, key, value
