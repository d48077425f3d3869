"""Which entries of a network's tensors move together."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from sne.errors import SymmetryError

KINDS = ("permutation", "scaling", "sign")
"""Of changes that map single neurons, which groups allow."""

ALL_KINDS = (*KINDS, "mixing")
"""All that can be drawn."""


@dataclass(frozen=True)
class Span:
    """Where the n neurons of a group sit on one axis of a tensor.

    Neuron i has the entries `start + (o * n + i) * inner + k` for every o < outer and k < inner.

    Args:
        tensor: name in the state dict.
        dim: axis of the tensor, from 0.
        start: first entry: other neurons may stand before, after a concatenation or in other heads.
        outer: times that all neurons are repeated, one after the other: 4 for the gates of an LSTM.
        inner: entries of one neuron that stand side by side: H * W after a flattened convolution, a head's channels.
        power: exponent of the neuron's scale or sign: 1 multiplied by it, -1 divided, 0 untouched. In a `Mixing`: 1 for
            the matrix, -1 for its inverse transpose.
    """

    tensor: str
    dim: int
    start: int = 0
    outer: int = 1
    inner: int = 1
    power: int = 0

    def end(self, size: int) -> int:
        """One past the last entry, for a group of this many neurons."""
        return self.start + self.outer * size * self.inner

    def positions(self, size: int) -> Int64[Tensor, "size entries"]:
        """Entries of each neuron, in one order for all of them."""
        entries = torch.arange(self.start, self.end(size)).view(self.outer, size, self.inner)
        return entries.transpose(0, 1).reshape(size, -1)


@dataclass(frozen=True)
class Group:
    """Neurons that may trade places, be scaled or change sign, wherever they are read and written.

    Args:
        name: unique among the groups of a network.
        size: number of neurons.
        spans: all places where they sit.
        kinds: which of `KINDS` leave the network's function alone.
    """

    name: str
    size: int
    spans: tuple[Span, ...]
    kinds: tuple[str, ...]

    @cached_property
    def places(self) -> tuple[tuple[Span, Int64[Tensor, "size entries"]], ...]:
        """Every span with its positions."""
        return tuple((span, span.positions(self.size)) for span in self.spans)


@dataclass(frozen=True)
class Mixing:
    """Neurons that any invertible matrix may mix: nothing but linear maps writes and reads them.

    Args:
        name: unique among the mixings of a network.
        size: number of neurons, and of the matrix's rows and columns.
        spans: all places where they sit; `power` 1 or -1.
    """

    name: str
    size: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Fixed:
    """An axis, or a part of one, on which nothing may move.

    Args:
        tensor: name in the state dict.
        dim: axis of the tensor.
        reason: why; it starts with "not understood" where the tracer does not know the operation.
    """

    tensor: str
    dim: int
    reason: str


def check_spans(group: Group | Mixing, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises SymmetryError if a span leaves its tensor, or two spans of one group overlap."""
    taken: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for span in group.spans:
        where = f"group {group.name}: {span.tensor}, axis {span.dim}"
        shape = shapes.get(span.tensor)
        if shape is None:
            raise SymmetryError(f"{where}: the tensor's shape is not among the shapes")
        if not 0 <= span.dim < len(shape):
            raise SymmetryError(f"{where}: the tensor has {len(shape)} axes")
        if min(span.start, span.outer - 1, span.inner - 1) < 0 or span.end(group.size) > shape[span.dim]:
            raise SymmetryError(
                f"{where}: entries {span.start} to {span.end(group.size)} do not lie in 0 to {shape[span.dim]}"
            )
        for start, end in taken.setdefault((span.tensor, span.dim), []):
            if span.start < end and start < span.end(group.size):
                raise SymmetryError(f"{where}: two spans overlap at entry {max(start, span.start)}")
        taken[span.tensor, span.dim].append((span.start, span.end(group.size)))
