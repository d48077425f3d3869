"""The within-family expert: ridge regression on how networks differ from others of their family."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.predictors.experts.contract import (
    Examples,
    FitContext,
    Fold,
    Outputs,
    Prepared,
    check_names,
    check_tensor,
    description_rows,
    spaced,
)
from sne.predictors.experts.description import DescriptionExpert
from sne.predictors.experts.regression import (
    goal_without_labels,
    regression_goals,
    regression_values,
)
from sne.predictors.experts.settings import TrainingSettings
from sne.predictors.properties import Property, num_outputs, output_slices

PENALTY = 3.0
"""Weight of the penalty per training network, chosen on families that were left out (docs/default-encoder.md)."""

EDGE = 0.02
"""Share of the training networks beyond the bounds of each feature, on either side."""

SMALLEST_SPREAD = 1e-6
"""Features that vary less among the training networks are constant."""

MOST_ROWS = 20_000
"""Largest number of training networks; from larger sets, this many are taken at equal distances."""

TENSOR_NAMES = ("shift", "gain", "low", "high", "weight", "bias")
"""Names of the tensors that it learns."""


@final
class WithinFamilyExpert(DescriptionExpert):
    """Ridge regression on differences within families, all properties at once.

    Features and goals are taken relative to their means in each family. What distinguishes families from each other,
    such as sizes and layer types, therefore has no influence on the coefficients, and what is learned holds in all
    families at once. Of a family that it has not learned from, it assumes the mean of the training networks. Features
    beyond the range of the training networks count as its ends.

    Numbers are learned as ranks among the training labels, classes as one number per class.

    Args:
        properties: Properties to predict, in order.
        training: How it is trained; nothing of it concerns this expert.

    Source: Mundlak, "On the pooling of time series and cross section data", Econometrica 46, 1978, sec. 2 (the within
        estimator); Hoerl and Kennard, "Ridge regression", Technometrics 12, 1970, for the penalty.
    Differs: The penalty grows with the number of networks, since the error on a new family does not vanish with more
        networks of known ones.
    """

    is_refitted: ClassVar[bool] = True
    compares_families: ClassVar[bool] = True

    def __init__(self, properties: Sequence[Property], training: TrainingSettings | None = None):
        super().__init__(properties, training)
        self._tensors: dict[str, Tensor] = {}

    def fit(self, examples: Examples, fold: Fold, context: FitContext) -> None:
        """Solves for one coefficient per feature and output."""
        learned = examples.take(fold.train[spaced(len(fold.train), MOST_ROWS)])
        rows = description_rows(learned.prepared).double()
        families = np.zeros(len(rows), dtype=np.int64) if learned.families is None else learned.families
        self._tensors = _scale(rows)
        scaled = _scaled(rows, self._tensors)
        weight = torch.zeros(num_outputs(self.properties), rows.shape[1], dtype=torch.float64)
        bias = torch.zeros(len(weight), dtype=torch.float64)
        for column, (prop, where) in enumerate(zip(self.properties, output_slices(self.properties), strict=True)):
            context.on_progress(column, len(self.properties), "properties")
            labels = learned.targets[:, column].double()
            known = (~labels.isnan()).nonzero()[:, 0]
            if not len(known):
                bias[where] = goal_without_labels(prop)
                continue
            goals = regression_goals(prop, labels[known])
            weight[where] = within_coefficients(scaled[known], goals, families[known.numpy()], PENALTY * len(known))
            bias[where] = goals.mean(0) - weight[where] @ scaled[known].mean(0)
        context.on_progress(len(self.properties), len(self.properties), "properties")
        self.num_features = rows.shape[1]
        self._tensors |= {"weight": weight, "bias": bias}

    @torch.no_grad()
    def predict(self, prepared: Prepared) -> Outputs:
        """Predicts every property."""
        rows = description_rows(prepared, self.num_features)
        raw = _scaled(rows.double(), self._tensors) @ self._tensors["weight"].T + self._tensors["bias"]
        return Outputs(regression_values(self.properties, raw))

    def state(self) -> dict[str, Tensor]:
        """Returns coefficients, and scale and bounds of the features."""
        return dict(self._tensors)

    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over the tensors after checking them."""
        check_names(tensors, TENSOR_NAMES)
        outputs = num_outputs(self.properties)
        shapes = {"weight": (outputs, self.num_features), "bias": (outputs,)}
        for name in TENSOR_NAMES:
            shape = shapes.get(name, (self.num_features,))
            check_tensor("within-family", name, tensors[name], shape, torch.float64)
        self._tensors = {name: tensors[name].contiguous() for name in TENSOR_NAMES}


def within_coefficients(
    rows: Float[Tensor, "rows features"],
    goals: Float[Tensor, "rows outputs"],
    families: Int[np.ndarray, " rows"],
    penalty: float,
) -> Float[Tensor, "outputs features"]:
    """Computes the ridge regression of goals on features, both relative to their means in each family.

    Args:
        rows: Features.
        goals: What is to be predicted.
        families: Number of the family of each row.
        penalty: Weight of the sum of squared coefficients.
    """
    rows, goals = rows.clone(), goals.clone()
    for family in np.unique(families):
        mine = torch.from_numpy(families == family)
        rows[mine] -= rows[mine].mean(0)
        goals[mine] -= goals[mine].mean(0)
    if len(rows) < rows.shape[1]:
        inner = rows @ rows.T + penalty * torch.eye(len(rows), dtype=rows.dtype)
        return (rows.T @ torch.linalg.solve(inner, goals)).T
    inner = rows.T @ rows + penalty * torch.eye(rows.shape[1], dtype=rows.dtype)
    return torch.linalg.solve(inner, rows.T @ goals).T


def _scale(rows: Float[Tensor, "rows features"]) -> dict[str, Tensor]:
    """Returns mean, one over the spread, and bounds of each feature; constant features do not count."""
    spread = rows.std(0, unbiased=False)
    is_constant = spread <= SMALLEST_SPREAD * (1 + rows.abs().amax(0))
    low, high = torch.from_numpy(np.quantile(rows.numpy(), (EDGE, 1 - EDGE), axis=0))
    gain = torch.where(is_constant, 0, 1 / spread.clamp_min(1e-30))
    return {"shift": rows.mean(0), "gain": gain, "low": low, "high": high}


def _scaled(rows: Float[Tensor, "rows features"], scale: Mapping[str, Tensor]) -> Float[Tensor, "rows features"]:
    return (rows.clamp(scale["low"], scale["high"]) - scale["shift"]).mul_(scale["gain"])
