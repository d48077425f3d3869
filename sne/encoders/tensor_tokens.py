"""Tensor tokens: a network as a ragged set of tokens, one per tensor, that no permutation of neurons changes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.encoders.descriptors import DESCRIPTOR_NAMES
from sne.encoders.features import deviation
from sne.encoders.layer_signals import SIGNAL_NAMES
from sne.encoders.layout_reader import LayoutReader
from sne.encoders.limits import Limits
from sne.encoders.measures import is_described_as_matrix
from sne.encoders.signals import OUTPUT_NAMES, follow
from sne.errors import SneError, counted
from sne.networks import Network, Role

TOKEN_NAMES = DESCRIPTOR_NAMES + SIGNAL_NAMES
"""Names of the features of a token."""

BATCH_ENTRIES = 1 << 23
"""Largest number of weights of the networks of one layout that are read together, if there are several."""


@dataclass(frozen=True)
class TensorTokens:
    """Tokens of some networks, one per part, as one flat ragged batch.

    Args:
        features: Descriptor and signal of every part, named by `TOKEN_NAMES`.
        types: Number of the part's layer type (`sne.encoders.chunking.LAYER_TYPES`).
        roles: Number of the part's role (`sne.encoders.chunking.ROLES`).
        is_matrix: Whether the part has neurons on both sides, unlike a vector.
        levels: Position in depth, from 0.
        heights: Number of levels between the part and the last level of its network.
        lengths: Number of parts of each network.
        outputs: One row per output of a network's last layer, named by `sne.encoders.signals.OUTPUT_NAMES`.
        output_index: Index of the output that a row belongs to.
        output_lengths: Number of output rows of each network.
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
        """Returns the same tokens on another device."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})

    @staticmethod
    def concat(items: Sequence["TensorTokens"]) -> "TensorTokens":
        """Joins batches into one, networks in order."""
        return TensorTokens(**{name: torch.cat([getattr(item, name) for item in items]) for name in vars(items[0])})


TENSOR_ROWS = ("first", "second", "last_but_one", "last", "mean", "deviation")
"""Rows of features that a summary holds of a network's matrices, and of its vectors."""

OUTPUT_ROWS = ("mean", "deviation", "least", "largest")
"""Rows of features that a summary holds of a network's outputs."""

SUMMARY_NAMES = (
    *(f"{kind}/{row}/{name}" for kind in ("matrices", "vectors") for row in TENSOR_ROWS for name in TOKEN_NAMES),
    *(f"outputs/{row}/{name}" for row in OUTPUT_ROWS for name in OUTPUT_NAMES),
)
"""Names of the values of `summarize`: "matrices/first/distribution/log_rms"."""


def summarize(items: Sequence[TensorTokens]) -> Float[Tensor, "networks numbers"]:
    """Summarises networks of any depth in a fixed number of plain numbers.

    Args:
        items: Tokens of one network each.

    Returns:
        For the matrices, then for the vectors: the features of the first, second, last but one and last one, and mean
        and standard deviation over all of them. A network with fewer repeats those it has; one with none has zeros.
        Then mean, standard deviation, least and largest of the output rows. The values are named by `SUMMARY_NAMES`.
    """
    alike: dict[tuple[int, bytes], list[int]] = {}
    for place, item in enumerate(items):
        alike.setdefault((len(item.outputs), item.is_matrix.numpy().tobytes()), []).append(place)
    found = torch.zeros(len(items), len(SUMMARY_NAMES), dtype=torch.float32)
    for places in alike.values():
        features = torch.stack([items[place].features for place in places])
        is_matrix = items[places[0]].is_matrix
        numbers = [_ends_and_spread(features[:, is_matrix]), _ends_and_spread(features[:, ~is_matrix])]
        outputs = torch.stack([items[place].outputs for place in places])
        outputs = outputs if outputs.shape[1] else outputs.new_zeros(len(places), 1, len(OUTPUT_NAMES))
        numbers += [outputs.mean(1), deviation(outputs, 1), outputs.amin(1), outputs.amax(1)]
        found[places] = torch.cat(numbers, 1)
    return found


