"""The layers of a plain stack: the widths that each reads and feeds, and on which axes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sne.networks import Hint, LayerType, TensorInfo
from sne.networks.spelling import snake_case
from sne.networks.stems import Stem, common_prefix, group_by_stem
from sne.symmetry.by_name.claims import UncertainError
from sne.symmetry.symmetry import Span

_GATES = (4, 3, 1)  # LSTM, GRU, RNN
_READ = {None, LayerType.LINEAR, LayerType.EMBEDDING, *(kind for kind in LayerType if kind.startswith("conv"))}
"""Layer types whose weights of several axes are read. Nothing is claimed about weights of other types."""


@dataclass(frozen=True)
class StackLayer:
    """A layer that reads one width and feeds another.

    Args:
        path: Path of the layer.
        kind: "linear", "conv", "table" or "recurrent".
        spatial: Number of axes of the kernel.
        reads: Width that the layer reads; 0 for a table.
        feeds: Width that the layer feeds, per direction.
        reading: Spans of the axes that read.
        feeding: Spans of the axes that feed.
        directions: Number of directions: 2 for a bidirectional recurrent layer, otherwise 1.
        is_open: Whether the layer may also be an embedding or a transposed convolution.
        may_be_bilinear: Whether the layer may be a bilinear layer that looks like a convolution.
    """

    path: str
    kind: str
    spatial: int
    reads: int
    feeds: int
    reading: tuple[Span, ...]
    feeding: tuple[Span, ...]
    directions: int = 1
    is_open: bool = False
    may_be_bilinear: bool = False


@dataclass(frozen=True)
class SideLayer:
    """A norm, or an activation with weights: vectors of the width of a neighbour.

    Args:
        path: Path of the layer.
        width: Width of the vectors.
        tensors: Names of the vectors.
        is_alike: Whether it treats all neurons alike; False if it may be a norm over groups of neurons.
    """

    path: str
    width: int
    tensors: tuple[str, ...]
    is_alike: bool


def stack_layers(
    infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]
) -> tuple[list[StackLayer], list[SideLayer]]:
    """Sorts the tensors of a network into layers of a stack.

    Args:
        infos: Every tensor by name.
        hints: Hints in addition to names and shapes.

    Returns:
        Layers in no order, and the norms and activations with weights between them.

    Raises:
        UncertainError: A tensor belongs to no layer of a kind that plain stacks have.
    """
    layers: list[StackLayer] = []
    sides: list[SideLayer] = []
    for stem in group_by_stem(infos, common_prefix(infos)).values():
        kind = hints.get(stem.stored, Hint()).type
        leaves = {leaf: info for leaf, info in stem.leaves.items() if leaf != "counter"}
        weight = leaves.get("weight")
        if any(leaf.startswith("weight_hh") for leaf in leaves):
            layers += _recurrent(stem, leaves)
        elif leaves.keys() <= {"weight", "bias"} and weight is not None and len(weight.shape) >= 2:
            layers.append(_matrix(stem, weight, leaves.get("bias"), kind))
        elif leaves.keys() <= {"weight", "bias", "gamma", "beta", "scale", "running_mean", "running_var"} and leaves:
            sides.append(_side(stem, leaves, kind))
        elif any(info.num_entries != 1 for info in leaves.values()):
            raise UncertainError(f"{stem.stored} is not a layer of a plain stack")
    return layers, sides


def _matrix(stem: Stem, weight: TensorInfo, bias: TensorInfo | None, kind: LayerType | None) -> StackLayer:
    ndim = len(weight.shape)
    if ndim > 5 or kind not in _READ:
        raise UncertainError(f"{weight.name} of {list(weight.shape)} is neither a linear layer nor a convolution")
    if kind is LayerType.EMBEDDING:
        return table(StackLayer(stem.path, "linear", 0, weight.shape[1], weight.shape[0], (Span(weight.name, 1),), ()))
    layer = StackLayer(
        stem.path,
        "linear" if ndim == 2 else "conv",
        ndim - 2,
        weight.shape[1],
        weight.shape[0],
        (Span(weight.name, 1, power=-1),),
        (Span(weight.name, 0, power=1),),
        is_open=bias is None and kind is None and weight.shape[0] != weight.shape[1],
        may_be_bilinear=kind is None and ndim == 3 and weight.shape[1] == weight.shape[2] > 1,
    )
    if kind is not None and kind.value.startswith("conv_transpose"):
        layer = turned(layer)
    if bias is None:
        return layer
    if bias.shape not in ((layer.feeds,), (layer.reads,)) or (ndim == 2 and bias.shape != (layer.feeds,)):
        raise UncertainError(
            f"{bias.name} is {list(bias.shape)}, which does not fit {weight.name} of {list(weight.shape)}"
        )
    if bias.shape != (layer.feeds,):
        layer = turned(layer)
    return replace(layer, feeding=(*layer.feeding, Span(bias.name, 0, power=1)))


def turned(layer: StackLayer) -> StackLayer:
    """Returns a layer with its two axes exchanged, as a transposed convolution has them."""
    tensor = layer.reading[0].tensor
    dim = layer.reading[0].dim
    return replace(
        layer,
        is_open=False,
        reads=layer.feeds,
        feeds=layer.reads,
        reading=(Span(tensor, 1 - dim, power=-1),),
        feeding=(Span(tensor, dim, power=1), *layer.feeding[1:]),
    )


def table(layer: StackLayer) -> StackLayer:
    """Returns a layer read as an embedding, which feeds its second axis and reads tokens."""
    tensor = layer.reading[0].tensor
    return StackLayer(layer.path, "table", 0, 0, layer.reads, (), (Span(tensor, 1, power=1),))


def _recurrent(stem: Stem, leaves: Mapping[str, TensorInfo]) -> list[StackLayer]:
    """Returns one `StackLayer` per stacked recurrent layer; its directions share it."""
    found: dict[int, list[str]] = {}
    for leaf in leaves:
        kind, _, rest = leaf.partition("_")
        if kind not in ("weight", "bias") or not rest.startswith(("ih", "hh")):
            raise UncertainError(f"{stem.stored} has {leaf}, which plain recurrent layers do not have")
        digits = "".join(letter for letter in rest.removesuffix("_reverse") if letter.isdecimal())
        found.setdefault(int(digits or 0), []).append(leaf)
    return [_one_recurrent(f"{stem.path}.{index}", leaves, names) for index, names in sorted(found.items())]


def _one_recurrent(path: str, leaves: Mapping[str, TensorInfo], names: list[str]) -> StackLayer:
    states = [leaves[name].shape for name in names if name.startswith("weight_hh")]
    if not states or not all(states) or not states[0][-1]:
        raise UncertainError(f"{path} has no recurrent weights")
    hidden = states[0][-1]
    widths: set[int] = set()
    counts: set[int] = set()
    reading: list[Span] = []
    feeding: list[Span] = []
    for name in sorted(names):
        info = leaves[name]
        gates = info.shape[0] // hidden if info.shape else 0
        if gates not in _GATES or info.shape[0] != gates * hidden or len(info.shape) != (2 if name[0] == "w" else 1):
            raise UncertainError(f"{info.name} is {list(info.shape)}, which fits no LSTM, GRU or RNN of {hidden}")
        feeding += _gate_spans(info.name, gates, hidden)
        counts.add(gates)
        if name.startswith("weight_hh"):
            if info.shape[1] != hidden:
                raise UncertainError(f"{info.name} reads {info.shape[1]}, expected {hidden}")
            feeding.append(Span(info.name, 1, power=1))
        elif name.startswith("weight_ih"):
            reading.append(Span(info.name, 1, power=-1))
            widths.add(info.shape[1])
    if len(widths) != 1 or len(counts) != 1:
        raise UncertainError(f"{path}: directions and gates do not fit each other")
    directions = 2 if any(name.endswith("_reverse") for name in names) else 1
    return StackLayer(path, "recurrent", 0, widths.pop(), hidden, tuple(reading), tuple(feeding), directions)


def _gate_spans(tensor: str, gates: int, hidden: int) -> list[Span]:
    """Returns the spans of the gates. The gate before the tanh changes its sign with the unit, sigmoids keep theirs."""
    odd = {1: 0, 3: 2, 4: 2}[gates]
    spans = [Span(tensor, 0, outer=odd)] if odd else []
    spans.append(Span(tensor, 0, start=odd * hidden, power=1))
    return [*spans, Span(tensor, 0, start=3 * hidden)] if gates == 4 else spans


def _side(stem: Stem, leaves: Mapping[str, TensorInfo], kind: LayerType | None) -> SideLayer:
    shapes = {info.shape for info in leaves.values()}
    shape = shapes.pop() if len(shapes) == 1 else ()
    if len(shape) != 1:
        raise UncertainError(f"{stem.stored} has tensors of different shapes, or of more than one axis")
    names = tuple(info.name for info in leaves.values())
    is_batch_norm = "running_mean" in leaves and "running_var" in leaves
    word = snake_case(stem.last)
    is_layer_norm = kind in (LayerType.LAYER_NORM, LayerType.RMS_NORM) or word.startswith(("layer_norm", "layernorm"))
    is_layer_norm = is_layer_norm or word.rstrip("0123456789").rstrip("_") in ("ln", "lns")
    is_alone = len(leaves) == 1  # PReLU, RMS norm, scales: neuron by neuron
    is_alike = kind is not LayerType.GROUP_NORM and (is_batch_norm or is_layer_norm or is_alone)
    return SideLayer(stem.path, shape[0], names, is_alike)
