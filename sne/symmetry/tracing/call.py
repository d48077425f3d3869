"""One call of an operation in a traced graph."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.fx import Node

from sne.symmetry.tracing.axes import ONE, Stack, Value, axis_size, concatenate
from sne.symmetry.tracing.constraints import Constraints

KERNEL = "kernel positions"
SPACE = "positions of the input"
"""Reasons of fixed axes that several rules share."""


@dataclass(frozen=True)
class Call:
    """An operation and its arguments, with values in place of tensors.

    Args:
        node: Node of the graph.
        name: Name of the operation without its overload, such as "add".
        constraints: Constraints of the trace, to which the rule of the operation adds.
        arguments: Arguments by their names in the operation's schema, including defaults.
    """

    node: Node
    name: str
    constraints: Constraints
    arguments: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Returns an argument as `joined` does, or None if there is no such argument."""
        return joined(self.constraints, self.arguments.get(name))

    def value(self, name: str) -> Value:
        """Returns an argument that is a tensor.

        Raises:
            KeyError: The argument is not a tensor.
        """
        found = self[name]
        if not isinstance(found, Value):
            raise KeyError(name)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(self.node.meta["val"].shape)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the results of an operation with several results."""
        return [tuple(one.shape) for one in self.node.meta["val"] if isinstance(one, Tensor)]


def joined(constraints: Constraints, found: Any) -> Any:
    """Returns an argument as rules read it: the slices of stacks share their axes, and uniform axes are new."""
    if isinstance(found, list | tuple):
        return [joined(constraints, one) for one in found]
    if isinstance(found, Value):
        axes = (
            constraints.new_axis(axis_size(axis)) if dim in found.uniform else axis
            for dim, axis in enumerate(found.axes)
        )
        return Value(tuple(axes), found.from_parameters, found.uniform, found.is_zero)
    if not isinstance(found, Stack):
        return found
    first = found.parts[0]
    for other in found.parts[1:]:
        for one, two in zip(first.axes, other.axes, strict=True):
            constraints.equate(one, two)
    axes = list(first.axes)
    axes.insert(found.dim, concatenate([ONE] * len(found.parts)))
    return Value(tuple(axes), any(part.from_parameters for part in found.parts))


def values_in(found: Any) -> list[Value]:
    """Returns all values among arguments."""
    if isinstance(found, Value):
        return [found]
    if isinstance(found, Stack):
        return list(found.parts)
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list | tuple):
        return [value for one in found for value in values_in(one)]
    return []
