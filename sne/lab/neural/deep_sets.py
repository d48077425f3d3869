"""Deep sets of weights: the weights are pooled by tensor, then by network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sne.encoders import Limits, NetworkEncoder
from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.encoders.set_functions import TypeLevelEncoding
from sne.errors import CannotTakeError
from sne.networks import Network
from sne.nn import in_float32

METHOD = "deep_sets"
LARGEST = 1e9
"""Weights are clipped at this size, so that sums of them stay within single precision."""


@dataclass(frozen=True)
class WeightSets:
    """The weights of some networks, as one flat ragged batch of parts.

    Args:
        values: Weights of all parts, one part after the other; quantiles of the weights for large parts.
        lengths: Number of values of each part.
        sizes: Number of weights of each part.
        types: Number of each part's layer type (`sne.encoders.chunking.LAYER_TYPES`).
        roles: Number of each part's role (`sne.encoders.chunking.ROLES`).
        levels: Level of each part, from 0.
        parts: Number of parts of each network.
    """

    values: Float[Tensor, " values"]
    lengths: Int[Tensor, " parts"]
    sizes: Int[Tensor, " parts"]
    types: Int[Tensor, " parts"]
    roles: Int[Tensor, " parts"]
    levels: Int[Tensor, " parts"]
    parts: Int[Tensor, " networks"]

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return len(self.parts)

    def to(self, device: Any) -> "WeightSets":
        """Returns the same sets on another device."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})


class DeepSetsEncoder(NetworkEncoder):
    """Reads networks of any architecture as sets of weights, each with the type and the level of its tensor.

    Args:
        width: Length of the vector of a weight; even. The vector of a tensor is twice as long.
        dim: Length of the embedding.
        most_values: Maximum number of values read per tensor; a larger tensor is represented by this many quantiles.

    Source: Zaheer et al., "Deep Sets", arXiv 1703.06114, section 3; the baseline "DeepSets" of Andreis et al.,
        arXiv 2305.16625, section 5.
    Differs: weights are averaged by tensor first, then by network, so that large tensors do not dominate small ones;
        a weight is given on a linear and on a logarithmic scale.
    """

    std: Tensor

    @in_float32()
    def __init__(self, *, width: int = 64, dim: int = 128, most_values: int = 1024) -> None:
        super().__init__()
        if most_values < 1:
            raise ValueError(f"most_values must be at least 1, got {most_values}")
        self.width, self.dim, self.most_values = width, dim, most_values
        self.register_buffer("std", torch.ones(()))
        self.of_weights = nn.Linear(2, width)
        self.encodings = nn.ModuleList(TypeLevelEncoding(width) for _ in range(2))
        self.on_weights = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.of_tensors = nn.Linear(width + 1, 2 * width)
        self.to_tensors = nn.Linear(width, 2 * width)
        self.on_tensors = nn.Sequential(nn.ReLU(), nn.Linear(2 * width, 2 * width), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(2 * width, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())

    def settings(self) -> dict[str, Any]:
        """Returns the constructor's keyword arguments as plain JSON values."""
        return {"width": self.width, "dim": self.dim, "most_values": self.most_values}

    def prepare(self, networks: Sequence[Network], *, limits: Limits = Limits()) -> list[WeightSets]:
        """Reads networks, one item per network, in order.

        Raises:
            CannotTakeError: If a network has no weights.
        """
        return [self._prepare(network) for network in networks]

    def _prepare(self, network: Network) -> WeightSets:
        parts = [(layer, part) for layer, part in network.parts() if part.num_entries]
        if not parts:
            raise CannotTakeError(
                f"{METHOD}: {network.name}: no weights to encode; number of tensors set aside: {len(network.notes)}"
            )
        values = [self._few(network.read(part).flatten().clamp(-LARGEST, LARGEST)) for _, part in parts]
        return WeightSets(
            values=torch.cat(values),
            lengths=torch.tensor([len(one) for one in values]),
            sizes=torch.tensor([part.num_entries for _, part in parts]),
            types=torch.tensor([LAYER_TYPES[layer.type] for layer, _ in parts]),
            roles=torch.tensor([ROLES[part.role] for _, part in parts]),
            levels=torch.tensor([layer.level for layer, _ in parts]),
            parts=torch.tensor([len(parts)]),
        )

    def _few(self, weights: Float[Tensor, " weights"]) -> Float[Tensor, " values"]:
        """Returns all weights, or evenly spaced quantiles, which do not depend on the order of the weights."""
        if len(weights) <= self.most_values:
            return weights
        places = (torch.arange(self.most_values, dtype=torch.float32) + 0.5) * (len(weights) / self.most_values)
        return weights.sort().values[places.long()]

    def fit_scale(self, prepared: Sequence[WeightSets]) -> None:
        """Sets the number that weights are divided by: the standard deviation of all values.

        Raises:
            ValueError: If the weights are all equal, or not finite.
        """
        values = torch.cat([item.values for item in prepared]).double()
        std = float(values.std(unbiased=False)) if len(values) else 0.0
        if not 0 < std < float("inf"):
            raise ValueError(f"expected finite weights that differ, got {len(values)} with standard deviation {std}")
        self.std.fill_(std)

    def collate(self, prepared: Sequence[WeightSets]) -> WeightSets:
        """Joins prepared networks into one ragged batch."""
        return WeightSets(**{name: torch.cat([getattr(item, name) for item in prepared]) for name in vars(prepared[0])})

    def forward(self, batch: WeightSets) -> Float[Tensor, "networks dim"]:
        """Encodes a batch."""
        places = (batch.types, batch.roles, batch.levels)
        of_weights, of_tensors = (encoding(*places) for encoding in self.encodings)
        x = batch.values / self.std
        x = torch.stack([x, (30 * x).asinh()], -1)
        x = self.on_weights(self.of_weights(x) + of_weights.repeat_interleave(batch.lengths, 0))
        tensors = _means(x, batch.lengths)
        log_sizes = batch.sizes.to(of_tensors.dtype).log().unsqueeze(-1) / 10
        added = self.of_tensors(torch.cat([of_tensors, log_sizes], -1))
        tensors = self.on_tensors(self.to_tensors(tensors) + added)
        return self.head(_means(tensors, batch.parts))


def _means(x: Float[Tensor, "rows width"], lengths: Int[Tensor, " sets"]) -> Float[Tensor, "sets width"]:
    """Returns the mean of each set of consecutive rows."""
    sets = torch.arange(len(lengths), device=x.device).repeat_interleave(lengths)
    sums = x.new_zeros(len(lengths), x.shape[1]).index_add_(0, sets, x)
    return sums / lengths.unsqueeze(-1)


def make_deep_sets(networks: Sequence[Network], /) -> DeepSetsEncoder:
    """Builds the encoder, which reads networks of any layout."""
    return DeepSetsEncoder()
