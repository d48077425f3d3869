"""Tensors that no known layer uses: weights of unknown operators, and constants that are no weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch

from sne.checkpoints.formats.onnx_graph.constants import stored
from sne.checkpoints.formats.onnx_graph.naming import is_numbered
from sne.checkpoints.formats.onnx_graph.nodes import Node
from sne.checkpoints.formats.onnx_graph.parameters import Parameters
from sne.checkpoints.formats.onnx_graph.values import Leaf
from sne.checkpoints.formats.onnx_graph.walk import Walked
from sne.networks import Hint, LayerType

_FEW = 16
_TABLE = 64
_MOST_INSPECTED = 4_000_000
_LARGEST_BIAS = -1e4
_NARROW = ("int8", "uint8", "int4", "uint4", "int2", "uint2")
_SETTINGS = frozenset({
    "Clip", "Pad", "Resize", "Upsample", "Range", "Where", "Pow", "Dropout", "Equal", "Less", "Greater", "LessOrEqual",
    "GreaterOrEqual", "OneHot", "NonMaxSuppression", "Trilu", "ConstantOfShape", "RandomUniform", "Max", "Min",
})  # fmt: skip
_ENTRYWISE = frozenset({
    "Add", "Sub", "Mul", "Div", "Concat", "Expand", "Tile", "Neg", "Sqrt", "Erf", "Sin", "Cos", "Greater", "Sum", "Mod",
}) | _SETTINGS  # fmt: skip
_MATRIX_PRODUCTS = frozenset({"MatMul", "Einsum", "Gemm"})

_SETTING = "a setting of an operator, not a weight"
_NUMBER = "a single number that the graph computes with, not read as a weight"
_INTEGERS = "integers: shapes, indices or positions, not weights"
_PACKED = "integers of a quantised weight in a form that is not read"
_MASK = "a mask of the graph, not a weight"
_FILLED = "one number repeated by the exporter, not a weight"
_MADE_UP = "a constant that the exporter has computed and numbered: a buffer, or what it made of a parameter; not read"
_STOPPED = "passes through an operator that is not followed on its way to a layer; read as it is stored"


def add_rest(parameters: Parameters, walked: Walked) -> None:
    """Adds every stored tensor that no layer uses, as a tensor under its own name or as a note.

    Args:
        parameters: The weights found so far.
        walked: All that the model holds.
    """
    users = _users(walked.nodes)
    for leaf in walked.leaves:
        if leaf in parameters.claimed:
            continue
        nodes = users.get(leaf, [])
        rest = _Rest(leaf, [node for node, _ in nodes], leaf in walked.constant_nodes)
        if rest.is_trivial:
            continue
        if reason := rest.why_no_weight():
            parameters.notes.setdefault(leaf.name, reason)
            continue
        name = leaf.name
        while name in parameters.constants:
            name += "_stored"
        parameters.constants[name] = stored(leaf)
        if any(is_stopped for _, is_stopped in nodes):
            parameters.notes.setdefault(name, _STOPPED)
        stem, _, last = name.rpartition(".")
        path = stem if last in ("weight", "kernel") else name
        is_batch = len(leaf.shape) > 2 and any(node.op in _MATRIX_PRODUCTS for node, _ in nodes)
        kind = LayerType.OTHER if is_batch else None
        order = min((node.index for node, _ in nodes), default=None)
        parameters.hints.setdefault(path, Hint(kind, order=order))


def _users(nodes: Iterable[Node]) -> Mapping[Leaf, list[tuple[Node, bool]]]:
    """Returns the nodes that read each stored tensor, and whether they are where following it has ended."""
    users: dict[Leaf, list[tuple[Node, bool]]] = {}
    for node in nodes:
        if not node.outputs or any(output.constant is not None for output in node.outputs):
            continue
        given = [value for value in node.inputs if value is not None]
        is_stopped = bool(given) and all(value.constant is not None for value in given)
        for value in given:
            if value.constant is not None:
                for leaf in value.constant.leaves():
                    users.setdefault(leaf, []).append((node, is_stopped))
    return users


@final
@dataclass(frozen=True)
class _Rest:
    """A stored tensor that no layer uses.

    Args:
        leaf: The tensor.
        users: Nodes that read it.
        is_constant_node: Whether it is written as a node.
    """

    leaf: Leaf
    users: Sequence[Node]
    is_constant_node: bool

    @property
    def is_made_up(self) -> bool:
        """Whether the exporter has made the tensor or its name up."""
        return self.is_constant_node or is_numbered(self.leaf.name)

    @property
    def is_trivial(self) -> bool:
        """Whether a tensor is too small to be worth a note: axes, shapes, factors."""
        if self.leaf.loaded.is_floating_point or self.leaf.loaded.is_complex:
            return self.is_made_up and self.leaf.num_entries <= _FEW
        return self.leaf.num_entries <= _FEW

    def why_no_weight(self) -> str:
        """Returns why the tensor is no weight, empty if it may be one."""
        leaf, ops = self.leaf, {node.op for node in self.users}
        if not leaf.loaded.is_floating_point and not leaf.loaded.is_complex:
            is_packed = leaf.dtype in _NARROW and leaf.num_entries > _TABLE
            return _PACKED if is_packed else _INTEGERS
        if ops and ops <= _SETTINGS:
            return _SETTING
        if leaf.num_entries == 1 and "." not in leaf.name:
            return _NUMBER
        if self.is_made_up and ops and ops <= _ENTRYWISE:
            return self._why_by_values() or _MADE_UP
        return self._why_by_values()

    def _why_by_values(self) -> str:
        """Returns why the values are those of no weight: a mask, or one number repeated; empty if they may be."""
        leaf = self.leaf
        if not leaf.num_entries or not leaf.is_inline or leaf.num_entries > _MOST_INSPECTED or leaf.loaded.is_complex:
            return ""
        values = leaf.read().to(torch.float32)
        low, high = (float(end) for end in torch.aminmax(values))
        if low == high and (self.is_made_up or "." not in self.leaf.name):
            return _FILLED
        if low <= _LARGEST_BIAS and bool(((values == low) | (values == high)).all()) and high <= 1:
            return _MASK
        return ""
