"""The boosting expert: gradient-boosted trees on the description of a network."""

from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import PredictorError
from sne.predictors.experts.contract import Outputs
from sne.predictors.experts.description import PropertywiseExpert
from sne.predictors.experts.trees import LEAF, TreeNodes, Trees, join_trees, single_leaf
from sne.predictors.properties import Property

TREE_TENSORS = tuple(Trees.__dataclass_fields__)
NEVER = -1e4
"""Logit of a class that no training network had."""


@final
class BoostingExpert(PropertywiseExpert):
    """Gradient-boosted trees on binned features, one ensemble per property, on the values themselves.

    Source: Ke et al., "LightGBM: A highly efficient gradient boosting decision tree", NeurIPS 2017, as in
        scikit-learn's histogram-based gradient boosting.
    Differs: nothing; scikit-learn's default settings.
    """

    parts: ClassVar[tuple[str, ...]] = (*TREE_TENSORS, "start")

    def fit_property(
        self,
        prop: Property,
        rows: Float[np.ndarray, "rows features"],
        targets: Float[np.ndarray, " rows"],
        seed: int,
    ) -> dict[str, Tensor]:
        """Boosts the trees of one property; the trees add up to its value, or to the logits of its classes."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor  # slow to import

        known = ~np.isnan(targets)
        values = targets[known]
        if len(np.unique(values)) < 2:
            return _constant(prop, values)
        kind: Any = HistGradientBoostingClassifier if prop.kind == "class" else HistGradientBoostingRegressor
        model = kind(random_state=seed % 2**32).fit(rows[known], values)
        start = np.zeros(prop.num_outputs)
        columns = [0]
        if prop.kind == "class":
            start[:] = NEVER
            columns = [int(number) for number in model.classes_]
            start[columns] = 0
            if len(columns) == 2:  # one logit, that of the second class
                columns = columns[1:]
        start[columns] = model._baseline_prediction.ravel()
        trees = [
            _nodes(tree.nodes, column, prop.num_outputs)
            for step in model._predictors
            for column, tree in zip(columns, step, strict=True)
        ]
        return {**join_trees(trees).to_tensors(), "start": torch.from_numpy(start)}

    def read_property(self, prop: Property, tensors: dict[str, Tensor], num_features: int) -> tuple[Trees, Tensor]:
        """Returns the trees and the start, after checking that every row comes to a leaf."""
        trees = Trees.from_tensors({name: tensors[name] for name in TREE_TENSORS}, num_features, prop.num_outputs)
        start = tensors["start"]
        if tuple(start.shape) != (prop.num_outputs,):
            raise PredictorError(f"start has shape {tuple(start.shape)}, expected ({prop.num_outputs},)")
        return trees, start

    def predict_property(
        self, prop: Property, rows: Float[Tensor, "rows features"], learned: tuple[Trees, Tensor]
    ) -> Outputs:
        """Adds up the trees."""
        trees, start = learned
        outputs = trees.leaf_outputs(rows).double().sum(1) + start
        if prop.kind == "class":
            return Outputs(outputs.softmax(1))
        return Outputs(outputs.clamp(0, 1) if prop.kind == "fraction" else outputs)


def _constant(prop: Property, values: np.ndarray) -> dict[str, Tensor]:
    """Makes trees that always give the one known label, the mean where there is none, or equal probabilities."""
    start = torch.full((prop.num_outputs,), prop.mean, dtype=torch.float64)
    if prop.kind == "class":
        start.fill_(NEVER if len(values) else 0)
    if len(values):
        number, value = (int(values[0]), 0.0) if prop.kind == "class" else (0, float(values[0]))
        start[number] = value
    return {**single_leaf([0.0] * prop.num_outputs).to_tensors(), "start": start}


def _nodes(nodes: np.ndarray, column: int, num_outputs: int) -> TreeNodes:
    """Reads a tree of scikit-learn's histogram-based boosting, whose leaves add to one output."""
    outputs = np.zeros((len(nodes), num_outputs))
    outputs[:, column] = nodes["value"]
    is_leaf = nodes["is_leaf"].astype(bool)
    children = np.stack([nodes["left"], nodes["right"]], 1).astype(np.int64)
    return TreeNodes(
        np.where(is_leaf, LEAF, nodes["feature_idx"]).astype(np.int64),
        nodes["num_threshold"].astype(np.float64),
        children,
        outputs,
    )
