"""Norms of ONNX graphs: nodes of their own, and those that exporters take apart into arithmetic."""

from collections.abc import Callable, Mapping

from sne.checkpoints.formats.onnx_graph.naming import is_numbered
from sne.checkpoints.formats.onnx_graph.nodes import Node, Value
from sne.checkpoints.formats.onnx_graph.uses import (
    Use,
    Weight,
    added_bias,
    only_consumer,
    origin,
    set_aside,
    vector,
    weight_at,
)
from sne.networks import LayerType

_UNIT = "ones and zeros in place of the weights of a norm that has none"
_AFFINE = "a scale and a shift per channel, as an exporter leaves of a batch norm whose statistics it has folded in"
_CONVS = frozenset({"Conv", "ConvTranspose"})

_NODES = {
    "BatchNormalization": (LayerType.BATCH_NORM, (1, 2, 3, 4)),
    "LayerNormalization": (LayerType.LAYER_NORM, (1, 2)),
    "GroupNormalization": (LayerType.GROUP_NORM, (1, 2)),
    "InstanceNormalization": (LayerType.GROUP_NORM, (1, 2)),
    "RMSNormalization": (LayerType.RMS_NORM, (1,)),
    "SimplifiedLayerNormalization": (LayerType.RMS_NORM, (1,)),
    "com.microsoft.SimplifiedLayerNormalization": (LayerType.RMS_NORM, (1,)),
    "com.microsoft.GroupNorm": (LayerType.GROUP_NORM, (1, 2)),
    "com.microsoft.SkipLayerNormalization": (LayerType.LAYER_NORM, (2, 3)),
    "com.microsoft.SkipSimplifiedLayerNormalization": (LayerType.RMS_NORM, (2,)),
}
"""Type of a norm and the inputs that hold scale, shift, running mean and running variance, by operator."""

_LEAVES = ("weight", "bias", "running_mean", "running_var")


def _norm(node: Node) -> list[Use]:
    kind, positions = _NODES[node.op]
    if kind is LayerType.GROUP_NORM and _is_unit(node):
        return [Use(node, {}, aside=set_aside(node, (1, 2), _UNIT))]
    found = ((leaf, weight_at(node, position)) for leaf, position in zip(_LEAVES, positions, strict=False))
    weights = {leaf: weight for leaf, weight in found if weight is not None}
    return [Use(node, weights, kind)] if weights else []


def _is_unit(node: Node) -> bool:
    """Whether a norm has numbered scales that are all one, as exporters write for norms without weights."""
    scale = node.input(1)
    if scale is None or scale.constant is None or not is_numbered(scale.names[0]):
        return False
    leaves = scale.constant.leaves()
    if not all(leaf.is_inline for leaf in leaves):
        return False
    return bool((scale.constant.evaluate() == 1).all())


def _scale(node: Node) -> list[Use]:
    """Reads a constant vector that normalised values are multiplied by, and the one that is added then."""
    places = [position for position in (0, 1) if node.constant(position) is not None]
    if len(places) != 1 or len(node.inputs) != 2:
        return []
    scale, source = weight_at(node, places[0]), node.input(1 - places[0])
    if scale is None or scale.constant.num_entries < 2:
        return []
    width, shape = scale.constant.num_entries, scale.constant.shape
    flat = vector(scale, width)
    if flat is None or source is None:
        return []
    channel_axis = next(axis for axis, size in enumerate(shape) if size == width) - len(shape)
    kind = _normalises(source)
    shift = added_bias(node, width, channel_axis) or _folded_shift(node, width)
    doubt = ""
    if kind is None:
        before = origin(source)
        if before is None or before.op not in _CONVS or shift is None:
            return []
        kind, doubt = LayerType.BATCH_NORM, _AFFINE
    weights: dict[str, Weight] = {"weight": flat} | ({} if shift is None else {"bias": shift})
    return [Use(node, weights, kind, doubt)]


def _normalises(value: Value) -> LayerType | None:
    """Returns the type of the norm that computes a value before its scale, None if no norm does."""
    node = origin(value)
    if node is None:
        return None
    if node.op == "InstanceNormalization":
        return LayerType.GROUP_NORM
    if node.op == "MeanVarianceNormalization":
        return LayerType.LAYER_NORM
    if _is_inverse_root(node):  # TensorFlow multiplies the scale by the inverse deviation first
        return LayerType.LAYER_NORM
    if node.op == "Div" and _is_root(origin(node.input(1))):
        return _centred(node.input(0))
    if node.op == "Mul":
        for position in (0, 1):
            factor = origin(node.input(position))
            if factor is not None and _is_inverse_root(factor):
                return _centred(node.input(1 - position))
    return None


def _centred(value: Value | None) -> LayerType:
    """Returns layer norm if the mean has been subtracted, otherwise RMS norm."""
    node = origin(value)
    return LayerType.LAYER_NORM if node is not None and node.op == "Sub" else LayerType.RMS_NORM


def _is_root(node: Node | None) -> bool:
    return node is not None and node.op == "Sqrt"


def _is_inverse_root(node: Node) -> bool:
    if node.op == "Reciprocal":
        return _is_root(origin(node.input(0)))
    return node.op == "Div" and node.constant(0) is not None and _is_root(origin(node.input(1)))


def _folded_shift(node: Node, width: int) -> Weight | None:
    """Returns the shift of `shift - mean * scale`, TensorFlow's form."""
    for consumer, _ in node.outputs[0].consumers if node.outputs else []:
        following = only_consumer(consumer.outputs[0]) if consumer.op == "Mul" and consumer.outputs else None
        if following is not None and following[0].op == "Sub" and following[1] == 1:
            shift = vector(weight_at(following[0], 0), width)
            if shift is not None:
                return shift
    return None


NORMS: Mapping[str, Callable[[Node], list[Use]]] = {**dict.fromkeys(_NODES, _norm), "Mul": _scale}
"""Functions from a node to the norm whose weights it holds, by operator."""
