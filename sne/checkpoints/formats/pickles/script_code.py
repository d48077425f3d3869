"""Which constants the code of a frozen TorchScript module uses for what. The code is read as text and never run."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sne.networks import Hint, LayerType

_MOST_TEXT = 4_000_000
_WEIGHT = {1: "weight", 2: "bias"}
_OPERATIONS: Mapping[str, tuple[Mapping[int, str], LayerType | None]] = {
    "conv1d": (_WEIGHT, LayerType.CONV1D),
    "conv2d": (_WEIGHT, LayerType.CONV2D),
    "conv3d": (_WEIGHT, LayerType.CONV3D),
    "conv_transpose1d": (_WEIGHT, LayerType.CONV_TRANSPOSE1D),
    "conv_transpose2d": (_WEIGHT, LayerType.CONV_TRANSPOSE2D),
    "conv_transpose3d": (_WEIGHT, LayerType.CONV_TRANSPOSE3D),
    "_convolution": (_WEIGHT, None),
    "convolution": (_WEIGHT, None),
    "linear": (_WEIGHT, LayerType.LINEAR),
    "matmul": ({1: "weight"}, LayerType.LINEAR),
    "addmm": ({0: "bias", 2: "weight"}, LayerType.LINEAR),
    "embedding": ({0: "weight"}, LayerType.EMBEDDING),
    "layer_norm": ({2: "weight", 3: "bias"}, LayerType.LAYER_NORM),
    "group_norm": ({2: "weight", 3: "bias"}, LayerType.GROUP_NORM),
    "batch_norm": (_WEIGHT | {3: "running_mean", 4: "running_var"}, LayerType.BATCH_NORM),
    "instance_norm": (_WEIGHT | {3: "running_mean", 4: "running_var"}, LayerType.GROUP_NORM),
    "prelu": ({1: "weight"}, None),
}
"""Roles of arguments by their position, and type of the layer, by the name of the operation in torch."""

_IN_FIRST = ("matmul", "addmm")
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_MKLDNN = "ConstantMKLDNNTensor"


@dataclass(frozen=True)
class Uses:
    """What the code says about constants.

    Args:
        names: Name of each constant that is known, by its number: the position of its operation, and its role.
        hints: Hints by the position of the operation.
        is_incomplete: Whether the code uses weights that the file does not store.
    """

    names: Mapping[int, str]
    hints: Mapping[str, Hint]
    is_incomplete: bool


def read_code(texts: list[str]) -> Uses:
    """Finds out what the constants of a frozen module are, from its code.

    Args:
        texts: The code of all classes.

    Returns:
        Names and hints. Both are empty if the code is not understood, or if several functions use constants, so that
        their order is not known.

    Example:
        >>> uses = read_code(["def forward(self, x): return torch.linear(x, CONSTANTS.c0, CONSTANTS.c1)"])
        >>> uses.names, uses.hints["0"].order
        ({0: '0.weight', 1: '0.bias'}, 0)
    """
    is_incomplete = any(_MKLDNN in text for text in texts)
    functions: list[ast.FunctionDef] = []
    try:
        for text in texts:
            if "CONSTANTS.c" in text and len(text) <= _MOST_TEXT:
                found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
                functions += [node for node in found if any(True for _ in _constants(node))]
        names, hints = _operations(functions[0]) if len(functions) == 1 else ({}, {})
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        names, hints = {}, {}
    return Uses(names, hints, is_incomplete)


def _constant(node: ast.AST) -> int | None:
    """Returns the number of a constant, `CONSTANTS.c3`."""
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name) or node.value.id != "CONSTANTS":
        return None
    number = node.attr[1:]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None


def _constants(root: ast.AST) -> Iterator[int]:
    for node in ast.walk(root):
        number = _constant(node)
        if number is not None:
            yield number


def _in_order(root: ast.AST) -> Iterator[ast.AST]:
    """Yields nodes in the order in which they are computed: arguments before calls."""
    pending: list[tuple[ast.AST, bool]] = [(root, False)]
    while pending:
        node, is_open = pending.pop()
        if is_open:
            yield node
            continue
        pending.append((node, True))
        pending += [(child, False) for child in reversed(list(ast.iter_child_nodes(node)))]


def _operations(function: ast.FunctionDef) -> tuple[dict[int, str], dict[str, Hint]]:
    """Names the constants of one function."""
    names: dict[int, str] = {}
    hints: dict[str, Hint] = {}
    lists: dict[str, list[int]] = {}
    products: dict[str, str] = {}  # variables that hold a product with a matrix, and its position
    for node in _in_order(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and isinstance(node.targets[0], ast.Name):
            numbers = [_constant(item) for item in node.value.elts]
            lists[node.targets[0].id] = [number for number in numbers if number is not None]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            if _name(node.value) == "matmul" and hints:
                products[node.targets[0].id] = str(len(hints) - 1)
            continue
        if isinstance(node, ast.Call) and _name(node) == "add" and len(node.args) > 1:
            number, given = _constant(node.args[1]), node.args[0]
            if number is not None and isinstance(given, ast.Name) and given.id in products:
                names.setdefault(number, f"{products[given.id]}.bias")
            continue
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        position = str(len(hints))
        roles = _recurrent(node, lists) if node.func.attr in _RECURRENT else _roles(node)
        new = {number: f"{position}.{role}" for number, role in roles.items() if number not in names}
        if new:
            names |= new
            hints[position] = _hint(node, len(hints))
    return names, hints


def _roles(call: ast.Call) -> dict[int, str]:
    """Returns the roles of the constants among the arguments of an operation."""
    known = _OPERATIONS.get(_name(call))
    if known is None or (_name(call) in _IN_FIRST and len(call.args) <= max(known[0])):
        return {}
    found: dict[int, str] = {}
    for position, role in known[0].items():
        argument = call.args[position] if position < len(call.args) else None
        number = None if argument is None else _constant(argument)
        if number is None and isinstance(argument, ast.Call) and _name(argument) in ("t", "transpose"):
            number = _constant(argument.args[0]) if argument.args else None
        if number is not None:
            found[number] = role
    return found


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _recurrent(call: ast.Call, lists: Mapping[str, list[int]]) -> dict[int, str]:
    """Returns the roles of the flat weights of a recurrent layer.

    Source: the signatures of `torch.lstm`, `torch.gru` and `torch.rnn_tanh`: input, state, weights, whether there are
        biases, number of levels, dropout, training, both directions, batch first.
    """
    if len(call.args) < 8 or not isinstance(call.args[2], ast.Name | ast.List):
        return {}
    given = call.args[2]
    numbers = lists.get(given.id, []) if isinstance(given, ast.Name) else [*_constants(given)]
    has_bias, both = (getattr(call.args[index], "value", None) is True for index in (3, 7))
    parts = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"][: 4 if has_bias else 2]
    ends = ["", "_reverse"] if both else [""]
    levels = len(numbers) // (len(parts) * len(ends))
    roles = [f"{part}_l{level}{end}" for level in range(levels) for end in ends for part in parts]
    return dict(zip(numbers, roles, strict=True)) if len(roles) == len(numbers) else {}


def _hint(call: ast.Call, order: int) -> Hint:
    """Returns what an operation says about the layer."""
    name = _name(call)
    kind = _OPERATIONS[name][1] if name in _OPERATIONS else None
    is_turned = isinstance(call.args[-1 if name == "matmul" else 2], ast.Call) if name in _IN_FIRST else True
    if name.endswith("_convolution") or name == "convolution":
        return Hint(order=order)
    return Hint(kind, in_first=None if is_turned else True, order=order)
