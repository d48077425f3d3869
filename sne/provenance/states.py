"""The tensors of two networks under the same names and in the same layout."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from sne.networks import Network, Part
from sne.provenance.matching import Matching, Pair
from sne.symmetry import canonical_transformation
from sne.symmetry.canonical import CANONICAL_KINDS
from sne.symmetry.symmetry import Symmetry
from sne.symmetry.transformation import apply_to_tensor

EXACT = 1e-8
"""Tolerance of scales where equal networks are to become equal."""

MOST_BALANCED = 50_000_000
"""Largest number of weights whose scales and signs are brought to their canonical point."""


LARGE = 30_000_000
"""Least number of entries of a matrix that is read in part where a part is enough."""


@runtime_checkable
class ReadsInPart(Protocol):
    """A state that reads a part of a large matrix without loading all of it."""

    def lines(self, name: str, dim: int, places: Callable[[int], Int[Tensor, " places"]]) -> Tensor | None:
        """Returns a matrix with one axis first, and with some entries of the other axis.

        Args:
            name: Name of the tensor.
            dim: The axis that comes first.
            places: Gives the entries of the other axis, from its length.

        Returns:
            The values; None if the tensor is no large matrix that can be read in part.
        """
        ...


class StoredState(Mapping[str, Tensor]):
    """The tensors of a network's layers by name, loaded on access.

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        self._source = network.source
        self._network = network
        self._parts: dict[str, list[Part]] = {}
        for _, part in network.parts():
            self._parts.setdefault(part.tensor, []).append(part)

    def lines(self, name: str, dim: int, places: Callable[[int], Int[Tensor, " places"]]) -> Tensor | None:
        """Returns some lines of a large matrix, see `ReadsInPart`."""
        parts = self._parts.get(name, [])
        return _lines(self._network, parts[0], parts[0].out_axis, dim, places) if len(parts) == 1 else None

    def __getitem__(self, name: str) -> Tensor:
        return self._source.load(name)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


class Counterpart(Mapping[str, Tensor]):
    """The tensors of the second network under the names and in the layout of the first one.

    Only tensors all of whose parts have a counterpart of the same size are among them. Values are loaded on access.

    Args:
        first: The network whose names and layout are used.
        second: The network whose values are used.
        matching: The pairs.
    """

    def __init__(self, first: Network, second: Network, matching: Matching) -> None:
        self._first, self._second = first, second
        parts = Counter(part.tensor for _, part in first.parts())
        pairs: dict[str, list[Pair]] = {}
        for pair in matching.pairs:
            if pair.is_whole:
                pairs.setdefault(pair.first.part.tensor, []).append(pair)
        self._pairs = {tensor: some for tensor, some in pairs.items() if len(some) == parts[tensor]}

    @property
    def names(self) -> dict[str, str]:
        """Names of the tensors of the first network, by those of equal tensors in the same layout of the second one."""
        found = {}
        for tensor, pairs in self._pairs.items():
            one, other = pairs[0].first.part.tensor, pairs[0].second.part.tensor
            shapes = self._first.source.infos[one].shape, self._second.source.infos[other].shape
            parts = [(_cut_of(pair.first.part), _cut_of(pair.second.part)) for pair in pairs]
            is_one = all(pair.second.part.tensor == other for pair in pairs)
            if is_one and shapes[0] == shapes[1] and all(here == there for here, there in parts):
                found[other] = tensor
        return found

    def __getitem__(self, name: str) -> Tensor:
        pairs = self._pairs[name]
        pieces = [(pair.first.part, pair.second.part) for pair in pairs]
        one, other = pieces[0]
        stored = self._second.source.infos[other.tensor]
        same_axes = (one.axis, one.out_axis, one.in_axis) == (other.axis, other.out_axis, other.in_axis)
        if len(pieces) == 1 and one.axis is None and same_axes and one.shape == other.shape == stored.shape:
            return self._second.source.load(other.tensor)
        whole = torch.zeros(self._first.source.infos[name].shape, dtype=torch.float32)
        for part, counterpart in pieces:
            values = part.restore(self._second.read(counterpart))
            if part.axis is None:
                whole = values.reshape(whole.shape)
            else:
                whole.index_copy_(part.axis, torch.tensor(part.indices), values)
        return whole

    def lines(self, name: str, dim: int, places: Callable[[int], Int[Tensor, " places"]]) -> Tensor | None:
        """Returns some lines of a large matrix, see `ReadsInPart`."""
        pair, *others = self._pairs[name]
        if others or pair.first.part.axis is not None:
            return None
        return _lines(self._second, pair.second.part, pair.first.part.out_axis, dim, places)

    def __contains__(self, name: object) -> bool:
        return name in self._pairs

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


