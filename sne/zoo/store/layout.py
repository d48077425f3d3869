"""Layouts: the positions of the tensors of a network in one flat vector."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import ZooError
from sne.networks import find_excess


@dataclass(frozen=True)
class Slot:
    """The place of one tensor in the flat vector: `prod(shape)` entries from `offset` on, in row-major order.

    Args:
        name: Name of the tensor.
        shape: Shape of the tensor.
        dtype: Type that the tensor had before it was stored, such as "float32".
        offset: Index of its first entry in the flat vector.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int

    @property
    def num_entries(self) -> int:
        """Number of scalars."""
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The slots of all floating-point tensors of a network, in the order of its state dict and without gaps."""

    slots: tuple[Slot, ...]

    @cached_property
    def num_entries(self) -> int:
        """Length of the flat vector."""
        return sum(slot.num_entries for slot in self.slots)

    @cached_property
    def id(self) -> str:
        """A name that depends on the content alone, so that equal layouts of different zoos share it."""
        return content_id(json.dumps(self.to_json()))

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the slots as plain JSON values. Inverse: `from_json`."""
        return [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype, "offset": s.offset} for s in self.slots]

    @classmethod
    def from_json(cls, values: Any, where: str = "layout") -> "Layout":
        """Rebuilds a layout from plain JSON values and checks them. Inverse of `to_json`.

        Args:
            values: List of {name, shape, dtype, offset}.
            where: Name of the values in messages.

        Raises:
            ZooError: A field is missing or of the wrong kind, or the slots leave gaps or overlap.
        """
        try:
            slots = tuple(
                Slot(str(v["name"]), tuple(map(int, v["shape"])), str(v["dtype"]), int(v["offset"])) for v in values
            )
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ZooError(f"{where}: expected a list of name, shape, dtype, offset ({error!r})") from None
        excess = find_excess((slot.name, slot.shape) for slot in slots)
        if excess is not None:
            raise ZooError(f"{where}: {excess}")
        expected = 0
        for slot in slots:
            if slot.offset != expected:
                raise ZooError(f"{where}: {slot.name} starts at {slot.offset}, expected {expected}")
            expected += slot.num_entries
        return cls(slots)


def flatten(state: Mapping[str, Tensor]) -> tuple[Layout, Float[Tensor, " entries"]]:
    """Joins the floating-point tensors of a state dict into one float32 vector.

    Integer tensors, such as the step counters of batch norm, are no weights and are left out.

    Args:
        state: Tensors by name.

    Returns:
        The layout and the vector. Inverse: `unflatten`.

    Example:
        >>> layout, vector = flatten({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
        >>> len(vector), [slot.offset for slot in layout.slots]
        (8, [0, 6])
    """
    slots, pieces, offset = [], [], 0
    for name, tensor in state.items():
        if tensor.is_floating_point():
            dtype = str(tensor.dtype).removeprefix("torch.")
            slots.append(Slot(name, tuple(tensor.shape), dtype, offset))
            pieces.append(tensor.detach().to("cpu", torch.float32).reshape(-1))
            offset += tensor.numel()
    return Layout(tuple(slots)), torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.float32)


def unflatten(layout: Layout, vector: Float[Tensor, " entries"]) -> dict[str, Tensor]:
    """Cuts a flat vector into named tensors, which are views of it. Inverse of `flatten`.

    Raises:
        ZooError: The vector does not have the length of the layout.
    """
    if len(vector) != layout.num_entries:
        raise ZooError(f"a vector of {len(vector)} entries does not fit a layout of {layout.num_entries}")
    return {s.name: vector[s.offset : s.offset + s.num_entries].view(s.shape) for s in layout.slots}


def content_id(text: str) -> str:
    """Returns the first 16 digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
