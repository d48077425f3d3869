"""How a network's tensors lie in its flat vector."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import ZooError
from sne.zoo.store.entries import Entries, entry_id, read_entries, write_entries

LAYOUTS = "layouts.json"


@dataclass(frozen=True)
class Slot:
    """Where one tensor stands in the flat vector: `prod(shape)` entries from `offset` on, row-major."""

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
    """The slots of a network's floating-point tensors, in the order of its state dict, without gaps."""

    slots: tuple[Slot, ...]

    @cached_property
    def num_entries(self) -> int:
        """Length of the flat vector."""
        return sum(slot.num_entries for slot in self.slots)

    @cached_property
    def id(self) -> str:
        """A short name made from the content alone: equal layouts of different zoos share it."""
        return entry_id(json.dumps(self.to_json()))

    def to_json(self) -> list[dict[str, Any]]:
        """The slots as plain JSON values. Inverse: `from_json`."""
        return [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype, "offset": s.offset} for s in self.slots]

    @classmethod
    def from_json(cls, values: Any, where: str = "layout") -> "Layout":
        """Rebuilds a layout from plain JSON values, checking them. Inverse of `to_json`.

        Args:
            values: a list of {name, shape, dtype, offset}.
            where: what messages call the values.

        Raises:
            ZooError: a field is missing or of the wrong kind, or the slots leave gaps or overlap.
        """
        try:
            slots = tuple(
                Slot(str(v["name"]), tuple(map(int, v["shape"])), str(v["dtype"]), int(v["offset"])) for v in values
            )
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ZooError(f"{where}: expected a list of name, shape, dtype, offset ({error!r})") from None
        expected = 0
        for slot in slots:
            if slot.offset != expected or any(n < 0 for n in slot.shape):
                raise ZooError(f"{where}: {slot.name} starts at {slot.offset}, expected {expected}")
            expected += slot.num_entries
        return cls(slots)


@final
class Layouts(Entries[Layout]):
    """The layouts of a zoo by id."""

    @classmethod
    def load(cls, path: Path) -> "Layouts":
        """Reads `layouts.json`, as `read_entries` reads such files. Inverse: `write_layouts`.

        Raises:
            ZooError: it is not an object in JSON.
        """
        return cls(read_entries(path, "lists of tensors"), path)

    def read(self, values: Any, where: str) -> Layout:
        """A layout from its plain JSON values."""
        return Layout.from_json(values, where)


def write_layouts(path: Path, layouts: Mapping[str, Layout]) -> None:
    """Writes `layouts.json`, one layout a line. Inverse: `Layouts.load`."""
    write_entries(path, {key: json.dumps(one.to_json(), separators=(",", ":")) for key, one in layouts.items()})


def flatten(state: Mapping[str, Tensor]) -> tuple[Layout, Float[Tensor, " entries"]]:
    """Joins the floating-point tensors of a state dict into one float32 vector.

    Integer tensors (batch norm's step counters) hold no weights and are left out.

    Args:
        state: tensors by name.

    Returns:
        The layout and the vector. Inverse: `unflatten`.
    """
    slots, pieces, offset = [], [], 0
    for name, tensor in state.items():
        if tensor.is_floating_point():
            dtype = str(tensor.dtype).removeprefix("torch.")
            slots.append(Slot(name, tuple(tensor.shape), dtype, offset))
            pieces.append(tensor.detach().to("cpu", torch.float32).reshape(-1))
            offset += tensor.numel()
    return Layout(tuple(slots)), torch.cat(pieces) if pieces else torch.zeros(0)


def unflatten(layout: Layout, vector: Float[Tensor, " entries"]) -> dict[str, Tensor]:
    """Cuts a flat vector into named tensors, views of it. Inverse of `flatten` for floating-point tensors."""
    if len(vector) != layout.num_entries:
        raise ZooError(f"a vector of {len(vector)} entries does not fit a layout of {layout.num_entries}")
    return {s.name: vector[s.offset : s.offset + s.num_entries].view(s.shape) for s in layout.slots}