def _ends_and_spread(rows: Float[Tensor, "networks tensors features"]) -> Float[Tensor, "networks numbers"]:
    """Returns the features of the tensors at both ends, and mean and standard deviation over all tensors."""
    if not rows.shape[1]:
        return rows.new_zeros(len(rows), len(TENSOR_ROWS) * rows.shape[2])
    last = rows.shape[1] - 1
    ends = rows[:, [0, min(1, last), max(last - 1, 0), last]]
    return torch.cat([ends.flatten(1), rows.mean(1), deviation(rows, 1)], 1)


def tokenize(networks: Sequence[Network], *, limits: Limits = Limits()) -> list[TensorTokens]:
    """Computes the tensor tokens of networks; networks of one layout are processed together.

    Args:
        networks: Networks of any architectures, with at least one weight each.
        limits: Limits on memory and on the number of weights that are read of a network.

    Returns:
        One item per network, in order.

    Raises:
        SneError: If a network has no weights.
    """
    layouts: dict[tuple[Any, ...], list[int]] = {}
    known: dict[int, list[int]] = {}  # hashing a large layout is slow, and many networks share theirs
    for row, network in enumerate(networks):
        if id(network.layers) not in known:
            if network.num_weights == 0:
                raise SneError(
                    f"{network.name}: no weights to encode (set aside: {counted(len(network.notes), 'tensor')}; "
                    "sne inspect says why)"
                )
            layout = tuple((layer.type, layer.level, layer.parts) for layer in network.layers)
            known[id(network.layers)] = layouts.setdefault(layout, [])
        known[id(network.layers)].append(row)
    items: dict[int, TensorTokens] = {}
    for rows in layouts.values():
        size = max(1, BATCH_ENTRIES // networks[rows[0]].num_weights)
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            items.update(zip(some, _tokenize_layout([networks[row] for row in some], limits), strict=True))
    return [items[row] for row in range(len(networks))]


@torch.no_grad()
@torch.autocast("cpu", enabled=False)  # items must not depend on the context in which they are prepared
def _tokenize_layout(networks: Sequence[Network], limits: Limits) -> list[TensorTokens]:
    """Returns the tokens of networks of one layout."""
    first, batch = networks[0], len(networks)
    reader = LayoutReader(networks, limits)
    signals, outputs = follow(first.layers, reader)
    parts = [(place, layer, part) for place, layer in enumerate(first.layers) for part in layer.parts]
    parts = [(place, layer, part) for place, layer, part in parts if part.num_entries]
    features = torch.zeros(batch, len(parts), len(TOKEN_NAMES), dtype=torch.float32)
    for column, descriptor in enumerate(reader.describe([part for _, _, part in parts])):
        features[:, column, : len(DESCRIPTOR_NAMES)] = descriptor
    for column, (place, _, part) in enumerate(parts):
        if part.role is Role.WEIGHT and place in signals:
            features[:, column, len(DESCRIPTOR_NAMES) :] = signals[place]
    if outputs is None:
        outputs = torch.zeros(batch, 0, len(OUTPUT_NAMES), dtype=torch.float32)
    levels = torch.tensor([layer.level for _, layer, _ in parts])
    shared = {
        "types": torch.tensor([LAYER_TYPES[layer.type] for _, layer, _ in parts]),
        "roles": torch.tensor([ROLES[part.role] for _, _, part in parts]),
        "is_matrix": torch.tensor([is_described_as_matrix(part.arranged_shape) for _, _, part in parts]),
        "levels": levels,
        "heights": first.num_levels - 1 - levels,
        "lengths": torch.tensor([len(parts)]),
        "output_index": torch.arange(outputs.shape[1]),
        "output_lengths": torch.tensor([outputs.shape[1]]),
    }
    # Rows are copied, so that an item does not keep the memory of all networks of its batch.
    return [TensorTokens(features=features[i].clone(), outputs=outputs[i].clone(), **shared) for i in range(batch)]
