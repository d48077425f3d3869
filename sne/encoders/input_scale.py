"""Scaled features of tensor tokens, and the linear layer that reads them."""

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
    weight would multiply other values later.

    Args:
        groups: Number of kinds of rows, each with scales of its own.
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
        self.register_buffer("shift", torch.zeros(groups, size))
        self.register_buffer("gain", torch.ones(groups, size))
        knots = torch.linspace(-1, 1, bins + 1)
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
            places = torch.linspace(0, len(some) - 1, self.bins + 1).round().long()
            self.knots[group] = some.sort(0).values[places].float()

    def forward(
        self, rows: Float[Tensor, "rows size"], groups: Int[Tensor, " rows"], layer: nn.Linear, *, noise: float = 0.0
    ) -> Float[Tensor, "rows dim"]:
        """Applies a linear layer to the scaled features.

        Each group is multiplied by the columns of the features that vary in it: of the features of matrices, for
        example, few vary among vectors.

        Args:
            rows: Features.
            groups: Group of each row.
            layer: Reads `out_size` numbers: the standardised features, within plus and minus `LARGEST`, then the first
                bin of every feature, and so on.
            noise: Standard deviation of the noise that is added to the scaled features.

        Returns:
            The outputs of the layer.
        """
        if len(self.shift) == 1:
            return self._read(rows, 0, layer, noise)
        order = groups.argsort(stable=True)
        parts = rows[order].split(groups.bincount(minlength=len(self.shift)).tolist())
        outputs = [self._read(part, group, layer, noise) for group, part in enumerate(parts)]
        return torch.cat(outputs).index_select(0, order.argsort())

    def _read(
        self, rows: Float[Tensor, "rows size"], group: int, layer: nn.Linear, noise: float
    ) -> Float[Tensor, "rows dim"]:
        columns = self.gain[group].nonzero()[:, 0]
        weight = layer.weight.unflatten(1, (1 + self.bins, -1))
        if len(columns) < rows.shape[1]:
            rows = rows[:, columns]
            weight = weight.movedim(2, 0).index_select(0, columns).movedim(0, 2)
        scaled = self._scale(rows, self.shift[group, columns], self.gain[group, columns], self.knots[group][:, columns])
        if noise:
            scaled.add_(torch.randn_like(scaled), alpha=noise)
        return F.linear(scaled.flatten(1), weight.flatten(1), layer.bias)

    @staticmethod
    @torch.no_grad()
    def _scale(
        rows: Float[Tensor, "rows size"],
        shift: Float[Tensor, " size"],
        gain: Float[Tensor, " size"],
        knots: Float[Tensor, "knots size"],
    ) -> Float[Tensor, "rows numbers size"]:
        """Returns the standardised features and the bins. Each entry is written in place."""
        scaled = rows.new_empty(len(rows), len(knots), rows.shape[1])
        standard, filled = scaled[:, 0], scaled[:, 1:]
        torch.sub(rows, shift, out=standard).mul_(gain)
        ratio = (standard / LARGEST).clamp_(-1e15, 1e15)  # its square stays within single precision
        torch.mul(ratio, LARGEST, out=standard).div_(ratio.square_().add_(1).sqrt_())
        torch.sub(rows[:, None], knots[:-1], out=filled).mul_(1 / (knots.diff(dim=0) + SMALLEST_BIN))
        filled.clamp_(0, 1).sub_(0.5)
        return scaled
