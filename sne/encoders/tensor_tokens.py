"""Tensor tokens: a network as a ragged set of tokens, one a tensor, in numbers that no permutation of neurons moves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.encoders.descriptors import DESCRIPTOR_SIZE, describe, is_described_as_matrix
from sne.encoders.layer_signals import SIGNAL_SIZE
from sne.encoders.signals import OUTPUT_SIZE, follow
from sne.networks import Network, Part, Role

TOKEN_SIZE = DESCRIPTOR_SIZE + SIGNAL_SIZE
BLOCK_ENTRIES = 1 << 23
"""Networks of one layout are read together until they hold this many weights."""
LARGEST = 1e9
"""Weights beyond this are cut, lest their powers leave single precision."""


@dataclass(frozen=True)
class TensorTokens:
    """Tokens of some networks, one a part, as one flat ragged batch.

    Args:
        features: descriptor and signal of every part.
        types: number of the part's layer type (`sne.encoders.chunking.LAYER_TYPES`).
        roles: number of the part's role (`sne.encoders.chunking.ROLES`).
        is_matrix: whether the part has neurons on both sides, rather than being a vector.
        levels: position in depth, from 0.
        heights: levels between the part and the last level of its network.
        lengths: number of parts of each network.
        outputs: one row an output of a network's last layer.
        output_index: which output a row belongs to.
        output_lengths: number of output rows of each network.
    """

    features: Float[Tensor, "parts features"]
    types: Int[Tensor, " parts"]
    roles: Int[Tensor, " parts"]
    is_matrix: Bool[Tensor, " parts"]
    levels: Int[Tensor, " parts"]
    heights: Int[Tensor, " parts"]
    lengths: Int[Tensor, " networks"]
    outputs: Float[Tensor, "rows output"]
    output_index: Int[Tensor, " rows"]
    output_lengths: Int[Tensor, " networks"]

    @property
    def num_networks(self) -> int:
        """Number of networks in the batch."""
        return len(self.lengths)

    def to(self, device: Any) -> "TensorTokens":
        """The same tokens on another device."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})

    @staticmethod
    def concat(items: Sequence["TensorTokens"]) -> "TensorTokens":
        """Joins batches into one, networks in order."""
        return TensorTokens(**{name: torch.cat([getattr(item, name) for item in items]) for name in vars(items[0])})


def summary(item: TensorTokens) -> Float[Tensor, " numbers"]:
    """A network of any depth in a fixed number of plain numbers.

    Args:
        item: one network.

    Returns:
        Of its matrices, then of its vectors: the features of the first, second, last but one and last (those at hand,
        where there are fewer), the mean and the spread of all; zeros where there is none. Then mean, spread, least and
        largest of its output rows.
    """
    numbers = []
    for some in (item.features[item.is_matrix], item.features[~item.is_matrix]):
        rows = some if len(some) else item.features.new_zeros(1, TOKEN_SIZE)
        last = len(rows) - 1
        ends = rows[[0, min(1, last), max(last - 1, 0), last]]
        numbers += [*ends, rows.mean(0), rows.std(0, unbiased=False)]
    outputs = item.outputs if len(item.outputs) else item.outputs.new_zeros(1, OUTPUT_SIZE)
    numbers += [outputs.mean(0), outputs.std(0, unbiased=False), outputs.amin(0), outputs.amax(0)]
    return torch.cat(numbers)


def _signature(network: Network) -> tuple[Any, ...]:
    return tuple((layer.type, layer.level, layer.parts) for layer in network.layers)


def tokenize(networks: Sequence[Network]) -> list[TensorTokens]:
    """Turns networks into tensor tokens, one item a network.

    Networks of one layout are worked through together.

    Args:
        networks: any networks; at least one part each.

    Returns:
        The items, in the order given.

    Raises:
        ValueError: a network has no weights at all.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, network in enumerate(networks):
        if network.num_weights == 0:
            raise ValueError(f"{network.name}: no weights to encode; {len(network.notes)} tensors were set aside")
        groups.setdefault(_signature(network), []).append(row)
    items: dict[int, TensorTokens] = {}
    for rows in groups.values():
        size = max(1, BLOCK_ENTRIES // networks[rows[0]].num_weights)
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            items.update(zip(block, _tokenize_block([networks[row] for row in block]), strict=True))
    return [items[row] for row in range(len(networks))]


@torch.no_grad()
@torch.autocast("cpu", enabled=False)  # items must not depend on where they are prepared
def _tokenize_block(networks: list[Network]) -> list[TensorTokens]:
    """Tokens of networks of one layout."""
    first = networks[0]
    batch = len(networks)

    def read(part: Part) -> Tensor:
        return torch.stack([network.read(part) for network in networks]).clamp_(-LARGEST, LARGEST)

    signals, outputs = follow(first.layers, read)
    features, types, roles, is_matrix, levels = [], [], [], [], []
    for position, layer in enumerate(first.layers):
        for part in layer.parts:
            if part.num_entries == 0:
                continue
            signal = torch.zeros(batch, SIGNAL_SIZE)
            if part.role is Role.WEIGHT and position in signals:
                signal = signals[position]
            features.append(torch.cat([describe(read(part)), signal], -1))
            types.append(LAYER_TYPES[layer.type])
            roles.append(ROLES[part.role])
            is_matrix.append(is_described_as_matrix(part.canonical_shape))
            levels.append(layer.level)
    if outputs is None:
        outputs = torch.zeros(batch, 0, OUTPUT_SIZE)
    stacked = torch.stack(features, 1)
    index = torch.tensor(levels)
    shared = {
        "types": torch.tensor(types),
        "roles": torch.tensor(roles),
        "is_matrix": torch.tensor(is_matrix),
        "levels": index,
        "heights": first.num_levels - 1 - index,
        "lengths": torch.tensor([len(types)]),
        "output_index": torch.arange(outputs.shape[1]),
        "output_lengths": torch.tensor([outputs.shape[1]]),
    }
    return [TensorTokens(features=stacked[i].clone(), outputs=outputs[i].clone(), **shared) for i in range(batch)]
