"""Runs a graph on axes in place of numbers."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.fx import Node

from sne.errors import SymmetryError
from sne.symmetry.axes import Axis
from sne.symmetry.call import Call, tensors
from sne.symmetry.exporting import Exported
from sne.symmetry.rules.known import RULES
from sne.symmetry.values import Stack, Value
from sne.symmetry.workings import Workings, sizes

INPUT = "input of the network"
OUTPUT = "output of the network"
UNKNOWN = "not understood: {}"
_PASSES = 50
# A rule that meets a form it was not written for fails in one of these ways: then the operation is not understood.
_FAILURES = (KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError, ZeroDivisionError)


def interpret(exported: Exported) -> tuple[Workings, dict[str, Value]]:
    """Follows all axes through a graph, until no pass over it finds more.

    Args:
        exported: the graph.

    Returns:
        What was worked out, and the value of each tensor of the state dict that the graph reads.
    """
    workings = Workings()
    for _ in range(_PASSES):
        before = workings.changes
        workings.forget_scales()
        parameters = _run(exported, workings)
        if workings.changes == before:
            return workings, parameters
    raise SymmetryError(f"the axes of the graph were still being told apart after {_PASSES} passes")


def _run(exported: Exported, workings: Workings) -> dict[str, Value]:
    parameters: dict[str, Value] = {}
    found: dict[Node, Any] = {}
    for node in exported.graph.nodes:
        workings.enter(node.name)
        if node.op == "placeholder":
            found[node] = _placeholder(node, exported, workings, parameters)
        elif node.op == "call_function":
            found[node] = _called(node, found, workings)
        elif node.op == "output":
            for value in tensors(_looked_up(node.args, found)):
                for axis in value.axes:
                    workings.hold(axis, OUTPUT)
            continue
        else:
            example = node.meta.get("val")
            found[node] = _outside(workings, example, INPUT) if isinstance(example, Tensor) else None
        for value in tensors(found[node]):
            workings.see(value)
    return parameters


def _placeholder(node: Node, exported: Exported, workings: Workings, parameters: dict[str, Value]) -> Value | None:
    name = exported.tensors.get(node.name)
    if name is None:
        example = node.meta.get("val")
        return _outside(workings, example, INPUT) if isinstance(example, Tensor) else None
    if name not in parameters:
        workings.enter(f"tensor {name}")
        axes: list[Axis] = [workings.with_unknowns(workings.fresh(size)) for size in exported.shapes[name]]
        parameters[name] = Value(tuple(axes), from_parameters=True)
    return parameters[name]


def _called(node: Node, found: dict[Node, Any], workings: Workings) -> Any:
    args, kwargs = _looked_up(node.args, found), _looked_up(node.kwargs, found)
    if node.target is operator.getitem:
        source, index = args
        return source[index] if source is not None else None
    schema = getattr(node.target, "_schema", None)
    if schema is not None and not schema.returns:
        return None  # an assertion
    space, _, name = (schema.name if schema is not None else str(node.target)).rpartition("::")
    inputs, made = tensors([args, kwargs]), node.meta.get("val")
    is_moved = any(value.from_parameters for value in inputs)
    result, failure = None, ""
    if schema is not None and space == "aten" and name in RULES:
        try:
            result = RULES[name](Call(node, name, workings, _arguments(schema, args, kwargs)))
        except _FAILURES as error:
            failure = f", {type(error).__name__}"
    if result is not None and _fits(result, made):
        return _marked(result) if is_moved else result
    called = name if space in ("", "aten") else f"{space}::{name}"
    reason = UNKNOWN.format(f"{called} ({node.name}){failure}") if is_moved else INPUT
    if is_moved:
        for value in inputs:
            workings.give_up(value, reason)
    if isinstance(made, tuple | list):
        return tuple(_outside(workings, one, reason) if isinstance(one, Tensor) else None for one in made)
    return _outside(workings, made, reason) if isinstance(made, Tensor) else None


def _arguments(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults filled in."""
    found = {one.name: one.default_value if one.has_default_value() else None for one in schema.arguments}
    found |= {one.name: given for one, given in zip(schema.arguments, args, strict=False)}
    return found | dict(kwargs)


def _marked(result: Any) -> Any:
    """The result as one that parameters went into."""
    if isinstance(result, Value):
        return replace(result, from_parameters=True)
    if isinstance(result, Stack):
        return Stack(result.dim, tuple(_marked(part) for part in result.parts))
    return tuple(_marked(one) for one in result) if isinstance(result, tuple) else result


def _outside(workings: Workings, example: Tensor, reason: str) -> Value:
    return Value(tuple(workings.fresh(size, reason) for size in example.shape), reason != INPUT)


def _fits(result: Any, made: Any) -> bool:
    """Whether a rule's result has the shape that the operation gave."""
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
    if isinstance(argument, Node):
        return found.get(argument)
    if isinstance(argument, list | tuple):
        return [_looked_up(one, found) for one in argument]
    if isinstance(argument, dict):
        return {name: _looked_up(one, found) for name, one in argument.items()}
    return argument
