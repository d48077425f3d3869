"""The layout that methods of fixed architecture are made for: the parts of a network, without values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import CannotTakeError
from sne.networks import LayerType, Network, Role

LARGEST = 1e9
"""Weights beyond this are cut, lest sums of them leave single precision."""


@dataclass(frozen=True)
class PartShape:
    """What a part is, names left out.

    Args:
        layer: number of its layer in the network, from 0.
        level: of that layer.
        type: of that layer.
        role: of the part.
        label: which piece of a fused tensor it is; empty otherwise.
        shape: (out, in, kernel positions).
    """

    layer: int
    level: int
    type: LayerType
    role: Role
    label: str
    shape: tuple[int, int, int]

    @property
    def num_entries(self) -> int:
        """Number of scalars."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def __str__(self) -> str:
        return f"{self.type} {self.role} {list(self.shape)} at level {self.level}"


@dataclass(frozen=True)
class FixedLayout:
    """The parts of networks of one architecture, in order."""

    parts: tuple[PartShape, ...]

    @property
    def num_entries(self) -> int:
        """Number of scalars in all parts."""
        return sum(part.num_entries for part in self.parts)

    @classmethod
    def of(cls, network: Network) -> "FixedLayout":
        """The layout of a network. Reads no values."""
        return cls(
            tuple(
                PartShape(number, layer.level, layer.type, part.role, part.label, part.canonical_shape)
                for number, layer in enumerate(network.layers)
                for part in layer.parts
                if part.num_entries
            )
        )

    @classmethod
    def shared_by(cls, networks: Sequence[Network], method: str) -> "FixedLayout":
        """The one layout of some networks.

        Args:
            networks: at least one.
            method: what messages call the method that asks.

        Raises:
            CannotTakeError: the networks have no weights, or several layouts.
        """
        if not networks:
            raise CannotTakeError(f"{method}: got no network, expected at least one to take the layout from")
        layout = cls.of(networks[0])
        layout.check_not_empty(networks[0], method)
        for network in networks[1:]:
            layout.check(network, method)
        return layout

    def to_json(self) -> list[list[Any]]:
        """The layout as plain JSON values. Inverse: `from_json`."""
        return [
            [part.layer, part.level, str(part.type), str(part.role), part.label, *part.shape] for part in self.parts
        ]

    @classmethod
    def from_json(cls, rows: Sequence[Sequence[Any]]) -> "FixedLayout":
        """Reads what `to_json` gave. Inverse of `to_json`.

        Raises:
            ValueError: a row is not that of a part.
        """
        parts = []
        for row in rows:
            if len(row) != 8 or any(not isinstance(row[i], int) or row[i] < 0 for i in (0, 1, 5, 6, 7)):
                raise ValueError(
                    f"layout holds {list(row)}, expected [layer, level, type, role, label, out, in, kernel]"
                )
            layer, level, kind, role, label, *shape = row
            out, into, kernel = shape
            parts.append(PartShape(layer, level, LayerType(kind), Role(role), str(label), (out, into, kernel)))
        return cls(tuple(parts))

    def check_not_empty(self, network: Network, method: str) -> None:
        """Raises CannotTakeError if the layout, of this network, has no weights."""
        if not self.num_entries:
            raise CannotTakeError(
                f"{method}: {network.name}: no weights to encode; {len(network.notes)} tensors were set aside"
            )

    def check(self, network: Network, method: str) -> None:
        """Raises CannotTakeError unless the network has this layout."""
        other = FixedLayout.of(network)
        if other == self:
            return
        other.check_not_empty(network, method)
        for number, (own, came) in enumerate(zip(self.parts, other.parts, strict=False)):
            if own != came:
                what = f"part {number} is {came}, expected {own}"
                break
        else:
            what = f"{len(other.parts)} parts, expected {len(self.parts)}"
        raise CannotTakeError(f"{method} takes networks of one layout; {network.name}: {what}")

    def read(self, network: Network, method: str) -> "FlatWeights":
        """The values of a network of this layout.

        Raises:
            CannotTakeError: it has another layout.
        """
        self.check(network, method)
        values = [network.read(part).flatten() for _, part in network.parts() if part.num_entries]
        return FlatWeights(torch.cat(values).clamp_(-LARGEST, LARGEST).unsqueeze(0))


@dataclass(frozen=True)
class FlatWeights:
    """The weights of some networks of one layout, parts one after the other, each as out, in, kernel."""

    values: Float[Tensor, "networks entries"]

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return self.values.shape[0]

    def to(self, device: Any) -> "FlatWeights":
        """The same weights on another device."""
        return replace(self, values=self.values.to(device))
