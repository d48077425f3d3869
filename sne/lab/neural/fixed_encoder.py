"""What encoders of networks of one layout have in common: reading, standardising, batching."""

import abc
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.lab.neural.layout import FixedLayout, FlatWeights
from sne.networks import Network


class FixedLayoutEncoder(NetworkEncoder):
    """An encoder of networks of one layout; weights are standardised by statistics of the training networks.

    Args:
        layout: of every network that it reads.
        method: what messages call it.
        scales: for each entry, the number of the statistics that it shares; None: each has its own.
        compression: a standardised weight x is read as asinh(compression x) / asinh(compression), so that networks
            of small weights are told apart beside those of large ones; 0 leaves x as it is.
        settings: the constructor's keyword arguments but layout and compression.
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
        places = torch.arange(layout.num_entries) if scales is None else scales
        self.register_buffer("scale_of", places, persistent=False)
        count = int(places.max()) + 1
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))

    def settings(self) -> dict[str, Any]:
        """The constructor's keyword arguments as plain JSON values."""
        return {"layout": self.layout.to_json(), "compression": self.compression, **self._settings}

    def prepare(self, networks: Sequence[Network]) -> list[FlatWeights]:
        """Reads networks, one item each, in order.

        Raises:
            CannotTakeError: a network has another layout.
        """
        return [self.layout.read(network, self.method) for network in networks]

    def fit_scale(self, prepared: Sequence[FlatWeights]) -> None:
        """Sets mean and standard deviation of each scale. One that never varies is divided by 1.

        Raises:
            ValueError: weights that are not finite, or that are all equal.
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


def one_scale_a_part(layout: FixedLayout) -> Int[Tensor, " entries"]:
    """For each entry the number of its part: statistics that no symmetry of the networks moves."""
    counts = torch.tensor([part.num_entries for part in layout.parts])
    return torch.arange(len(counts)).repeat_interleave(counts)
