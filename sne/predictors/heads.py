"""Heads: from a network's embedding to its properties."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sne.predictors.properties import Property


class PropertyHeads(nn.Module):
    """A hidden layer that all properties share, then one linear output each.

    A fraction has one output, a logit, trained with a binary cross-entropy on the soft target; a real value
    has one output on the standardised scale, trained with squared error or Huber's loss; a class property has
    one logit a class, trained with cross-entropy. Missing labels take no part.

    Args:
        dim: length of an embedding.
        properties: what to predict, in this order.
        hidden: width of the hidden layer; 0 for a linear map.
        dropout: share of embedding entries dropped while training.
        huber_delta: where Huber's loss turns linear, in standard deviations of the labels; 0: squared error.
        rank_weight: share of the loss that a second output takes, which predicts the rank of a number among the
            training labels (cross-entropy on the soft target `Property.ranks`). It serves training alone: labels
            that crowd together, as accuracies near chance or near the best do, count as much as the others.

    Source: Andreis et al., arXiv 2305.16625, section 4 (soft binary cross-entropy for accuracies).
    Differs: several properties at once, missing labels; the paper's head is not specified.
    """

    def __init__(
        self,
        dim: int,
        properties: Sequence[Property],
        *,
        hidden: int = 0,
        dropout: float = 0.0,
        huber_delta: float = 0.0,
        rank_weight: float = 0.0,
    ):
        super().__init__()
        self.properties = tuple(properties)
        self._settings = {"hidden": hidden, "dropout": dropout, "huber_delta": huber_delta, "rank_weight": rank_weight}
        self.huber_delta = huber_delta
        self.rank_weight = rank_weight
        self.num_outputs = sum(p.num_outputs for p in self.properties)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.GELU()) if hidden else nn.Identity()
        self.output = nn.Linear(hidden or dim, self.num_outputs)
        self.slices: list[slice] = []
        start = 0
        for p in self.properties:
            self.slices.append(slice(start, start + p.num_outputs))
            start += p.num_outputs
        self.rank_output = nn.Linear(hidden or dim, len(self.properties)) if rank_weight else None

    def settings(self) -> dict[str, Any]:
        """The keyword arguments beside `dim` and `properties`, as plain JSON values."""
        return dict(self._settings)

    def forward(self, embedding: Float[Tensor, "networks dim"]) -> Float[Tensor, "networks raw"]:
        """Raw outputs: logits and standardised values, side by side in the order of the properties; then ranks."""
        hidden = self.hidden(self.dropout(embedding))
        if self.rank_output is None:
            return self.output(hidden)
        return torch.cat([self.output(hidden), self.rank_output(hidden)], dim=1)

    def values(self, outputs: Float[Tensor, "networks raw"]) -> Float[Tensor, "networks values"]:
        """Outputs in the properties' own units: fractions, real values, class probabilities.

        Members of an ensemble are averaged on this scale.
        """
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
        self, outputs: Float[Tensor, "networks raw"], targets: Float[Tensor, "networks properties"]
    ) -> Float[Tensor, ""]:
        """Sum over the properties of the mean loss over networks whose label is known.

        Args:
            outputs: what `forward` gave.
            targets: what `Property.encode` gave, one column a property; nan where missing.

        Returns:
            The loss; 0, with a gradient of 0, where no label is known.
        """
        total = outputs.float().sum() * 0.0
        for column, (p, where) in enumerate(zip(self.properties, self.slices, strict=True)):
            target = targets[:, column]
            known = ~target.isnan()
            weight = known.float() / known.sum().clamp(min=1)
            target = target.nan_to_num(p.mean)  # weighted by 0 below; nan * 0 would be nan
            output = outputs[:, where].float()
            if p.kind == "fraction":
                losses = F.binary_cross_entropy_with_logits(output[:, 0], target, reduction="none")
            elif p.kind == "class":
                losses = F.cross_entropy(output, target.long(), reduction="none")
            else:
                standardised = (target - p.mean) / p.std
                losses = (
                    F.huber_loss(output[:, 0], standardised, delta=self.huber_delta, reduction="none")
                    if self.huber_delta
                    else F.mse_loss(output[:, 0], standardised, reduction="none")
                )
            if self.rank_weight and p.kind != "class":
                rank = outputs[:, self.num_outputs + column].float()
                rank_losses = F.binary_cross_entropy_with_logits(rank, p.ranks(target), reduction="none")
                losses = (1 - self.rank_weight) * losses + self.rank_weight * rank_losses
            total = total + (losses * weight).sum()
        return total
