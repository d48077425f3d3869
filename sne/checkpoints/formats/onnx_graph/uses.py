"""Uses: the weights of one layer, as one node of the graph computes with them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from sne.checkpoints.formats.onnx_graph.constants import Constant, derive
from sne.checkpoints.formats.onnx_graph.following import reshape
from sne.checkpoints.formats.onnx_graph.nodes import Node, Value
from sne.checkpoints.formats.onnx_graph.values import Leaf
from sne.networks import LayerType

_PASSES = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout"})
_ADDS_BIAS = frozenset({"Add", "com.microsoft.BiasGelu", "com.microsoft.FastGelu", "com.microsoft.BiasAdd"})
_MOST_PASSED = 4


@final
@dataclass(eq=False)
class Weight:
    """One weight of a layer.

    Args:
        constant: The weight in the axes of torch: [out, in, kernel...] for matrices.
        names: Names of the value in the file, the nearest to the node first.
    """

    constant: Constant
    names: tuple[str, ...] = ()


@final
@dataclass(eq=False)
class Use:
    """The weights of one layer.

    Args:
        node: The node that the layer is.
        weights: The weights by the name that torch gives them in a module: "weight", "bias", "running_mean".
        type: Type of the layer, None if names and shapes tell.
        doubt: Reason why the layer is read with doubt, empty if there is none.
        aside: Tensors that the node needs and that are no weights, with the reason.
        is_cell: Whether the layer is recurrent, so that its weights are numbered by layer.
    """

    node: Node
    weights: dict[str, Weight]
    type: LayerType | None = None
    doubt: str = ""
    aside: dict[Leaf, str] = field(default_factory=dict)
    is_cell: bool = False


def weight_at(node: Node, position: int) -> Weight | None:
    """Returns an input of a node as a weight, None if it is no constant of real numbers."""
    value = node.input(position)
    if value is None or value.constant is None or not value.constant.is_floating:
        return None
    return Weight(value.constant, value.names)


def vector(weight: Weight | None, width: int) -> Weight | None:
    """Returns a weight as a vector: axes of size one are dropped, one number is repeated.

    Args:
        weight: The weight.
        width: Number of entries that it must have.

    Returns:
        The vector; None if there is no weight, or if it has another number of entries.
    """
    if weight is None:
        return None
    constant: Constant | None = weight.constant
    if constant is not None and constant.num_entries == 1 and width > 1:
        constant = derive(lambda v: v[0].reshape(1).repeat(width), [constant], (width,))
    if constant is None or constant.num_entries != width:
        return None
    if len([size for size in constant.shape if size != 1]) > 1:
        return None
    constant = constant if constant.shape == (width,) else reshape(constant, [width])
    return None if constant is None else Weight(constant, weight.names)


def scaled(weight: Weight | None, factor: float) -> Weight | None:
    """Returns a weight times a number of the node."""
    if weight is None or factor == 1.0:
        return weight
    constant = derive(lambda v: v[0] * factor, [weight.constant], weight.constant.shape)
    return None if constant is None else Weight(constant, weight.names)


def only_consumer(value: Value) -> tuple[Node, int] | None:
    """Returns the one node that reads a value, and which input it is; None if there are none or several."""
    return value.consumers[0] if len(value.consumers) == 1 else None


def added_bias(node: Node, width: int, channel_axis: int = -1, shape: Sequence[int] | None = None) -> Weight | None:
    """Returns the bias that the next node adds to the output of a layer.

    Args:
        node: The layer.
        width: Number of neurons of the layer.
        channel_axis: Axis of the neurons in the output, from the end.
        shape: Shape of the bias if the neurons are several axes of the output.
    """
    value = node.outputs[0] if node.outputs else None
    for _ in range(_MOST_PASSED):
        found = None if value is None else only_consumer(value)
        if found is None:
            return None
        consumer, position = found
        if consumer.op in _PASSES and position == 0 and consumer.outputs:
            value = consumer.outputs[0]
        elif consumer.op in _ADDS_BIAS and len(consumer.inputs) == 2:
            bias = weight_at(consumer, 1 - position)
            if bias is not None and shape is not None and bias.constant.shape == tuple(shape):
                flat = reshape(bias.constant, [width])
                return None if flat is None else Weight(flat, bias.names)
            return vector(bias, width) if bias is not None and _fits(bias, width, channel_axis) else None
        else:
            return None
    return None


def _fits(bias: Weight, width: int, channel_axis: int) -> bool:
    """Whether a constant that is added has one entry per neuron, along the axis of the neurons."""
    shape = bias.constant.shape
    if bias.constant.num_entries != width:
        return False
    return width == 1 or (len(shape) >= -channel_axis and shape[channel_axis] == width)


def origin(value: Value | None) -> Node | None:
    """Returns the node that computes a value, before nodes that only change its shape or dtype."""
    for _ in range(_MOST_PASSED):
        node = None if value is None else value.producer
        if node is None or (node.op not in _PASSES and node.op != "Transpose"):
            return node
        value = node.input(0)
    return None


def set_aside(node: Node, positions: Iterable[int], reason: str) -> dict[Leaf, str]:
    """Returns the stored tensors of inputs that are no weights, with the reason."""
    constants = (node.constant(position) for position in positions)
    return {leaf: reason for constant in constants if constant is not None for leaf in constant.leaves()}
