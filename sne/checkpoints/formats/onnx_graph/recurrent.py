"""Recurrent cells of ONNX graphs, with gates and names as torch has them."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sne.checkpoints.formats.onnx_graph.constants import Constant, derive
from sne.checkpoints.formats.onnx_graph.nodes import Node
from sne.checkpoints.formats.onnx_graph.uses import Use, Weight, set_aside, weight_at
from sne.networks import LayerType

_GATES = {
    "LSTM": (LayerType.LSTM, (0, 2, 3, 1)),  # input, output, forget, cell -> input, forget, cell, output
    "GRU": (LayerType.GRU, (1, 0, 2)),  # update, reset, hidden -> reset, update, new
    "RNN": (LayerType.RNN, (0,)),
}
"""Type of a cell, and the place of torch's gates among those of ONNX, by operator.

Source: ONNX operators LSTM, GRU and RNN, version 22; torch.nn.LSTM and torch.nn.GRU.
"""

_STATE = "the initial state of a recurrent layer, not a weight"
_BEFORE_RESET = (
    "a GRU that resets the state before it is multiplied by the recurrent weight (linear_before_reset=0), "
    "unlike torch's; its weights are the same tensors"
)
_PEEPHOLES = "peephole weights of an LSTM, which are not read"


def _cell(node: Node) -> list[Use]:
    """Reads an LSTM, GRU or RNN node: one use for each direction."""
    return _directions(node, node.op, weight_at(node, 1), weight_at(node, 2))


def _quantised_lstm(node: Node) -> list[Use]:
    """Reads `com.microsoft.DynamicQuantizeLSTM`, whose weights are stored [directions, in, gates * hidden]."""
    found = []
    for position, scale, zero in ((1, 8, 9), (2, 10, 11)):
        whole, factor, value = node.constant(position), node.constant(scale), node.input(position)
        if whole is None or factor is None or value is None or len(whole.shape) != 3:
            return []
        weight = _dequantised(whole, factor, node.constant(zero))
        if weight is None:
            return []
        found.append(Weight(weight, value.names))
    return _directions(node, "LSTM", *found)


def _dequantised(whole: Constant, scale: Constant, zero: Constant | None) -> Constant | None:
    """Returns [directions, gates * hidden, in] of integers with one scale per direction, or per direction and row."""
    directions, columns, rows = whole.shape
    given = [whole, scale, *([] if zero is None else [zero])]
    if any(one.num_entries not in (directions, directions * rows) for one in given[1:]):
        return None

    def compute(values: list[Tensor]) -> Tensor:
        spread = [one.to(torch.float32).reshape(directions, 1, -1) for one in values[1:]]
        result = values[0].to(torch.float32, copy=True)
        result = result.sub_(spread[1]) if len(spread) > 1 else result
        return result.mul_(spread[0]).transpose(1, 2)

    return derive(compute, given, (directions, rows, columns), torch.float32, companions=given[1:])


def _directions(node: Node, kind: str, weight: Weight | None, recurrent: Weight | None) -> list[Use]:
    """Returns one use for each direction of a cell.

    Args:
        node: The node.
        kind: Operator of the cell.
        weight: Weight from the input, [directions, gates * hidden, in].
        recurrent: Weight from the state, [directions, gates * hidden, hidden].
    """
    layer, gates = _GATES[kind]
    if weight is None or recurrent is None or len(weight.constant.shape) != 3 or len(recurrent.constant.shape) != 3:
        return []
    directions, rows, _ = weight.constant.shape
    hidden = recurrent.constant.shape[2]
    if rows != hidden * len(gates) or recurrent.constant.shape != (directions, rows, hidden) or directions > 2:
        return []
    bias = weight_at(node, 3)
    if bias is not None and bias.constant.shape != (directions, 2 * rows):
        bias = None
    aside = set_aside(node, (5, 6), _STATE) | (set_aside(node, (7,), _PEEPHOLES) if kind == "LSTM" else {})
    doubt = _BEFORE_RESET if kind == "GRU" and not node.integer("linear_before_reset", 0) else ""
    is_backward = node.text("direction", "forward") == "reverse"
    uses = []
    for direction in range(directions):
        ending = "_reverse" if direction or is_backward else ""
        pieces = {f"weight_ih{ending}": _gates(weight, direction, 0, hidden, gates)}
        pieces[f"weight_hh{ending}"] = _gates(recurrent, direction, 0, hidden, gates)
        if bias is not None:
            pieces[f"bias_ih{ending}"] = _gates(bias, direction, 0, hidden, gates)
            pieces[f"bias_hh{ending}"] = _gates(bias, direction, rows, hidden, gates)
        weights = {name: piece for name, piece in pieces.items() if piece is not None}
        uses.append(Use(node, weights, layer, doubt, aside, is_cell=True))
    return uses


def _gates(weight: Weight, direction: int, start: int, hidden: int, gates: Sequence[int]) -> Weight | None:
    """Returns the rows of one direction with the gates in torch's order."""

    def compute(values: list[Tensor]) -> Tensor:
        whole = values[0][direction]
        return torch.cat([whole.narrow(0, start + gate * hidden, hidden) for gate in gates])

    shape = (len(gates) * hidden, *weight.constant.shape[2:])
    constant = derive(compute, [weight.constant], shape)
    return None if constant is None else Weight(constant, weight.names)


CELLS: Mapping[str, Callable[[Node], list[Use]]] = {
    **dict.fromkeys(_GATES, _cell),
    "com.microsoft.DynamicQuantizeLSTM": _quantised_lstm,
}
"""Functions from a node to the recurrent layers whose weights it holds, by operator."""
