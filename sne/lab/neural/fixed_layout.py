"""Layouts of networks, and the base class of encoders that read networks of a single layout."""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders import Limits, NetworkEncoder
from sne.errors import CannotTakeError
from sne.networks import LayerType, Network, Role

LARGEST = 1e9
"""Weights are clipped at this size, so that sums of them stay within single precision."""


@dataclass(frozen=True)
class PartShape:
    """Describes a part of a network, without names and values.

    Args:
        layer: Number of its layer in the network, from 0.
        level: Level of that layer.
        type: Type of that layer.
        role: Role of the part.
        label: Piece of a fused tensor that the part is; empty otherwise.
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
        """Returns the layout of a network, without reading values."""
        return cls(
            tuple(
                PartShape(number, layer.level, layer.type, part.role, part.label, part.arranged_shape)
                for number, layer in enumerate(network.layers)
                for part in layer.parts
                if part.num_entries
            )
        )

    @classmethod
    def shared_by(cls, networks: Sequence[Network], method: str) -> "FixedLayout":
        """Returns the layout that networks share.

        Args:
            networks: Networks; at least one.
            method: Name of the calling method, for messages.

        Raises:
            CannotTakeError: If the networks have no weights, or more than one layout.
        """
        if not networks:
            raise CannotTakeError(f"{method}: got no network, expected at least one to take the layout from")
        layout = cls.of(networks[0])
        layout.check_not_empty(networks[0], method)
        for network in networks[1:]:
            layout.check(network, method)
        return layout

    def to_json(self) -> list[list[Any]]:
        """Returns the layout as plain JSON values. Inverse: `from_json`."""
        return [
            [part.layer, part.level, str(part.type), str(part.role), part.label, *part.shape] for part in self.parts
        ]

    @classmethod
    def from_json(cls, rows: Sequence[Sequence[Any]]) -> "FixedLayout":
        """Builds a layout from the values that `to_json` returns. Inverse of `to_json`.

        Raises:
            ValueError: If a row does not describe a part.
        """
        parts = []
        for row in rows:
            if len(row) != 8 or any(not isinstance(row[i], int) or row[i] < 0 for i in (0, 1, 5, 6, 7)):
                raise ValueError(
                    f"layout contains {list(row)}, expected [layer, level, type, role, label, out, in, kernel]"
                )
            layer, level, kind, role, label, *shape = row
            out, into, kernel = shape
            parts.append(PartShape(layer, level, LayerType(kind), Role(role), str(label), (out, into, kernel)))
        return cls(tuple(parts))

    def check_not_empty(self, network: Network, method: str) -> None:
        """Raises CannotTakeError if this layout, which is the layout of the given network, has no weights."""
        if not self.num_entries:
            raise CannotTakeError(
                f"{method}: {network.name}: no weights to encode; number of tensors set aside: {len(network.notes)}"
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
            what = f"number of parts is {len(other.parts)}, expected {len(self.parts)}"
        raise CannotTakeError(f"{method} takes networks of one layout; {network.name}: {what}")

    def read(self, network: Network, method: str) -> "FlatWeights":
        """Reads the weights of a network of this layout.

        Raises:
            CannotTakeError: If the network has another layout.
        """
        self.check(network, method)
        values = [network.read(part).flatten() for _, part in network.parts() if part.num_entries]
        return FlatWeights(torch.cat(values).clamp_(-LARGEST, LARGEST).unsqueeze(0))


@dataclass(frozen=True)
class FlatWeights:
    """The weights of networks of one layout: one part after the other, each in the order out, in, kernel."""

    values: Float[Tensor, "networks entries"]

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return self.values.shape[0]

    def to(self, device: Any) -> "FlatWeights":
        """Returns the same weights on another device."""
        return replace(self, values=self.values.to(device))


class FixedLayoutEncoder(NetworkEncoder):
    """Base class of encoders of networks of one layout. Weights are standardised with training statistics.

    Args:
        layout: Layout of all networks that it reads.
        method: Name of the method, for messages.
        scales: For each entry, the number of the mean and standard deviation that it shares with others; if None,
            each entry has its own.
        compression: A standardised weight x is replaced by asinh(compression x) / asinh(compression), which keeps
            networks with small weights distinguishable next to those with large ones; 0 leaves x unchanged.
        settings: The constructor's keyword arguments except layout and compression.
    """

    mean: Tensor
    std: Tensor
    scale_of: Tensor

    def __init__(
        self,
        layout: FixedLayout,
        *,
        method: str,
        scales: Int[Tensor, " entries"] | None,
        compression: float,
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        if not 0 <= compression < float("inf"):
            raise ValueError(f"compression is {compression}, expected 0 or more")
        self.layout = layout
        self.method = method
        self.compression = compression
        self._settings = settings
        # it is not saved, so it has values even if the encoder is built without memory, to be loaded
        numbers = torch.arange(layout.num_entries, device="cpu") if scales is None else scales
        self.register_buffer("scale_of", numbers, persistent=False)
        count = int(numbers.max()) + 1
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))

    def settings(self) -> dict[str, Any]:
        """Returns the constructor's keyword arguments as plain JSON values."""
        return {"layout": self.layout.to_json(), "compression": self.compression, **self._settings}

    def prepare(self, networks: Sequence[Network], *, limits: Limits = Limits()) -> list[FlatWeights]:
        """Reads networks, one item per network, in order.

        Raises:
            CannotTakeError: If a network has another layout.
        """
        return [self.layout.read(network, self.method) for network in networks]

    def fit_scale(self, prepared: Sequence[FlatWeights]) -> None:
        """Sets the mean and standard deviation of each scale. A standard deviation of zero is replaced by 1.

        Raises:
            ValueError: If weights are not finite, or all equal.
        """
        values = torch.cat([item.values for item in prepared]).double()
        if not values.isfinite().all():
            raise ValueError("expected finite weights that differ, got some that are not finite")
        if values.min() == values.max():
            raise ValueError(f"expected finite weights that differ, got {values.numel()} equal ones")
        count = len(self.mean)
        numbers = torch.bincount(self.scale_of.cpu(), minlength=count).double() * len(values)
        mean = torch.zeros(count).double().index_add_(0, self.scale_of.cpu(), values.sum(0)) / numbers
        squares = (values - mean[self.scale_of.cpu()]).square().sum(0)
        std = (torch.zeros(count).double().index_add_(0, self.scale_of.cpu(), squares) / numbers).sqrt()
        std[std <= 1e-6 * mean.abs() + 1e-12] = 1.0
        self.mean.copy_(mean)
        self.std.copy_(std)

    def collate(self, prepared: Sequence[FlatWeights]) -> FlatWeights:
        """Joins prepared networks into one batch."""
        return FlatWeights(torch.cat([item.values for item in prepared]))

    def forward(self, batch: FlatWeights) -> Float[Tensor, "networks dim"]:
        """Encodes a batch."""
        x = (batch.values - self.mean[self.scale_of]) / self.std[self.scale_of]
        if self.compression:
            x = (self.compression * x).asinh() / math.asinh(self.compression)
        return self.encode(x)

    @abc.abstractmethod
    def encode(self, weights: Float[Tensor, "networks entries"]) -> Float[Tensor, "networks dim"]:
        """Encodes standardised weights."""


def one_scale_per_part(layout: FixedLayout) -> Int[Tensor, " entries"]:
    """Returns the number of each entry's part: scales that no symmetry of the networks changes."""
    counts = torch.tensor([part.num_entries for part in layout.parts], device="cpu")
    return torch.arange(len(counts), device="cpu").repeat_interleave(counts)
