"""A network of any architecture as a sequence of tokens: the weights of its neurons, cut into pieces of one size."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sne.encoders.chunking import LAYER_TYPES
from sne.networks import Layer, Part
from sne.zoo import Layout


@dataclass(frozen=True)
class TokenPlan:
    """How the flat weight vectors of a layout are cut into tokens.

    Args:
        index: Indices into the flat vector; the vector's length on padding.
        layer_types: Number in `LAYER_TYPES` of each token's layer type.
        positions: For each token, the level of its layer, its row in the layer and its piece of the row.
        scales: Square root of the number of entries of each token's row. Weights multiplied by it are of order 1 in
            networks of any width.
        num_entries: Length of the flat vector.
    """

    index: Int[Tensor, "tokens token_size"]
    layer_types: Int[Tensor, " tokens"]
    positions: Int[Tensor, "tokens 3"]
    scales: Float[Tensor, " tokens"]
    num_entries: int

    def __len__(self) -> int:
        return len(self.index)

    @property
    def mask(self) -> Bool[Tensor, "tokens token_size"]:
        """True on weights, False on padding."""
        return self.index < self.num_entries

    @property
    def levels(self) -> Int[Tensor, " tokens"]:
        """Level of each token's layer."""
        return self.positions[:, 0]

    def window(self, start: int, size: int) -> "TokenPlan":
        """Returns `size` consecutive tokens from `start` on, or fewer at the end."""
        cut = slice(start, start + size)
        return TokenPlan(
            self.index[cut], self.layer_types[cut], self.positions[cut], self.scales[cut], self.num_entries
        )

    def read(self, vector: Float[Tensor, " entries"]) -> Float[Tensor, "tokens token_size"]:
        """Returns the weights of the tokens multiplied by their scales; 0 on padding.

        Args:
            vector: Flat weight vector of a network of this layout.
        """
        values = vector[self.index.clamp(max=self.num_entries - 1)].float()
        return torch.where(self.mask, values * self.scales[:, None], 0.0)


def plan_tokens(layers: Sequence[Layer], layout: Layout, token_size: int) -> TokenPlan:
    """Cuts the networks of a layout into tokens.

    A row holds everything that one neuron has in a layer: its incoming weights, bias and scale. In a layer that
    consists of vectors only, such as a norm, each vector is a row. Rows are padded to whole tokens and follow each
    other in the order of the network.

    Args:
        layers: Layers of the networks.
        layout: Layout of their flat vectors.
        token_size: Weights per token.

    Raises:
        ValueError: If there are no weights.

    Source: Schuerholt et al., arXiv 2406.09997, section 3.1 (tokens of weights and bias, with positions of network,
        layer and token).
    Differs: a position consists of level, row and piece; each vector of a norm is a row.
    """
    if not layout.num_entries or not any(layer.parts for layer in layers):
        raise ValueError("expected networks with weights, found none")
    slots = {slot.name: slot for slot in layout.slots}

    def indices(part: Part) -> Tensor:
        slot = slots[part.tensor]
        whole = torch.arange(slot.num_entries, dtype=torch.float64) + slot.offset  # exact far beyond any length
        return part.arrange(whole.view(slot.shape)).flatten(1)

    tokens, types, positions, scales = [], [], [], []
    for layer in layers:
        row = 0
        for rows in _rows([indices(part) for part in layer.parts if part.num_entries]):
            count, length = rows.shape
            pieces = -(-length // token_size)
            padded = torch.full((count, pieces * token_size), float(layout.num_entries), dtype=torch.float64)
            padded[:, :length] = rows
            tokens.append(padded.view(-1, token_size).long())
            grid = torch.cartesian_prod(torch.arange(row, row + count), torch.arange(pieces))
            positions.append(torch.cat([torch.full((len(grid), 1), layer.level), grid], 1))
            types.append(torch.full((len(grid),), LAYER_TYPES[layer.type]))
            scales.append(torch.full((len(grid),), length**0.5, dtype=torch.float32))
            row += count
    return TokenPlan(torch.cat(tokens), torch.cat(types), torch.cat(positions), torch.cat(scales), layout.num_entries)


def _rows(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Arranges a layer's parts as rows: parts with equal numbers of neurons side by side, lone vectors as one row."""
    by_height: dict[int, list[Tensor]] = {}
    for matrix in matrices:
        by_height.setdefault(len(matrix), []).append(matrix)
    return [
        torch.cat(same, 1) if any(one.shape[1] > 1 for one in same) else torch.cat(same, 1).T
        for same in by_height.values()
    ]


class TokenScales:
    """Mean absolute weights by layer type and level over the training networks, so that no layer dominates the loss.

    A layer type that did not occur at a level in training takes the mean over all levels of that type; a type that did
    not occur at all takes the mean over all layers.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[int, ...], tuple[float, int]] = {}

    def add(self, plan: TokenPlan, vector: Float[Tensor, " entries"]) -> None:
        """Adds a training network.

        Args:
            plan: Plan of the network's layout.
            vector: Flat weight vector of the network.
        """
        sizes, counts = plan.read(vector).abs().double().sum(1), plan.mask.sum(1)
        keys = torch.stack([plan.layer_types, plan.levels], 1)
        found, member = keys.unique(dim=0, return_inverse=True)
        sums, numbers = (
            torch.zeros(len(found), dtype=torch.float64).index_add_(0, member, one.double()).tolist()
            for one in (sizes, counts)
        )
        for (kind, level), total, number in zip(found.tolist(), sums, numbers, strict=True):
            for key in ((kind, level), (kind,), ()):
                before, count = self._sums.get(key, (0.0, 0))
                self._sums[key] = before + total, count + int(number)

    def of(self, plan: TokenPlan) -> Float[Tensor, " tokens"]:
        """Returns the mean absolute weight of each token's layer; 1 where all weights were 0."""
        keys = torch.stack([plan.layer_types, plan.levels], 1)
        found, member = keys.unique(dim=0, return_inverse=True)
        means = [self._mean(kind, level) for kind, level in found.tolist()]
        return torch.tensor(means, dtype=torch.float32)[member]

    def _mean(self, kind: int, level: int) -> float:
        for key in ((kind, level), (kind,), ()):
            total, count = self._sums.get(key, (0.0, 0))
            if total > 0:
                return total / count
        return 1.0
