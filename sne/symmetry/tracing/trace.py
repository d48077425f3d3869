"""Traces a module: follows the axes of its tensors through the graph of operations.

`trace` exports the graph, interprets it on axes instead of numbers, and reads the symmetry off the result.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from sne.errors import SymmetryError
from sne.symmetry.symmetry import Symmetry
from sne.symmetry.tracing.axes import Axis, Stack, Value, sizes
from sne.symmetry.tracing.call import Call, values_in
from sne.symmetry.tracing.constraints import Constraints
from sne.symmetry.tracing.exporting import Exported, export
from sne.symmetry.tracing.reading_off import read_off
from sne.symmetry.tracing.rules import RULES

INPUT = "input of the network"
OUTPUT = "output of the network"
UNKNOWN = "not understood: {}"
_PASSES = 50
# Errors of a rule that meets an unsupported form of its operation; the operation then counts as not understood.
_FAILURES = (KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError, ZeroDivisionError)


def trace(
    module: nn.Module,
    example_inputs: Sequence[Any] | Mapping[str, Any],
    outputs: Sequence[str | int] | None = None,
) -> Symmetry:
    """Finds the changes of a module's weights that leave its outputs unchanged.

    The module is exported in eval mode, and the axes of every tensor are followed through the graph: axes that meet in
    a sum, a product or a norm are unified. Axes of inputs and outputs, and all axes that an operation without a rule
    touches, are fixed; `Symmetry.fixed` gives the reasons. Scales, signs and mixing matrices are unknowns of linear
    equations.

    Args:
        module: Module to trace; it is not changed.
        example_inputs: Tuple of positional arguments, or dict of named ones.
        outputs: Names or positions of the outputs that must not change, such as ("logits",); None for all outputs,
            including hidden states, keys and values that the module returns.

    Raises:
        SymmetryError: The module cannot be run or exported.

    Example:
        >>> import torch
        >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> [(group.size, group.kinds) for group in trace(module, (torch.ones(1, 3),)).groups]
        [(4, ('permutation', 'scaling'))]
    """
    exported = export(module, example_inputs, outputs)
    constraints, parameters = interpret(exported)
    return read_off(exported, constraints, parameters)


def interpret(exported: Exported) -> tuple[Constraints, dict[str, Value]]:
    """Follows all axes through a graph, in passes that repeat until one adds no constraint.

    Args:
        exported: Graph of the module.

    Returns:
        The constraints of the last pass, and the value of each tensor of the state dict that the graph reads.
    """
    constraints = Constraints()
    for _ in range(_PASSES):
        before = constraints.changes
        constraints.start_pass()
        parameters = _run(exported, constraints)
        if constraints.changes == before:
            return constraints, parameters
    raise SymmetryError(f"the axes of the graph did not settle within {_PASSES} passes")


def _run(exported: Exported, constraints: Constraints) -> dict[str, Value]:
    """Interprets the graph once; returns the value of each tensor of the state dict."""
    parameters: dict[str, Value] = {}
    found: dict[Node, Any] = {}
    for node in exported.graph.nodes:
        constraints.enter(node.name)
        if node.op == "placeholder":
            found[node] = _placeholder(node, exported, constraints, parameters)
        elif node.op == "call_function":
            found[node] = _called(node, found, constraints)
        elif node.op == "output":
            for value in values_in(_looked_up(node.args, found)):
                for axis in value.axes:
                    constraints.fix(axis, OUTPUT)
            continue
        else:
            example = node.meta.get("val")
            found[node] = _outside(constraints, example, INPUT) if isinstance(example, Tensor) else None
        for value in values_in(found[node]):
            constraints.record(value)
    return parameters


def _placeholder(
    node: Node, exported: Exported, constraints: Constraints, parameters: dict[str, Value]
) -> Value | None:
    """Returns the value of an input or of a tensor of the state dict, which it adds to `parameters`."""
    name = exported.tensors.get(node.name)
    if name is None:
        example = node.meta.get("val")
        return _outside(constraints, example, INPUT) if isinstance(example, Tensor) else None
    if name not in parameters:
        constraints.enter(f"tensor {name}")
        axes: list[Axis] = [constraints.with_unknowns(constraints.new_axis(size)) for size in exported.shapes[name]]
        parameters[name] = Value(tuple(axes), from_parameters=True)
    return parameters[name]


def _called(node: Node, found: dict[Node, Any], constraints: Constraints) -> Any:
    """Returns the result of an operation. Without a rule that fits, all axes that it touches are fixed."""
    args, kwargs = _looked_up(node.args, found), _looked_up(node.kwargs, found)
    if node.target is operator.getitem:
        source, index = args
        return source[index] if source is not None else None
    schema = getattr(node.target, "_schema", None)
    if schema is not None and not schema.returns:
        return None  # an assertion in the graph
    space, _, name = (schema.name if schema is not None else str(node.target)).rpartition("::")
    inputs, made = values_in([args, kwargs]), node.meta.get("val")
    is_moved = any(value.from_parameters for value in inputs)
    result, failure = None, ""
    if schema is not None and space == "aten" and name in RULES:
        try:
            result = RULES[name](Call(node, name, constraints, _arguments(schema, args, kwargs)))
        except _FAILURES as error:
            failure = f", {type(error).__name__}"
    if result is not None and _fits(result, made):
        return _marked(result) if is_moved else result
    called = name if space in ("", "aten") else f"{space}::{name}"
    reason = UNKNOWN.format(f"{called} ({node.name}){failure}") if is_moved else INPUT
    if is_moved:
        for value in inputs:
            constraints.fix_all(value, reason)
    if isinstance(made, tuple | list):
        return tuple(_outside(constraints, one, reason) if isinstance(one, Tensor) else None for one in made)
    return _outside(constraints, made, reason) if isinstance(made, Tensor) else None


def _arguments(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments by name, including defaults."""
    found = {one.name: one.default_value if one.has_default_value() else None for one in schema.arguments}
    found |= {one.name: given for one, given in zip(schema.arguments, args, strict=False)}
    return found | dict(kwargs)


