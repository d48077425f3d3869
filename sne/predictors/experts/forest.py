"""The forest expert: extremely randomised trees on the description of a network."""

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.predictors.experts.contract import Examples, FitContext, Fold, Outputs
from sne.predictors.experts.description import PropertywiseExpert
from sne.predictors.experts.settings import TrainingSettings
from sne.predictors.experts.trees import LEAF, TreeNodes, Trees, join_trees, single_leaf
from sne.predictors.properties import Property

LEAVES = 2000
"""Approximate number of leaves per tree at most, so that a predictor of a large zoo stays small."""
REFITTED = 2
"""Factor on the number of trees of the forest that learns from all networks; with it, one forest is as good as those
of five folds together."""
TAIL = 0.2
"""Share of trees below the range of a value, and above it (docs/predictions.md)."""


@final
class ForestExpert(PropertywiseExpert):
    """Extremely randomised trees, one forest per property.

    Numbers are learned as ranks among the training labels: labels that crowd together (accuracies near chance) then
    count as much as the others, and values outside the training labels cannot be predicted.

    Source: Geurts et al., "Extremely randomized trees", Machine Learning 63, 2006, as in scikit-learn.
    Differs: Leaves hold at least 3 networks, and 3 of 10 features are tried per split; both were chosen out of fold
        (docs/default-encoder.md).
    """

    is_refitted: ClassVar[bool] = True
    parts: ClassVar[tuple[str, ...]] = tuple(Trees.__dataclass_fields__)

    def __init__(self, properties: Sequence[Property], training: TrainingSettings | None = None):
        super().__init__(properties, training)
        self._trees = self.training.trees

    def fit(self, examples: Examples, fold: Fold, context: FitContext) -> None:
        """Grows the forests of all properties; twice as many trees where no network is held out."""
        self._trees = self.training.trees * (1 if len(fold.held_out) else REFITTED)
        super().fit(examples, fold, context)

    def trees_of(self, name: str) -> Trees:
        """Returns the trees of one property."""
        return self._learned[[prop.name for prop in self.properties].index(name)]

    def fit_property(
        self,
        prop: Property,
        rows: Float[np.ndarray, "rows features"],
        targets: Float[np.ndarray, " rows"],
        seed: int,
    ) -> dict[str, Tensor]:
        """Grows the forest of one property."""
        return grow_forest(
            prop,
            rows,
            targets,
            trees=self._trees,
            least_in_leaf=self.training.least_in_leaf,
            share_of_features=self.training.share_of_features,
            seed=seed,
        ).to_tensors()

    def read_property(self, prop: Property, tensors: dict[str, Tensor], num_features: int) -> Trees:
        """Returns the trees, after checking that every row comes to a leaf."""
        return Trees.from_tensors(tensors, num_features, prop.num_outputs)

    def predict_property(self, prop: Property, rows: Float[Tensor, "rows features"], learned: Trees) -> Outputs:
        """Averages the leaves over the trees; the range of a number leaves out a share of the trees on either side."""
        leaves = learned.leaf_outputs(rows)
        if prop.kind == "class":
            return Outputs(leaves.mean(1))
        in_order = torch.from_numpy(
            np.sort(leaves[:, :, 0].contiguous().numpy(), axis=1)[:, :, None]
        )  # faster than torch's sort
        left_out = int(TAIL * leaves.shape[1])
        ranks = torch.stack((leaves.mean(1), in_order[:, left_out], in_order[:, -1 - left_out]))
        values, low, high = prop.at_ranks(ranks)
        return Outputs(values, low=low, high=high)


def grow_forest(
    prop: Property,
    rows: Float[np.ndarray, "rows features"],
    targets: Float[np.ndarray, " rows"],
    *,
    trees: int,
    least_in_leaf: int = 3,
    share_of_features: float = 0.3,
    seed: int,
) -> Trees:
    """Grows extremely randomised trees for one property.

    Args:
        prop: The property.
        rows: Descriptions of the training networks.
        targets: Their labels as `Property.encode` gives them; rows without one (nan) take no part.
        trees: Number of trees.
        least_in_leaf: Smallest number of networks in a leaf; more where a tree would have more than about `LEAVES`.
        share_of_features: Share of the features that are tried per split.
        seed: Random seed.

    Returns:
        Trees whose mean is a rank among the training labels (see `Property.at_ranks`), or class probabilities. Without
        any label: the middle rank, or equal probabilities.
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor  # slow to import

    known = ~np.isnan(targets)
    if not known.any():
        return single_leaf([1 / prop.num_outputs] * prop.num_outputs if prop.kind == "class" else [0.5])
    rows, targets = rows[known], targets[known]
    settings: dict[str, Any] = {
        "n_estimators": trees,
        "min_samples_leaf": max(least_in_leaf, len(rows) // LEAVES),
        "max_features": share_of_features,
        "random_state": seed % 2**32,
        "n_jobs": torch.get_num_threads(),
    }
    if prop.kind == "class":
        model: Any = ExtraTreesClassifier(**settings).fit(rows, targets.astype(np.int64))
        columns = model.classes_.tolist()
    else:
        model = ExtraTreesRegressor(**settings).fit(rows, prop.ranks(torch.from_numpy(targets)).numpy())
        columns = [0]
    return join_trees([tree_nodes(tree.tree_, columns, prop.num_outputs) for tree in model.estimators_])


def tree_nodes(tree: Any, columns: list[int], num_outputs: int) -> TreeNodes:
    """Reads a tree of scikit-learn.

    Args:
        tree: The `tree_` of an estimator.
        columns: The outputs that it knows, among `num_outputs`.
        num_outputs: Number of outputs of the result.
    """
    outputs = np.zeros((tree.node_count, num_outputs))
    outputs[:, columns] = tree.value[:, 0]
    children = np.stack([tree.children_left, tree.children_right], 1).astype(np.int64)
    feature = np.where(children[:, 0] != LEAF, tree.feature, LEAF).astype(np.int64)
    return TreeNodes(feature, tree.threshold, children, outputs)
