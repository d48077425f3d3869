"""Transformations of networks that are kept as one flat vector each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sne.errors import SymmetryError
from sne.symmetry.transformation import Transformation


@runtime_checkable
class Slot(Protocol):
    """Where one tensor stands in a flat vector: row-major from `offset` on. Zoos have such slots."""

    @property
    def name(self) -> str:
        """Of the tensor, in the state dict."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        ...

    @property
    def offset(self) -> int:
        """Of its first entry in the vector."""
        ...


@dataclass(frozen=True)
class FlatMap:
    """The change of flat vectors: `new[i] = factor[i] * old[index[i]]`.

    Args:
        index: of all entries.
        factor: of all entries; None where all are 1.
    """

    index: Int64[Tensor, " entries"]
    factor: Float[Tensor, " entries"] | None = None

    def __call__(self, vector: Float[Tensor, "*batch entries"]) -> Float[Tensor, "*batch entries"]:
        """Changes one vector, or several of the same layout.

        Raises:
            SymmetryError: they have another length.
        """
        if vector.shape[-1] != len(self.index):
            raise SymmetryError(f"vectors have {vector.shape[-1]} entries, expected {len(self.index)}")
        new = vector.index_select(-1, self.index.to(vector.device))
        return new if self.factor is None else new * self.factor.to(vector.device, vector.dtype)


def flat_map(transformation: Transformation, slots: Iterable[Slot], length: int | None = None) -> FlatMap:
    """The transformation of a network's flat vector.

    Args:
        transformation: drawn without the kind "mixing".
        slots: of the network's tensors; entries of the vector in no slot stay where they are.
        length: of the vector; None for the end of the last slot.

    Raises:
        SymmetryError: a tensor has another shape than in the symmetry, or there are mixings.
    """
    slots = list(slots)
    if length is None:
        length = max((slot.offset + prod(slot.shape) for slot in slots), default=0)
    index, factors = torch.arange(length), None
    for slot in slots:
        maps = transformation.maps(slot.name)
        if not maps:
            continue
        expected = transformation.shapes[transformation.aliases.get(slot.name, slot.name)]
        if tuple(slot.shape) != expected:
            raise SymmetryError(f"{slot.name} is {list(slot.shape)}, expected {list(expected)}")
        end = slot.offset + prod(slot.shape)
        moved = index[slot.offset : end].clone().view(slot.shape)
        for dim, one in maps.items():
            moved = moved.index_select(dim, one.index)
            if one.factor is not None:
                if factors is None:
                    factors = torch.ones(length, dtype=one.factor.dtype)
                along = [-1 if axis == dim else 1 for axis in range(len(slot.shape))]
                factors[slot.offset : end].view(slot.shape).mul_(one.factor.view(along))
        index[slot.offset : end] = moved.reshape(-1)
    return FlatMap(index, factors)


def change_flat(
    transformation: Transformation, slots: Iterable[Slot], vector: Float[Tensor, " entries"]
) -> Float[Tensor, " entries"]:
    """One network's flat vector, transformed; with mixings too, which `flat_map` cannot say.

    Args:
        transformation: of any kinds.
        slots: of the network's tensors; entries of the vector in no slot stay as they are.
        vector: the network's weights.

    Returns:
        A new vector.

    Raises:
        SymmetryError: a tensor is missing, or has another shape than in the symmetry.
    """
    slots = list(slots)
    if not transformation.has_mixings:
        return flat_map(transformation, slots, len(vector))(vector)
    ends = [slot.offset + prod(slot.shape) for slot in slots]
    state = {slot.name: vector[slot.offset : end].view(slot.shape) for slot, end in zip(slots, ends, strict=True)}
    changed, new = transformation(state), vector.clone()
    for slot, end in zip(slots, ends, strict=True):
        new[slot.offset : end] = changed[slot.name].reshape(-1)
    return new


def join_flat_maps(maps: Sequence[FlatMap]) -> FlatMap:
    """One map for flat vectors joined end to end: a ragged batch is changed by one gather.

    Args:
        maps: of the vectors, in their order.
    """
    offsets = torch.tensor([0, *(len(one.index) for one in maps)]).cumsum(0).tolist()
    index = torch.cat([one.index + offset for one, offset in zip(maps, offsets[:-1], strict=True)])
    if all(one.factor is None for one in maps):
        return FlatMap(index)
    factors = [
        one.factor if one.factor is not None else torch.ones(len(one.index), dtype=torch.float64) for one in maps
    ]
    return FlatMap(index, torch.cat(factors))
