"""One operation of a traced graph."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.fx import Node

from sne.symmetry.axes import ONE, axis_size, concatenate
from sne.symmetry.values import Stack, Value
from sne.symmetry.workings import Workings


@dataclass(frozen=True)
class Call:
    """An operation and its arguments, values in place of tensors.

    Args:
        node: of the graph.
        name: of the operation, without overload: "add".
        workings: what its rule works with.
        arguments: by their names in the operation's schema, defaults filled in.
    """

    node: Node
    name: str
    workings: Workings
    arguments: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """An argument; slices that nobody takes apart are joined."""
        return joined(self.workings, self.arguments.get(name))

    def value(self, name: str) -> Value:
        """An argument that is a tensor.

        Raises:
            KeyError: it is not.
        """
        found = self[name]
        if not isinstance(found, Value):
            raise KeyError(name)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return tuple(self.node.meta["val"].shape)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the results, where there are several."""
        return [tuple(one.shape) for one in self.node.meta["val"] if isinstance(one, Tensor)]


def joined(workings: Workings, found: Any) -> Any:
    """An argument as rules read it: stacks are joined, their slices get the same axes; uniform axes are new."""
    if isinstance(found, list | tuple):
        return [joined(workings, one) for one in found]
    if isinstance(found, Value):
        axes = (
            workings.fresh(axis_size(axis)) if dim in found.uniform else axis for dim, axis in enumerate(found.axes)
        )
        return Value(tuple(axes), found.from_parameters, found.uniform, found.is_zero)
    if not isinstance(found, Stack):
        return found
    first = found.parts[0]
    for other in found.parts[1:]:
        for one, two in zip(first.axes, other.axes, strict=True):
            workings.same(one, two)
    axes = list(first.axes)
    axes.insert(found.dim, concatenate([ONE] * len(found.parts)))
    return Value(tuple(axes), any(part.from_parameters for part in found.parts))


def tensors(found: Any) -> list[Value]:
    """All values among arguments."""
    if isinstance(found, Value):
        return [found]
    if isinstance(found, Stack):
        return list(found.parts)
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list | tuple):
        return [value for one in found for value in tensors(one)]
    return []
