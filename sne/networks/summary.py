"""One line that says what a network is, from its layers alone. It says less rather than guess."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from sne.networks.adapters import adapted_path
from sne.networks.network import Layer, LayerType, Network
from sne.networks.part import Role
from sne.networks.parts import NORMS, width_in, width_out

_CONVS = {LayerType.CONV1D: 1, LayerType.CONV2D: 2, LayerType.CONV3D: 3}
_TRANSPOSED = (LayerType.CONV_TRANSPOSE1D, LayerType.CONV_TRANSPOSE2D, LayerType.CONV_TRANSPOSE3D)
_RECURRENT = {LayerType.LSTM: "LSTM", LayerType.GRU: "GRU", LayerType.RNN: "Elman RNN"}
_SIDE = frozenset({*NORMS, LayerType.OTHER, LayerType.EMBEDDING, LayerType.POSITION})

_DECODER = re.compile(r"(^|\.)(wte|c_attn|lm_head|gate_proj|gate_up_proj|query_key_value)(\.|$)")
_ENCODER = re.compile(r"(^|\.)(token_type_embeddings|cls_token|pooler)(\.|$)")
_RESIDUAL = re.compile(r"(^|\.)(downsample|shortcut|skip_connection|conv_shortcut)(\.|$)")
_EXPERT = re.compile(r"\.experts?\.(\d+)\.")
_PARTS = 3


def summarise(network: Network) -> str:
    """Says in one line what a network is.

    Args:
        network: The network.

    Returns:
        The kind of network, its depth, width, inputs and outputs as far as names and shapes tell, and the number of
        weights. What they do not tell is left out.

    Example:
        >>> from sne import read_network
        >>> from torch import nn
        >>> summarise(read_network(nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))))
        'multilayer perceptron, 2 layers, 784-64-10; 50,890 weights'
    """
    layers = [layer for layer in network.layers if layer.parts]
    words = next(found for describe in _KINDS if (found := describe(layers)))
    types = Counter[str]()
    for _, part in network.parts():
        types[network.source.infos[part.tensor].dtype] += part.num_entries
    main, count = types.most_common(1)[0] if types else ("", 0)
    stored = f" in {main}" if main != "float32" and 2 * count > network.num_weights else ""
    return f"{', '.join(words)}; {network.num_weights:,} weight{'s' * (network.num_weights != 1)}{stored}"


def _adapter(layers: Sequence[Layer]) -> list[str]:
    adapted = [adapted_path(layer.name) for layer in layers]
    paths = {found[0] for found in adapted if found is not None and not found[1]}
    if not layers or None in adapted or not paths:
        return []
    kinds = sorted({path.rpartition(".")[2] for path in paths})
    shown = f": {', '.join(kinds)}" if len(kinds) <= _PARTS else ""
    return [f"adapter of {_counted(len(paths), 'layer')}{shown}"]


def _transformer(layers: Sequence[Layer]) -> list[str]:
    queries = [layer for layer in layers if layer.type is LayerType.ATTENTION_QUERY]
    if not queries:
        return []
    blocks = _blocks(queries)
    kernels = [layer for layer in layers if layer.type in _CONVS and _kernel(layer) > 1]
    is_convolutional = len(kernels) > max(2 * blocks.total(), 4)
    if is_convolutional:
        kind = "convolutional network with attention"
    else:
        kind = _kind_of_transformer(layers, blocks)
    words = [kind]
    if is_convolutional:
        words += [_counted(len(kernels), "convolution"), _counted(blocks.total(), "attention")]
    elif len(blocks) <= 1 or len(blocks) > 6:
        words.append(_counted(blocks.total(), "block"))
    else:
        words.append(" + ".join(str(count) for count in blocks.values()) + " blocks")
    experts = {int(match[1]) for layer in layers if (match := _EXPERT.search(layer.name))}
    if len(experts) > 1:
        words.append(f"{len(experts)} experts")
    words.append(_range("width", (width_in(layer) for layer in queries)))
    if not is_convolutional:
        words += _patches(layers)
        words += _vocabulary(layers)
    return [word for word in words if word]


def _kind_of_transformer(layers: Sequence[Layer], blocks: Counter[str]) -> str:
    """Names a transformer by what its names show: patches, a decoder, an encoder, both, or none of these."""
    names = [layer.name for layer in layers]
    sides = {side for path in blocks for side in ("encoder", "decoder") if side in path.lower().split(".")}
    if sides == {"encoder", "decoder"}:
        return "transformer with encoder and decoder"
    if _patches(layers) and len(blocks) == 1:
        return "vision transformer"
    is_decoder, is_encoder = (any(pattern.search(name) for name in names) for pattern in (_DECODER, _ENCODER))
    is_decoder, is_encoder = is_decoder or sides == {"decoder"}, is_encoder or sides == {"encoder"}
    if is_decoder == is_encoder:
        return "transformer"
    return "transformer decoder" if is_decoder else "transformer encoder"


def _blocks(queries: Sequence[Layer]) -> Counter[str]:
    """Counts the blocks that hold attentions, by the path of the list that they are in."""
    found: dict[str, set[str]] = {}
    for layer in queries:
        words = layer.name.split(".")
        numbers = [at for at, word in enumerate(words[:-1]) if word.isdigit()]
        if len(numbers) > 1 and words[numbers[-1] - 1] == "layer" and words[numbers[-2] - 1] == "block":  # T5
            numbers.pop()
        at = numbers[-1] if numbers else len(words) - 1
        found.setdefault(".".join(words[:at]), set()).add(words[at] if numbers else "")
    return Counter({path: len(numbers) for path, numbers in found.items()})


def _patches(layers: Sequence[Layer]) -> list[str]:
    """Says how an image is cut into tokens, if a convolution with a large kernel is the first layer."""
    first = [layer for layer in layers if layer.type is LayerType.CONV2D]
    if len(first) != 1 or first[0].level != 0:
        return []
    return [f"patches of {_sides(first[0])}"]


def _vocabulary(layers: Sequence[Layer]) -> list[str]:
    sizes = [
        layer.parts[0].arranged_shape[1]
        for layer in layers
        if layer.type is LayerType.EMBEDDING and len(layer.parts[0].shape) == 2 and "token_type" not in layer.name
    ]
    largest = max(sizes, default=0)
    return [f"vocabulary {largest:,}"] if largest > 2 else []


def _state_space(layers: Sequence[Layer]) -> list[str]:
    """Describes networks of state-space layers, which store the logarithms of their matrices A: Mamba."""
    mixers = [layer.name for layer in layers if layer.name.endswith(".A_log")]
    if not mixers:
        return []
    return ["state-space network (Mamba)", _counted(len(mixers), "block"), *_vocabulary(layers)]


def _convolutional(layers: Sequence[Layer]) -> list[str]:
    convs = [layer for layer in layers if layer.type in _CONVS]
    transposed = [layer for layer in layers if layer.type in _TRANSPOSED]
    if not convs and not transposed:
        return []
    axes = {_CONVS[layer.type] for layer in convs}
    recurrent = [layer for layer in layers if layer.type in _RECURRENT]
    kind = "convolutional network"
    if any(_RESIDUAL.search(layer.name) for layer in layers):
        kind = f"residual {kind}"
    if recurrent:
        kind += f" with {_names_of_recurrent(recurrent)}"
    words = [kind]
    if convs:
        dimension = f" of {axes.pop()} axis" if axes == {1} else f" of {axes.pop()} axes" if axes == {3} else ""
        words.append(_counted(len(convs), "convolution") + dimension)
    if transposed:
        words.append(_counted(len(transposed), "transposed convolution"))
    words.append(_range("width", (width_out(layer) for layer in [*convs, *transposed])))
    first = [layer for layer in convs if layer.level == min(one.level for one in convs)]
    if len(first) == 1 and first[0].level == 0:
        channels = first[0].parts[0].arranged_shape[1]
        words.append(f"{channels} input channel{'s' * (channels != 1)}")
    linear = [layer for layer in layers if layer.type is LayerType.LINEAR]
    if linear:
        words.append(_counted(len(linear), "linear layer"))
    return [word for word in [*words, *_outputs(layers)] if word]


def _recurrent(layers: Sequence[Layer]) -> list[str]:
    recurrent = [layer for layer in layers if layer.type in _RECURRENT]
    if not recurrent:
        return []
    first = min(layer.level for layer in recurrent)
    weights = [layer.parts[0] for layer in recurrent if layer.level == first and layer.parts[0].role is Role.WEIGHT]
    inputs = {part.arranged_shape[1] for part in weights}
    stacked = {re.sub(r"_reverse$", "", layer.name.rpartition(".")[0]) for layer in recurrent}
    words = [f"recurrent network ({_names_of_recurrent(recurrent)})", _counted(len(stacked), "recurrent layer")]
    if any("_reverse" in layer.name for layer in recurrent):
        words[-1] += " in both directions"
    words.append(_range("width", (width_out(layer) for layer in recurrent)))
    vocabulary = _vocabulary(layers)
    if not vocabulary and len(inputs) == 1:
        words.append(_counted(inputs.pop(), "input"))
    return [word for word in [*words, *vocabulary, *_outputs(layers)] if word]


def _names_of_recurrent(layers: Iterable[Layer]) -> str:
    return " and ".join(dict.fromkeys(_RECURRENT[layer.type] for layer in layers if layer.type in _RECURRENT))


def _perceptron(layers: Sequence[Layer]) -> list[str]:
    linear = [layer for layer in layers if layer.type is LayerType.LINEAR]
    if not linear:
        return []
    others = {layer.type for layer in layers} - {LayerType.LINEAR, *NORMS}
    widths = [(width_in(layer), width_out(layer)) for layer in linear]
    is_chain = all(one[1] == other[0] for one, other in pairwise(widths))
    if not is_chain or others or len({layer.level for layer in linear}) < len(linear):
        return [f"network of {_counted(len(linear), 'linear layer')}", *_vocabulary(layers)]
    chain = [str(widths[0][0]), *(str(out) for _, out in widths)]
    shown = "-".join(chain if len(chain) <= 7 else [*chain[:3], "...", *chain[-2:]])
    if len(linear) == 1:
        return ["linear layer", shown]
    return ["multilayer perceptron", _counted(len(linear), "layer"), shown]


def _tables(layers: Sequence[Layer]) -> list[str]:
    tables = [layer for layer in layers if layer.type is LayerType.EMBEDDING]
    if len(tables) == len(layers) == 1:
        return ["embedding table", " x ".join(map(str, tables[0].parts[0].shape))]
    return []


def _other(layers: Sequence[Layer]) -> list[str]:
    kinds = Counter("unknown layer" if layer.type is LayerType.OTHER else "norm" for layer in layers
                    if layer.type in _SIDE)  # fmt: skip
    return ["network of no known kind", *(_counted(count, kind) for kind, count in kinds.items())]


def _outputs(layers: Sequence[Layer]) -> list[str]:
    """Says how many outputs there are, if the last level is one linear layer."""
    last = [layer for layer in layers if layer.level == max(one.level for one in layers)]
    if len(last) != 1 or last[0].type is not LayerType.LINEAR:
        return []
    width = width_out(last[0])
    return [_counted(width, "output")] if width else []


def _kernel(layer: Layer) -> int:
    return layer.parts[0].arranged_shape[2]


def _sides(layer: Layer) -> str:
    part = layer.parts[0]
    return " x ".join(str(size) for axis, size in enumerate(part.shape) if axis not in (part.out_axis, part.in_axis))


def _range(noun: str, widths: Iterable[int | None]) -> str:
    """Writes a width, or the smallest and the largest of several; empty if none is known."""
    known = [width for width in widths if width]
    if not known:
        return ""
    low, high = min(known), max(known)
    return f"{noun} {low:,}" if low == high else f"{noun}s {low:,} to {high:,}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


_KINDS: tuple[Callable[[Sequence[Layer]], list[str]], ...] = (
    _adapter,
    _transformer,
    _state_space,
    _convolutional,
    _recurrent,
    _perceptron,
    _tables,
    _other,
)
"""Descriptions of kinds of networks; the first one that fits is used."""
