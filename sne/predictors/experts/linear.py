"""The linear expert: ridge or logistic regression on the description of a network."""

from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import PredictorError
from sne.predictors.experts.contract import Outputs
from sne.predictors.experts.description import PropertywiseExpert
from sne.predictors.properties import Property

PENALTIES = np.logspace(0, 5, 11)
"""Ridge penalties that leave-one-out errors choose from."""
INVERSE_PENALTY = 0.01
"""Inverse penalty of the logistic regression for classes."""
LARGEST = 5.0
"""Standardised features are clipped here, so that one odd entry cannot decide a prediction."""


@final
class LinearExpert(PropertywiseExpert):
    """A linear model on standardised features: ridge regression on ranks, or multinomial logistic regression.

    Source: Hoerl and Kennard, "Ridge regression", Technometrics 12, 1970, as in scikit-learn.
    Differs: Numbers are learned as ranks among the training labels, as in `ForestExpert`.
    """

    parts: ClassVar[tuple[str, ...]] = ("shift", "scale", "weight", "bias")

    def fit_property(
        self,
        prop: Property,
        rows: Float[np.ndarray, "rows features"],
        targets: Float[np.ndarray, " rows"],
        seed: int,
    ) -> dict[str, Tensor]:
        """Fits the linear model of one property."""
        from sklearn.linear_model import LogisticRegression, RidgeCV  # slow to import

        known = ~np.isnan(targets)
        chosen = torch.from_numpy(rows[known]).double()
        shift = chosen.mean(0) if len(chosen) else torch.zeros(rows.shape[1], dtype=torch.float64)
        scale = chosen.std(0, unbiased=False) if len(chosen) else torch.zeros_like(shift)
        scale = torch.where(scale > 1e-9 * (1 + shift.abs()), scale, torch.inf)  # constant features do not count
        weight = torch.zeros(prop.num_outputs, rows.shape[1], dtype=torch.float64)
        bias = torch.full((prop.num_outputs,), 0.0 if prop.kind == "class" else 0.5, dtype=torch.float64)
        labels = np.unique(targets[known])
        features = _standardise(chosen, shift, scale).numpy()
        if prop.kind == "class" and len(labels) > 1:
            model = LogisticRegression(C=INVERSE_PENALTY, max_iter=500).fit(features, targets[known].astype(np.int64))
            coefficients, intercepts = model.coef_, model.intercept_
            if len(labels) == 2:  # scikit-learn keeps the second class alone
                coefficients, intercepts = (np.concatenate([0 * part, part]) for part in (coefficients, intercepts))
            bias.fill_(-torch.inf)
            numbers = torch.from_numpy(model.classes_)
            weight[numbers], bias[numbers] = torch.from_numpy(coefficients), torch.from_numpy(intercepts)
        elif prop.kind == "class" and len(labels):
            bias.fill_(-torch.inf)
            bias[int(labels[0])] = 0
        elif len(labels):
            ranks = prop.ranks(torch.from_numpy(targets[known])).numpy()
            ridge = RidgeCV(alphas=PENALTIES).fit(features, ranks)
            weight[0], bias[0] = torch.from_numpy(ridge.coef_), float(ridge.intercept_)
        bias = bias.clamp_min(-1e4)  # finite, as everything in a predictor's file is
        return {"shift": shift, "scale": scale.clamp_max(1e30), "weight": weight, "bias": bias}

    def read_property(self, prop: Property, tensors: dict[str, Tensor], num_features: int) -> dict[str, Tensor]:
        """Returns the tensors after checking their shapes."""
        shapes = {"weight": (prop.num_outputs, num_features), "bias": (prop.num_outputs,)}
        for name, tensor in tensors.items():
            expected = shapes.get(name, (num_features,))
            if tuple(tensor.shape) != expected or tensor.dtype != torch.float64:
                raise PredictorError(f"{name} has shape {tuple(tensor.shape)} {tensor.dtype}, expected {expected}")
        return tensors

    def predict_property(
        self, prop: Property, rows: Float[Tensor, "rows features"], learned: dict[str, Tensor]
    ) -> Outputs:
        """Applies the linear model."""
        features = _standardise(rows.double(), learned["shift"], learned["scale"])
        outputs = features @ learned["weight"].T + learned["bias"]
        return Outputs(outputs.softmax(1) if prop.kind == "class" else prop.at_ranks(outputs.clamp(0, 1)))


def _standardise(
    rows: Float[Tensor, "rows features"], shift: Float[Tensor, " features"], scale: Float[Tensor, " features"]
) -> Float[Tensor, "rows features"]:
    return (rows - shift).div_(scale).clamp_(-LARGEST, LARGEST)