def _marked(result: Any) -> Any:
    """Returns the result marked as dependent on parameters."""
    if isinstance(result, Value):
        return replace(result, from_parameters=True)
    if isinstance(result, Stack):
        return Stack(result.dim, tuple(_marked(part) for part in result.parts))
    return tuple(_marked(one) for one in result) if isinstance(result, tuple) else result


def _outside(constraints: Constraints, example: Tensor, reason: str) -> Value:
    """Returns a value with fixed axes, for an input or for the result of an operation that is not understood."""
    return Value(tuple(constraints.new_axis(size, reason) for size in example.shape), reason != INPUT)


def _fits(result: Any, made: Any) -> bool:
    """Whether the result of a rule has the shape of the operation's result."""
    if isinstance(result, Value):
        return isinstance(made, Tensor) and sizes(result) == list(made.shape)
    if isinstance(result, Stack):
        if not isinstance(made, Tensor):
            return False
        rest = [size for dim, size in enumerate(made.shape) if dim != result.dim]
        return len(result.parts) == made.shape[result.dim] and all(sizes(part) == rest for part in result.parts)
    if not isinstance(made, tuple | list):
        return False
    return all(one is None or _fits(one, other) for one, other in zip(result, made, strict=False))


def _looked_up(argument: Any, found: dict[Node, Any]) -> Any:
    """Returns an argument with nodes replaced by their results."""
    if isinstance(argument, Node):
        return found.get(argument)
    if isinstance(argument, list | tuple):
        return [_looked_up(one, found) for one in argument]
    if isinstance(argument, dict):
        return {name: _looked_up(one, found) for name, one in argument.items()}
    return argument
