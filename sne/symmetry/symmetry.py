"""Symmetries as plain data: which entries of a network's tensors move, scale or mix together."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from sne.errors import SymmetryError

GROUP_KINDS = ("permutation", "scaling", "sign")
"""Kinds of changes that act on single neurons; a `Group` allows some of them."""

KINDS = (*GROUP_KINDS, "mixing")
"""All kinds of changes that can be sampled."""


@dataclass(frozen=True)
class Span:
    """The entries that the n neurons of a group occupy on one axis of a tensor.

    Neuron i has the entries `start + (o * n + i) * inner + k` for every o < outer and k < inner.

    Args:
        tensor: Name in the state dict.
        dim: Axis of the tensor, counted from 0.
        start: First entry of the span. Entries before it belong to other neurons, for instance after a concatenation.
        outer: Number of times that the whole sequence of neurons is repeated, for instance 4 for the gates of an LSTM.
        inner: Number of adjacent entries per neuron: height * width after a flattened convolution, or the channels of
            an attention head.
        power: Exponent of the neuron's scale or sign: 1 multiplies the entries, -1 divides them, 0 leaves them
            unscaled. In a `Mixing`: 1 for the matrix, -1 for its inverse transpose.
    """

    tensor: str
    dim: int
    start: int = 0
    outer: int = 1
    inner: int = 1
    power: int = 0

    def end(self, size: int) -> int:
        """Returns the index after the last entry, for a group of `size` neurons."""
        return self.start + self.outer * size * self.inner

    def positions(self, size: int) -> Int64[Tensor, "size entries"]:
        """Entries of each neuron, for a group of `size` neurons; the order within a row is the same for all neurons."""
        entries = torch.arange(self.start, self.end(size)).view(self.outer, size, self.inner)
        return entries.transpose(0, 1).reshape(size, -1)


@dataclass(frozen=True)
class Group:
    """Neurons that may be permuted, scaled or flipped, together in all tensors that write or read them.

    Args:
        name: Name, unique among the groups of a symmetry.
        size: Number of neurons.
        spans: Entries of the neurons in every tensor.
        kinds: Kinds of changes that leave the network's function unchanged, a subset of `GROUP_KINDS`.
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
    """Neurons that any invertible matrix may mix, because only linear maps write and read them.

    Args:
        name: Name, unique among the mixings of a symmetry.
        size: Number of neurons, and of the matrix's rows and columns.
        spans: Entries of the neurons in every tensor; `power` is 1 or -1 and `inner` is 1.
    """

    name: str
    size: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Fixed:
    """An axis, or a part of one, that no change may touch.

    Args:
        tensor: Name in the state dict.
        dim: Axis of the tensor.
        reason: Why the axis is fixed. It starts with "not understood" if an operation or a layout is not supported.
    """

    tensor: str
    dim: int
    reason: str


@dataclass(frozen=True)
class Symmetry:
    """All changes of an architecture's weights that leave its function unchanged.

    A symmetry holds no weights and refers to no code, so one instance serves all networks of an architecture.

    Args:
        groups: Groups of neurons, in the order in which they are applied: channels within heads precede heads.
        mixings: Mixings, applied after the groups.
        shapes: Shape of every tensor that a span names.
        aliases: Maps each further name of a tied tensor to the name that the spans use.
        fixed: Axes that no change may touch, with the reason.

    Raises:
        SymmetryError: Spans leave their tensors or overlap, a name occurs twice, or a kind is unknown.

    Example:
        >>> spans = (Span("0.weight", 0, power=1), Span("0.bias", 0, power=1), Span("2.weight", 1, power=-1))
        >>> hidden = Group("hidden", 4, spans, ("permutation", "scaling"))
        >>> symmetry = Symmetry((hidden,), shapes={"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4)})
    """

    groups: tuple[Group, ...] = ()
    mixings: tuple[Mixing, ...] = ()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    fixed: tuple[Fixed, ...] = ()

    def __post_init__(self) -> None:
        for several in (self.groups, self.mixings):
            names = [one.name for one in several]
            twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
            if twice:
                raise SymmetryError(f"the name {twice[0]!r} occurs twice, expected unique names of groups")
        for group in self.groups:
            unknown = [kind for kind in group.kinds if kind not in GROUP_KINDS]
            if unknown or not group.kinds:
                expected = ", ".join(GROUP_KINDS)
                raise SymmetryError(f"group {group.name}: kinds are {group.kinds}, expected some of {expected}")
        for one in (*self.groups, *self.mixings):
            if one.size < 1:
                raise SymmetryError(f"group {one.name}: size is {one.size}, expected at least 1")
            _check_spans(one, self.shapes)
        for mixing in self.mixings:
            if any(span.power not in (1, -1) or span.inner != 1 for span in mixing.spans):
                raise SymmetryError(f"mixing {mixing.name}: expected spans of power 1 or -1 and inner 1")


def _check_spans(group: Group | Mixing, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises SymmetryError if a span leaves its tensor, or if two spans of one group overlap."""
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
