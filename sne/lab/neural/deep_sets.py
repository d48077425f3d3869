"""Deep sets of weights: what each tensor's weights are, pooled by tensor, then by network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sne.encoders import NetworkEncoder
from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.encoders.positions import TypeLevelEncoding
from sne.errors import CannotTakeError
from sne.networks import Network

METHOD = "deep_sets"
LARGEST = 1e9
"""Weights beyond this are cut, lest sums of them leave single precision."""


@dataclass(frozen=True)
class WeightSets:
    """The weights of some networks, as one flat ragged batch of tensors.

    Args:
        values: weights of all parts, one part after the other.
        lengths: number of values of each part.
        sizes: number of weights of each part, values or not.
        types: number of each part's layer type (`sne.encoders.chunking.LAYER_TYPES`).
        roles: number of each part's role (`sne.encoders.chunking.ROLES`).
        levels: position in depth, from 0.
        parts: number of parts of each network.
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
        """The same sets on another device."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})


class DeepSetsEncoder(NetworkEncoder):
    """Reads networks of any architecture as sets of weights, each with the type and the level of its tensor.

    Args:
        width: of the vectors of a weight and of a tensor; even.
        dim: width of the embedding.
        most_values: of a tensor with more weights, so many quantiles stand for all of them.

    Source: Zaheer et al., "Deep Sets", arXiv 1703.06114, section 3; the baseline "DeepSets" of Andreis et al.,
        arXiv 2305.16625, section 5.
    Differs: the set is pooled by tensor first, then by network, both by the mean, so that large tensors do not drown
        small ones; a weight is given on a linear and on a logarithmic scale.
    """

    std: Tensor

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
        """The constructor's keyword arguments as plain JSON values."""
        return {"width": self.width, "dim": self.dim, "most_values": self.most_values}

    def prepare(self, networks: Sequence[Network]) -> list[WeightSets]:
        """Reads networks, one item each, in order.

        Raises:
            CannotTakeError: a network has no weights.
        """
        return [self._prepare(network) for network in networks]

    def _prepare(self, network: Network) -> WeightSets:
        parts = [(layer, part) for layer, part in network.parts() if part.num_entries]
        if not parts:
            raise CannotTakeError(
                f"{METHOD}: {network.name}: no weights to encode; {len(network.notes)} tensors were set aside"
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
        """All weights, or quantiles at even steps, which no order of the weights moves."""
        if len(weights) <= self.most_values:
            return weights
        places = (torch.arange(self.most_values) + 0.5) * (len(weights) / self.most_values)
        return weights.sort().values[places.long()]

    def fit_scale(self, prepared: Sequence[WeightSets]) -> None:
        """Sets the one number that weights are divided by: the standard deviation of all values.

        Raises:
            ValueError: if the weights are all equal, or not finite.
        """
        values = torch.cat([item.values for item in prepared]).double()
        std = float(values.std(unbiased=False)) if len(values) else 0.0
        if not 0 < std < float("inf"):
            raise ValueError(f"expected finite weights that differ, got {len(values)} of deviation {std}")
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
    """Mean of each set of rows, sets standing one after the other."""
    sets = torch.arange(len(lengths), device=x.device).repeat_interleave(lengths)
    sums = x.new_zeros(len(lengths), x.shape[1]).index_add_(0, sets, x)
    return sums / lengths.unsqueeze(-1)


def make_deep_sets(networks: Sequence[Network]) -> DeepSetsEncoder:
    """Makes the encoder; it takes networks of any layout."""
    return DeepSetsEncoder()
