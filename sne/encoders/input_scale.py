"""Scaled features of tensor tokens, and the linear layer that reads them."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST_SPREAD = 1e-4
"""Features that vary less among the training networks are left out."""
SMALLEST_BIN = 1e-3
"""Added to the width of quantile bins, which may be zero."""
LARGEST = 6.0
"""Bound on the magnitude of standardised features."""


class InputScale(nn.Module):
    """Scales features by the training networks: standardised and bounded, followed by quantile bins.

    A feature that does not vary among the training networks is left out: nothing can be learned from it, and its
    weight would multiply other values later. Rows come in groups, each with scales and varying features of its own: of
    the features of matrices, for example, few vary among vectors.

    Args:
        groups: Number of groups of rows.
        size: Number of features.
        bins: Number of bins between quantiles of the training networks; each gives one more number per feature, which
            rises from -1/2 to 1/2 across the bin. 0 for none.

    Source: piecewise linear encoding of Gorishniy et al., arXiv 2203.05556, section 3.2.
    Differs: the standardised feature is kept as well as its bins, so that values outside all quantiles still differ.
    """

    shift: Tensor
    gain: Tensor
    knots: Tensor

    def __init__(self, groups: int, size: int, *, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.out_size = size * (1 + bins)
        self.register_buffer("shift", torch.zeros(groups, size, dtype=torch.float32))
        self.register_buffer("gain", torch.ones(groups, size, dtype=torch.float32))
        knots = torch.linspace(-1, 1, bins + 1, dtype=torch.float32)
        self.register_buffer("knots", knots[None, :, None].expand(groups, -1, size).contiguous())

    def fit(self, rows: Float[Tensor, "rows size"], groups: Int[Tensor, " rows"]) -> None:
        """Sets the scales from the rows of the training networks; a group without rows keeps its scales."""
        for group in range(len(self.shift)):
            some = rows[groups == group].double()
            if len(some) == 0:
                continue
            spread = some.std(0, unbiased=False)
            self.shift[group] = some.mean(0).float()
            self.gain[group] = torch.where(spread > SMALLEST_SPREAD, 1 / spread.clamp_min(SMALLEST_SPREAD), 0.0).float()
            places = torch.linspace(0, len(some) - 1, self.bins + 1, dtype=torch.float32).round().long()
            self.knots[group] = some.sort(0).values[places].float()

    def equals(self, other: "InputScale") -> bool:
        """Returns whether another scale gives the same numbers."""
        return self is other or all(
            torch.equal(own, its) for own, its in zip(self.buffers(), other.buffers(), strict=True)
        )

    def forward(
        self, groups: Sequence[Float[Tensor, "_ size"]], layer: nn.Linear, *, noise: float = 0.0
    ) -> Float[Tensor, "rows dim"]:
        """Applies a linear layer to the scaled features. Each group is multiplied by the columns of what varies in it.

        Args:
            groups: Rows of each group.
            layer: Reads `out_size` numbers: the standardised features, within plus and minus `LARGEST`, then the first
                bin of every feature, and so on.
            noise: Standard deviation of the noise that is added to the scaled features.

        Returns:
            The outputs of the layer, one row per row of the groups, one group after the other.
        """
        outputs = []
        for rows, scale in zip(groups, self.group_scales(), strict=True):
            numbers = scale.numbers(rows)
            if noise:
                numbers.add_(torch.randn_like(numbers), alpha=noise)
            outputs.append(F.linear(numbers, self.select(layer.weight, scale), layer.bias))
        return torch.cat(outputs)

    def group_scales(self) -> "list[GroupScale]":
        """Returns the scale of each group, for the features that vary in it."""
        return [GroupScale(*group) for group in zip(self.shift, self.gain, self.knots, strict=True)]

    def select(self, weight: Float[Tensor, "dim numbers"], scale: "GroupScale") -> Float[Tensor, "dim some"]:
        """Returns the columns of a weight that read the numbers of a group."""
        if len(scale.columns) == self.gain.shape[1]:
            return weight
        by_feature = weight.unflatten(1, (1 + self.bins, -1)).movedim(2, 0)
        return by_feature.index_select(0, scale.columns).movedim(0, 2).flatten(1)


@final
class GroupScale:
    """The scale of one group, for the features that vary in it.

    Args:
        shift: Means of all features.
        gain: Reciprocals of their deviations; 0 for a feature that does not vary.
        knots: Quantiles of all features.
    """

    @torch.no_grad()
    def __init__(
        self, shift: Float[Tensor, " size"], gain: Float[Tensor, " size"], knots: Float[Tensor, "knots size"]
    ) -> None:
        self.columns = gain.nonzero()[:, 0]
        self._shift, self._gain = shift[self.columns], gain[self.columns] / LARGEST
        knots = knots[:, self.columns]
        self._lows, self._steepness = knots[:-1], 1 / (knots.diff(dim=0) + SMALLEST_BIN)

    @torch.no_grad()
    def numbers(self, rows: Float[Tensor, "rows size"]) -> Float[Tensor, "rows numbers"]:
        """Returns the standardised features and the bins, each for all features. Each entry is written in place."""
        if len(self.columns) < rows.shape[1]:
            rows = rows.index_select(1, self.columns)
        scaled = rows.new_empty(len(rows), 1 + len(self._lows), rows.shape[1])
        standard, filled = scaled[:, 0], scaled[:, 1:]
        ratio = (rows - self._shift).mul_(self._gain).clamp_(-1e15, 1e15)  # its square stays within single precision
        torch.mul(ratio, LARGEST, out=standard).div_(ratio.square_().add_(1).sqrt_())
        torch.sub(rows[:, None], self._lows, out=filled).mul_(self._steepness)
        filled.clamp_(0, 1).sub_(0.5)
        return scaled.flatten(1)