def _lines(
    network: Network, part: Part, out_axis: int | None, dim: int, places: Callable[[int], Int[Tensor, " places"]]
) -> Tensor | None:
    """Returns some columns if the outputs are on the axis `dim`, or else some rows, transposed."""
    rows, columns, kernel = part.arranged_shape
    stored = network.source.infos[part.tensor].shape
    is_matrix = kernel == 1 and part.in_axis is not None and len(stored) == 2 and part.axis is None
    if not is_matrix or out_axis is None or rows * columns < LARGE:
        return None
    if dim == out_axis:
        return network.read_sample(part, None, places(columns))[:, :, 0]
    return network.read_sample(part, places(rows), None)[:, :, 0].T


def _cut_of(part: Part) -> tuple[object, ...]:
    """Returns which entries of its tensor a part has, and in which order."""
    return part.shape, part.out_axis, part.in_axis, part.axis, part.start, part.run, part.step


def renamed(symmetry: Symmetry, names: Mapping[str, str]) -> Symmetry:
    """Returns a symmetry under other names, without the groups that reach tensors which have none."""
    aliases = {alias: tensor for alias, tensor in symmetry.aliases.items() if alias in names and tensor in names}
    return Symmetry(
        tuple(
            replace(group, spans=tuple(replace(span, tensor=names[span.tensor]) for span in group.spans))
            for group in symmetry.groups
            if all(span.tensor in names for span in group.spans)
        ),
        (),
        {names[name]: shape for name, shape in symmetry.shapes.items() if name in names},
        {names[alias]: names[tensor] for alias, tensor in aliases.items()},
    )


def at_canonical_point(
    state: Mapping[str, Tensor], symmetry: Symmetry, tolerance: float = EXACT
) -> Mapping[str, Tensor]:
    """Returns a network with scales and signs of its units at the canonical point.

    It is a function of the network alone that commutes with permutations of units. Large networks stay as they are, and
    so do units of groups that reach tensors which the state has not.

    Args:
        state: Tensors by name.
        symmetry: Symmetry of the network.
        tolerance: Tolerance of the logarithms of scales.
    """
    symmetry = renamed(symmetry, {name: name for name in symmetry.shapes if name in state})
    moving = {
        span.tensor
        for group in symmetry.groups
        for span in group.spans
        if span.power and any(kind in group.kinds for kind in CANONICAL_KINDS)
    }
    if not moving or sum(torch.Size(symmetry.shapes[name]).numel() for name in moving) > MOST_BALANCED:
        return state
    raw = {name: state[name].float() for name in moving}
    found = canonical_transformation(symmetry, raw, tolerance=tolerance)
    return _Replaced({name: apply_to_tensor(found, name, values) for name, values in raw.items()}, state)


class _Replaced(Mapping[str, Tensor]):
    """The tensors of a state, some of which are replaced; the others are loaded on access."""

    def __init__(self, replaced: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        self._replaced, self._state = replaced, state

    def __getitem__(self, name: str) -> Tensor:
        return self._replaced[name] if name in self._replaced else self._state[name]

    def lines(self, name: str, dim: int, places: Callable[[int], Int[Tensor, " places"]]) -> Tensor | None:
        """Returns some lines of a large matrix, see `ReadsInPart`."""
        state = self._state
        if name in self._replaced or not isinstance(state, ReadsInPart):
            return None
        return state.lines(name, dim, places)

    def __contains__(self, name: object) -> bool:
        return name in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)
