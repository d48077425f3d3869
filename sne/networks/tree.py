"""The tree that dotted names make, with what the ordering must know of each branch."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from sne.networks.names import attention_word, snake_case, split_number
from sne.networks.types import LayerType
from sne.networks.units import Unit

OWN = "."
"""Key of a module's own layers among its children; no component of a dotted path is a dot."""

_CONVS = frozenset(kind for kind in LayerType if kind.value.startswith("conv"))


@dataclass
class Node:
    """A module as its tensors' names show it.

    Args:
        name: its component of the path; empty for the root and for a module's own parameters.
        path: its full path.
        children: by component.
        unit: the layers whose stem is this very path, if any.
    """

    name: str
    path: str
    children: dict[str, "Node"] = field(default_factory=dict)
    unit: Unit | None = None

    @cached_property
    def base(self) -> str:
        """The name without its number, in lower case."""
        return split_number(self.name)[0]

    @cached_property
    def number(self) -> tuple[int, str] | None:
        """The number in the name, with the letter that may follow it."""
        return split_number(self.name)[1]

    @cached_property
    def snake(self) -> str:
        """The name in lower case, words joined by "_"."""
        return snake_case(self.name)

    @cached_property
    def word(self) -> str:
        """What the name stands for in an attention, or ""."""
        return attention_word(self.name)

    @property
    def is_leaf(self) -> bool:
        """Whether no module lies below."""
        return not self.children

    @property
    def is_norm(self) -> bool:
        """Whether this is one normalisation and nothing else (`norm`, or a wrapper around one)."""
        if self.unit is not None:
            return not self.children and self.unit.is_norm
        return len(self.children) == 1 and next(iter(self.children.values())).is_norm

    @cached_property
    def is_conv(self) -> bool:
        """Whether its own layer is a convolution."""
        return self.unit is not None and any(layer.type in _CONVS for layer in self.unit.layers)

    @cached_property
    def holds_conv(self) -> bool:
        """Whether a convolution lies at or below this node."""
        return self.is_conv or any(child.holds_conv for child in self.children.values())

    @property
    def is_depthwise(self) -> bool:
        """Whether its own layer is a convolution with one input a neuron."""
        if not self.is_conv or self.unit is None:
            return False
        num_out, num_in, kernel = self.unit.layers[0].parts[0].canonical_shape
        return num_in == 1 and num_out > 1 and kernel > 1

    @cached_property
    def is_loose(self) -> bool:
        """Whether it holds parameters of no known layer only, whose place among its siblings is open."""
        return (
            not self.children
            and self.unit is not None
            and all(layer.type is LayerType.OTHER for layer in self.unit.layers)
        )

    @property
    def is_list(self) -> bool:
        """Whether all children are numbers, as in a Sequential or ModuleList."""
        return bool(self.children) and all(child.isdigit() for child in self.children)

    def descendants(self) -> Iterable["Node"]:
        """This node and all below it."""
        yield self
        for child in self.children.values():
            yield from child.descendants()


def grow(units: Iterable[Unit]) -> Node:
    """The tree of all stems.

    A module that has both layers of its own and modules below (`attn.in_proj_weight` beside
    `attn.out_proj`) holds its own layers in a child without a name.
    """
    root = Node("", "")
    for unit in units:
        node = root
        for component in unit.path.split(".") if unit.path else ():
            path = f"{node.path}.{component}" if node.path else component
            node = node.children.setdefault(component, Node(component, path))
        node.unit = unit
    for node in list(root.descendants()):
        if node.unit is not None and node.children:
            node.children[OWN] = Node("", node.path, unit=node.unit)
            node.unit = None
    return root
