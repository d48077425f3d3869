"""From the tensors of one stem to typed layers."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from sne.networks.adapters import FACTOR, is_factor
from sne.networks.attention import Attentions, is_multihead
from sne.networks.fused import ATTENTION_TYPES, cut_layers, gate_and_up, multihead
from sne.networks.fusion import AS_NANOGPT, OPEN_LAYOUT, OPEN_PAIR, PIECES, Fused, Piece, kv_pieces, qkv_pieces
from sne.networks.grammar import has_role, is_embedding, is_position
from sne.networks.network import Heads, Hint, Layer, LayerType, Note
from sne.networks.part import Part, Role, TensorInfo
from sne.networks.parts import NORMS, TABLES, StemLayers, matrix_part, norm_part, table_part, vector_part
from sne.networks.recurrent import is_recurrent, recurrent
from sne.networks.stems import Stem

CONVS = {3: LayerType.CONV1D, 4: LayerType.CONV2D, 5: LayerType.CONV3D}
TRANSPOSED = {
    LayerType.CONV1D: LayerType.CONV_TRANSPOSE1D,
    LayerType.CONV2D: LayerType.CONV_TRANSPOSE2D,
    LayerType.CONV3D: LayerType.CONV_TRANSPOSE3D,
}
_TRANSPOSED_TYPES = frozenset(TRANSPOSED.values())
_FROM_SHAPES = frozenset({LayerType.LINEAR, *CONVS.values(), *_TRANSPOSED_TYPES}) | NORMS | TABLES
_NO_HINT = Hint()
_MAYBE_COMPUTED = "names do not tell whether this table of positions is learned or computed; read as positions"
_OTHER_CLASS = "a layer of a class that is not known; read as other"
_UNKNOWN = "a parameter of no known layer; read as other"
_DROPPED = (
    "the trained recurrent weight under weight drop (AWD-LSTM), which the network computes with; the LSTM is read with "
    "its own copy, in which entries may be dropped; this one is read as other"
)
_STACKED = "weights of several experts in one tensor, the first axis counts the experts; read as other"
_RAW = re.compile(r"weight_hh_l\d{1,9}(_reverse)?_raw")
_ROUTERS = ("router", "router.layer", "router.gate", "gate", "gate.wg")
_PIECE_BIASES = {"q": "q_bias", "query": "q_bias", "k": "k_bias", "key": "k_bias", "v": "v_bias", "value": "v_bias"}


def read_layers(
    stems: Mapping[str, Stem], attentions: Attentions, hints: Mapping[str, Hint], heads: Heads | None = None
) -> list[StemLayers]:
    """Turns every stem into layers.

    Args:
        stems: Tensors by stem.
        attentions: Modules that are attentions, and the roles of stems in them.
        hints: Hints by module path or tensor name, as stored.
        heads: Heads of the attentions, if a configuration says so.

    Returns:
        One entry per stem, in the order of `stems`. Every tensor is a part of a layer.
    """
    gpt2_in_first = _gpt2_in_first(stems)
    stacked = _stacked_experts(stems)
    found = []
    for stem in _with_biases_of_pieces(stems, attentions):
        if is_recurrent(stem):
            layers = recurrent(stem)
        elif is_multihead(stem):
            layers = multihead(stem)
        else:
            layers = _Reader(stem, hints.get(stem.stored, _NO_HINT), attentions, heads, gpt2_in_first, stacked).read()
        found.append(_with_rest(layers, stem))
    return found


def _with_biases_of_pieces(stems: Mapping[str, Stem], attentions: Attentions) -> list[Stem]:
    """Returns the stems with the parameters `q_bias` and `v_bias` beside a fused weight in its stem, as in BEiT."""
    fused = {path.rpartition(".")[0]: path for path, role in attentions.roles.items() if role == "qkv"}
    found = dict(stems)
    for path, stem in stems.items():
        module, _, name = path.rpartition(".")
        leaf, owner = _PIECE_BIASES.get(name), fused.get(module)
        if leaf and owner and stem.leaves.keys() == {"bias"} and "bias" not in stems[owner].leaves:
            del found[path]
            target = found[owner]
            found[owner] = Stem(target.path, target.stored, target.leaves | {leaf: stem.leaves["bias"]})
    return list(found.values())


def _gpt2_in_first(stems: Mapping[str, Stem]) -> bool | None:
    """Whether `c_attn` and its like are stored [in, out], as in GPT-2, or [out, in], as in rewrites; None if open."""
    for path, stem in stems.items():
        weight = stem.leaves.get("weight")
        if weight is not None and len(weight.shape) == 2 and path.endswith("c_attn"):
            rows, columns = weight.shape
            if rows != columns:
                return columns > rows
    return None


def _stacked_experts(stems: Mapping[str, Stem]) -> frozenset[str]:
    """Returns the stems whose weight [expert, out, in] has one entry per output of a router beside it: JetMoE, Granite.

    A gate counts as a router if the path names experts.
    """
    found = set()
    for path, stem in stems.items():
        weight = stem.leaves.get("weight")
        if weight is None or len(weight.shape) != 3:
            continue
        module = path.rpartition(".")[0]
        modules = (module, module.rpartition(".")[0]) if module.endswith("experts") else (module,)
        for name in _ROUTERS:
            if name.startswith("gate") and not re.search("moe|expert", path.lower()):
                continue
            routers = (stems.get(f"{parent}.{name}" if parent else name) for parent in modules)
            shapes = [router.leaves["weight"].shape for router in routers if router and "weight" in router.leaves]
            if any(len(shape) == 2 and shape[0] == weight.shape[0] for shape in shapes):
                found.add(path)
    return frozenset(found)


@dataclass(frozen=True)
class _Reader:
    """Reads a stem that is neither recurrent nor `nn.MultiheadAttention`.

    Args:
        stem: The stem.
        hint: Hint about its module.
        attentions: Attentions of the network.
        heads: Heads of the attentions, if a configuration says so.
        gpt2_in_first: Whether layers named as in GPT-2 are stored [in, out]; None if unknown.
        stacked: Stems whose weight holds several experts.
    """

    stem: Stem
    hint: Hint
    attentions: Attentions
    heads: Heads | None
    gpt2_in_first: bool | None
    stacked: Set[str]

    def read(self) -> StemLayers:
        leaves, hint = self.stem.leaves, self.hint
        weight = leaves.get("weight") or leaves.get("kernel") or leaves.get("")
        if weight is None or hint.type in NORMS or "running_var" in leaves or "running_mean" in leaves:
            if norm := self._norm():
                return norm
        if weight is None:
            return StemLayers(self.stem.path)
        ndim = len(weight.shape)
        bias = self._bias(weight)
        if hint.type in TABLES or (hint.type is None and bias is None and ndim >= 1):
            if table := self._table(weight):
                return table
        if "" in leaves and weight is leaves[""]:
            return self._bare(weight)
        shift = leaves.get("bias")
        if ndim > 1 and shift is not None and shift.shape == weight.shape and hint.type in (None, *NORMS):
            is_vector = weight.num_entries == max(weight.shape)  # response norm of ConvNeXt V2: [1, 1, 1, channels]
            if not is_vector and (norm := self._norm()):  # over several axes; no other layer has such a bias
                return norm
        if ndim == 1 and hint.type is None:
            if norm := self._norm():
                return norm
        if hint.type is not None and hint.type not in _FROM_SHAPES and ndim >= 2:
            return self._of_class(weight, bias, hint.type)
        if ndim == 2:
            return self._linear(weight, bias)
        if hint.type is None and self.stem.path in self.stacked:
            return self._other(weight, _STACKED)
        if ndim in CONVS:
            return self._conv(weight, bias)
        return self._other(weight, f"a weight of shape {list(weight.shape)} with no known layer; read as other")

    def _bias(self, weight: TensorInfo) -> TensorInfo | None:
        """Returns the bias if its size fits one of the axes that may count the neurons that the weight feeds."""
        bias = self.stem.leaves.get("bias")
        if bias is None or len(bias.shape) != 1 or len(weight.shape) < 2:
            return None
        widths = weight.shape[-1:] if "kernel" in self.stem.leaves else weight.shape[:2]
        return bias if bias.shape[0] in widths else None

    def _norm(self) -> StemLayers | None:
        leaves = self.stem.leaves
        scale = leaves.get("weight") or leaves.get("gamma") or leaves.get("scale")
        shift = leaves.get("bias") or leaves.get("beta")
        vectors = [scale, shift, leaves.get("running_mean"), leaves.get("running_var")]
        present = [info for info in vectors if info is not None]
        if len({info.shape for info in present}) != 1 or not present[0].shape:
            return None
        if len(present[0].shape) > 1 and (scale is None or shift is None):
            return None
        kind = self._norm_type(has_scale=scale is not None, has_shift=shift is not None)
        if kind is None:
            return None
        roles = (Role.SCALE, Role.BIAS, Role.RUNNING_MEAN, Role.RUNNING_VAR)
        parts = [norm_part(info, role) for info, role in zip(vectors, roles, strict=True) if info is not None]
        return StemLayers(self.stem.path, [Layer(self.stem.path, kind, 0, tuple(parts))])

    def _norm_type(self, *, has_scale: bool, has_shift: bool) -> LayerType | None:
        """Returns the type of a norm with these vectors, None if it may be something else.

        A norm with scale and shift whose name does not tell its type is a layer norm for now; `neighbours.py` looks
        at its surroundings.
        """
        leaves, last = self.stem.leaves, self.stem.last
        if "running_mean" in leaves or "running_var" in leaves:
            return LayerType.BATCH_NORM
        if self.hint.type is not None and self.hint.type in NORMS:
            return self.hint.type
        if not has_scale:
            return None
        if has_role(last, "group norm"):
            return LayerType.GROUP_NORM
        if has_shift:
            return LayerType.BATCH_NORM if has_role(last, "batch norm") else LayerType.LAYER_NORM
        is_norm = has_role(last, "norm") or has_role(self.stem.component, "norm")
        return LayerType.RMS_NORM if is_norm else None

    def _table(self, weight: TensorInfo) -> StemLayers | None:
        names = (self.stem.component, self.stem.last)
        if self.hint.type is LayerType.POSITION or any(is_position(name) for name in names):
            kind = LayerType.POSITION
        elif self.hint.type is LayerType.EMBEDDING or any(is_embedding(name) for name in names):
            kind = LayerType.EMBEDDING
        else:
            return None
        if self.hint.type is None and "" not in self.stem.leaves and len(weight.shape) != 2:
            return None  # patch_embed.weight is a convolution
        notes = [Note(weight.name, _MAYBE_COMPUTED)] if self.stem.component == "pe" and "" in self.stem.leaves else []
        return StemLayers(self.stem.path, [Layer(self.stem.path, kind, 0, (table_part(weight),))], notes)

    def _bare(self, info: TensorInfo) -> StemLayers:
        """Returns a parameter that a module holds itself."""
        if len(info.shape) == 1 and has_role(self.stem.component, "norm"):
            part = vector_part(info, Role.SCALE)
            return StemLayers(self.stem.path, [Layer(self.stem.path, LayerType.RMS_NORM, 0, (part,))])
        if _RAW.fullmatch(self.stem.component):
            return self._other(info, _DROPPED)
        return self._other(info, FACTOR if is_factor(self.stem.component) else _UNKNOWN)

    def _linear(self, weight: TensorInfo, bias: TensorInfo | None) -> StemLayers:
        stem = self.stem
        in_first = self._is_in_first(weight, bias)
        role = self.attentions.roles.get(stem.path, "")
        part = matrix_part(weight, Role.WEIGHT, in_first=in_first)
        parts = [part] if bias is None else [part, vector_part(bias, Role.BIAS)]
        if has_role(stem.component, "gate and up") and part.arranged_shape[0] % 2 == 0:
            return gate_and_up(stem, parts, in_first=in_first)
        pieces, doubt = self._pieces(role, weight, in_first=in_first)
        notes = [Note(weight.name, doubt)] if doubt else []
        if pieces:
            found = cut_layers(stem, weight, bias, pieces, in_first=in_first)
            found.notes += notes
            return found
        kind = ATTENTION_TYPES.get(role, LayerType.LINEAR)
        return StemLayers(stem.path, [Layer(stem.path, kind, 0, tuple(parts))], notes)

    def _pieces(self, role: str, weight: TensorInfo, *, in_first: bool) -> tuple[Sequence[Piece], str]:
        """Returns the pieces of a fused weight, and what is doubtful; no pieces if it is one layer."""
        stem, attentions = self.stem, self.attentions
        module = stem.path.rpartition(".")[0]
        total, width = (weight.shape[1], weight.shape[0]) if in_first else weight.shape[:2]
        if role == "qkv":
            out = attentions.outputs.get(module)
            fused = Fused(
                stem.stored,
                total,
                width,
                None if out is None else out[0 if in_first else 1],
                attentions.siblings.get(module, frozenset()),
                attentions.bias_heads.get(module),
            )
            found = qkv_pieces(fused, self.heads)
        elif role == "kv":
            queries = attentions.queries.get(module)
            found = kv_pieces(total, None if queries is None else queries[1 if in_first else 0], self.heads)
        elif has_role(stem.component, "interleaved kv"):
            found = OPEN_PAIR
        else:
            return (), ""
        if isinstance(found, str):
            return (), found
        like_nanogpt = stem.component == "c_attn" and not in_first and "bias" in stem.leaves and total == 3 * width
        is_open = like_nanogpt and (self.heads is None or not self.heads.model_type)
        return found, AS_NANOGPT if is_open else ""

    def _is_in_first(self, weight: TensorInfo, bias: TensorInfo | None) -> bool:
        """Whether a matrix is stored [in, out], by what is surest: hint, size of the bias, names."""
        rows, columns = weight.shape
        if self.hint.in_first is not None:
            return self.hint.in_first
        if bias is not None and rows != columns:
            return bias.shape[0] == columns
        if self.gpt2_in_first is not None and has_role(self.stem.component, "stored in-first"):
            return self.gpt2_in_first
        return "kernel" in self.stem.leaves

    def _conv(self, weight: TensorInfo, bias: TensorInfo | None) -> StemLayers:
        stem = self.stem
        ndim = len(weight.shape)
        kind = CONVS[ndim]
        biases = () if bias is None else (vector_part(bias, Role.BIAS),)
        if "kernel" in stem.leaves:  # [height, width, in, out]
            part = Part(weight.name, Role.WEIGHT, weight.shape, out_axis=ndim - 1, in_axis=ndim - 2)
            return StemLayers(stem.path, [Layer(stem.path, kind, 0, (part, *biases))])
        first, second = weight.shape[:2]
        is_transposed = self.hint.type in _TRANSPOSED_TYPES
        if self.hint.type is None and bias is not None and first != second:
            is_transposed = bias.shape[0] == second  # the bias of a plain convolution counts the first axis
        role = self.attentions.roles.get(stem.path, "") if ndim == 4 else ""
        if has_role(stem.component, "qkv") and weight.num_entries == first * second:
            if role == "qkv" and stem.component == "to_qkv" and first % 3 == 0:  # cut in thirds wherever it is used
                thirds = [Piece(label, i * first // 3, first // 3) for i, label in enumerate(PIECES)]
                return cut_layers(stem, weight, bias, thirds, in_first=False)
            layer = Layer(stem.path, kind, 0, (matrix_part(weight, Role.WEIGHT, in_first=False), *biases))
            return StemLayers(stem.path, [layer], [Note(weight.name, OPEN_LAYOUT)])
        layer = Layer(stem.path, kind, 0, (matrix_part(weight, Role.WEIGHT, in_first=False), *biases))
        if role in ATTENTION_TYPES and weight.shape[2:] == (1, 1):
            layer = Layer(stem.path, ATTENTION_TYPES[role], 0, layer.parts)
        elif is_transposed:
            layer = transposed(layer)
        return StemLayers(stem.path, [layer])

    def _of_class(self, weight: TensorInfo, bias: TensorInfo | None, kind: LayerType) -> StemLayers:
        """Returns a layer whose type is known from the class of its module: a weight [out, in, ...], perhaps a bias."""
        part = matrix_part(weight, Role.WEIGHT, in_first=False)
        parts = (part,) if bias is None else (part, vector_part(bias, Role.BIAS))
        notes = [Note(weight.name, _OTHER_CLASS)] if kind is LayerType.OTHER else []
        return StemLayers(self.stem.path, [Layer(self.stem.path, kind, 0, parts)], notes)

    def _other(self, info: TensorInfo, reason: str) -> StemLayers:
        return StemLayers(self.stem.path, [_other_layer(self.stem.path, info)], [Note(info.name, reason)])


def transposed(layer: Layer) -> Layer:
    """Returns a convolution read as a transposed one, whose weight is stored [in, out, ...]."""
    first, *rest = layer.parts
    flipped = Part(first.tensor, first.role, first.shape, out_axis=1, in_axis=0)
    return Layer(layer.name, TRANSPOSED[layer.type], layer.level, (flipped, *rest))


def _other_layer(name: str, info: TensorInfo, role: Role | None = None) -> Layer:
    is_vector = len(info.shape) <= 1
    role = role or (Role.SCALE if is_vector else Role.WEIGHT)
    part = vector_part(info, role) if is_vector else matrix_part(info, role, in_first=False)
    return Layer(name, LayerType.OTHER, 0, (part,))


def _with_rest(layers: StemLayers, stem: Stem) -> StemLayers:
    """Adds one layer of type "other" and one note for each tensor that no layer of the stem has as a part."""
    used = {part.tensor for layer in layers.layers for part in layer.parts}
    if len(used) == len(stem.leaves):
        return layers
    for leaf, info in sorted(stem.leaves.items()):
        if info.name not in used:
            name = f"{stem.path}.{leaf}" if leaf else stem.path
            layers.layers.append(_other_layer(name, info, Role.BIAS if leaf in ("bias", "beta") else None))
            layers.notes.append(Note(info.name, _UNKNOWN))
    return layers
