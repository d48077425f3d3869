"""Heads: from a network's embedding to its properties."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sne.errors import PredictorError
from sne.nn import in_float32
from sne.predictors.properties import Property, num_outputs, output_slices


class PropertyHeads(nn.Module):
    """A hidden layer that all properties share, followed by one linear output per property.

    A fraction has one output, a logit, trained with binary cross-entropy on the soft target. A real value has one
    output on the standardised scale, trained with squared error. A class property has one logit per class, trained
    with cross-entropy. Missing labels take no part.

    Args:
        dim: Length of an embedding.
        properties: Properties to predict, in this order.
        hidden: Width of the hidden layer; 0 for a linear map.
        dropout: Share of embedding entries that are dropped during training.
        rank_weight: Share of the loss that a second output takes, which predicts the rank of a number among the
            training labels (cross-entropy on the soft target `Property.ranks`). The output is used in training only.
            It lets labels that crowd together, such as accuracies near chance, count as much as the others.

    Source: Andreis et al., arXiv 2305.16625, section 4 (soft binary cross-entropy for accuracies).
    Differs: Several properties at once, missing labels, the rank output; the paper does not specify its head.
    """

    @in_float32()
    def __init__(
        self,
        dim: int,
        properties: Sequence[Property],
        *,
        hidden: int = 0,
        dropout: float = 0.0,
        rank_weight: float = 0.0,
    ):
        super().__init__()
        if not 0 <= dropout < 1 or not 0 <= rank_weight < 1 or hidden < 0:
            raise PredictorError(
                f"heads with hidden {hidden}, dropout {dropout}, rank_weight {rank_weight}: expected a width of 0 or "
                "more, and shares of 0 or more and below 1"
            )
        self.properties = tuple(properties)
        self.slices = output_slices(properties)
        self.num_outputs = num_outputs(properties)
        self.rank_weight = rank_weight
        self._settings = {"hidden": hidden, "dropout": dropout, "rank_weight": rank_weight}
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.GELU()) if hidden else nn.Identity()
        self.output = nn.Linear(hidden or dim, self.num_outputs)
        self.rank_output = nn.Linear(hidden or dim, len(self.properties)) if rank_weight else None
        self.num_raw = self.num_outputs + (len(self.properties) if rank_weight else 0)

    def settings(self) -> dict[str, Any]:
        """Returns the keyword arguments other than `dim` and `properties`, as plain JSON values."""
        return dict(self._settings)

    def forward(self, embedding: Float[Tensor, "networks dim"]) -> Float[Tensor, "networks raw"]:
        """Computes logits and standardised values, side by side in the order of the properties, then rank logits."""
        hidden = self.hidden(self.dropout(embedding))
        if self.rank_output is None:
            return self.output(hidden)
        return torch.cat([self.output(hidden), self.rank_output(hidden)], dim=1)

    def values(self, outputs: Float[Tensor, "networks raw"]) -> Float[Tensor, "networks values"]:
        """Converts outputs to the properties' own units: fractions, real values, class probabilities."""
        columns = []
        for p, where in zip(self.properties, self.slices, strict=True):
            column = outputs[:, where].float()
            if p.kind == "fraction":
                columns.append(column.sigmoid())
            elif p.kind == "real":
                columns.append(column * p.std + p.mean)
            else:
                columns.append(column.softmax(dim=1))
        return torch.cat(columns, dim=1)

    def loss(
        self,
        outputs: Float[Tensor, "networks raw"],
        targets: Float[Tensor, "networks properties"],
        known: Int[Tensor, " properties"] | None = None,
    ) -> Float[Tensor, ""]:
        """Sums over the properties the mean loss of the networks whose label is known.

        Args:
            outputs: Raw outputs of `forward`.
            targets: One column per property, as `Property.encode` gives them; nan where a label is missing.
            known: Number of known labels of each property in the batch that these networks are a part of; the losses
                of the parts add up to that of the batch. None for a batch of its own.

        Returns:
            The loss; 0, with a gradient of 0, where no label is known.
        """
        total = outputs.float().sum() * 0.0
        for column, (p, where) in enumerate(zip(self.properties, self.slices, strict=True)):
            target = targets[:, column]
            is_known = ~target.isnan()
            weight = is_known.float() / (is_known.sum() if known is None else known[column]).clamp(min=1)
            target = target.nan_to_num(p.mean)  # weighted by 0 below; nan * 0 would be nan
            output = outputs[:, where].float()
            if p.kind == "fraction":
                losses = F.binary_cross_entropy_with_logits(output[:, 0], target, reduction="none")
            elif p.kind == "class":
                losses = F.cross_entropy(output, target.long(), reduction="none")
            else:
                losses = F.mse_loss(output[:, 0], (target - p.mean) / p.std, reduction="none")
            if self.rank_weight and p.kind != "class":
                rank = outputs[:, self.num_outputs + column].float()
                rank_losses = F.binary_cross_entropy_with_logits(rank, p.ranks(target), reduction="none")
                losses = (1 - self.rank_weight) * losses + self.rank_weight * rank_losses
            total = total + (losses * weight).sum()
        return total
