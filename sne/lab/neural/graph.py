"""The neuron graph of a network: neurons are nodes, matrices hold edges, vectors hold values of nodes."""

from dataclasses import dataclass
from enum import IntEnum
from math import prod

from jaxtyping import Int64
from torch import Tensor

from sne.encoders.chunking import LAYER_TYPES, ROLES

MEMBERSHIP = len(LAYER_TYPES) * len(ROLES)
"""The kind of edges between a head and the neurons in it; those of weights are layer type and role."""
NUM_KINDS = MEMBERSHIP + 1


class NodeKind(IntEnum):
    """What the neurons of a set are."""

    MOVED = 0
    INPUT = 1
    OUTPUT = 2
    HEAD = 3


@dataclass(frozen=True, eq=False)
class NodeSet:
    """Neurons that are treated alike: those that may trade places, or those of an axis on which each has its place.

    Args:
        size: number of neurons.
        kind: moved by permutations; or fixed, and only read (`INPUT`) or written as well (`OUTPUT`); or a head.
        level: of the first layer that writes them; of the first that reads them where none does.
    """

    size: int
    kind: NodeKind
    level: int


@dataclass(frozen=True, eq=False)
class Edges:
    """All edges that one tensor, or a piece of it, makes from one set of nodes to another.

    Args:
        tensor: where the values are; empty for membership in heads, whose values are 1 and 0.
        entries: of the flat stored tensor; the value itself for membership.
        kind: number of layer type and role.
        level: of the layer.
        to_set: the set that it writes.
        from_set: the set that it reads.
    """

    tensor: str
    entries: Int64[Tensor, "to from positions"]
    kind: int
    level: int
    to_set: int
    from_set: int


@dataclass(frozen=True, eq=False)
class Vector:
    """The values that one tensor, or a piece of it, has for each node of a set: a bias, a norm's scale.

    Args:
        tensor: where the values are.
        entries: of the flat stored tensor.
        kind: number of layer type and role.
        level: of the layer.
        node_set: whose nodes they belong to.
    """

    tensor: str
    entries: Int64[Tensor, "nodes positions"]
    kind: int
    level: int
    node_set: int


@dataclass(frozen=True, eq=False)
class NeuronGraph:
    """The graph of all networks of one layout and symmetry, without weights."""

    sets: tuple[NodeSet, ...]
    edges: tuple[Edges, ...]
    vectors: tuple[Vector, ...]
    num_levels: int

    @property
    def num_nodes(self) -> int:
        """Number of neurons."""
        return sum(one.size for one in self.sets)

    @property
    def num_edges(self) -> int:
        """Number of edges; a kernel is one."""
        return sum(prod(one.entries.shape[:2]) for one in self.edges)
