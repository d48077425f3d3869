"""Nodes of an ONNX graph and the values between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from sne.checkpoints.formats.onnx_graph.constants import Constant


@final
@dataclass(eq=False, slots=True)
class Value:
    """A value of the graph.

    Args:
        names: Name of the value; if nodes only pass on another value or change its axes, also the names of that one.
        constant: What the value is if it does not depend on the input of the network.
        producer: Node that computes it, None for inputs and initializers.
        consumers: Nodes that read it, with the position among their inputs.
    """

    names: tuple[str, ...]
    constant: Constant | None = None
    producer: "Node | None" = None
    consumers: "list[tuple[Node, int]]" = field(default_factory=list)


@final
@dataclass(eq=False, slots=True)
class Node:
    """A node where it runs: one node of a function is listed once per call.

    Args:
        op: Operator; those that are not ONNX's own begin with their domain, as "com.microsoft.Attention".
        name: Name of the node, behind the names of the functions that it runs in.
        index: Position among all nodes of the model.
        attributes: Attributes of the node, by name.
        metadata: Strings that the exporter has attached.
        inputs: Values that it reads; None where an optional one is left out.
        outputs: Values that it computes.
    """

    op: str
    name: str
    index: int
    attributes: Mapping[str, Any]
    metadata: Mapping[str, str]
    inputs: list[Value | None]
    outputs: list[Value] = field(default_factory=list)

    def input(self, position: int) -> Value | None:
        """Returns an input, None if there is none at this position."""
        return self.inputs[position] if position < len(self.inputs) else None

    def constant(self, position: int) -> Constant | None:
        """Returns an input that is a constant, None if it is none."""
        value = self.input(position)
        return None if value is None else value.constant

    def integer(self, name: str, default: int) -> int:
        """Returns an attribute that is an integer."""
        return int(self.attributes[name].i) if name in self.attributes else default

    def integers(self, name: str) -> list[int] | None:
        """Returns an attribute that is a list of integers, None if the node does not have it."""
        return [int(value) for value in self.attributes[name].ints] if name in self.attributes else None

    def real(self, name: str, default: float) -> float:
        """Returns an attribute that is a number."""
        return float(self.attributes[name].f) if name in self.attributes else default

    def text(self, name: str, default: str) -> str:
        """Returns an attribute that is a string."""
        return self.attributes[name].s.decode("utf-8", "replace") if name in self.attributes else default
