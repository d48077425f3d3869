"""Growing the trees that stand beside the heads, and finding what share they get."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sne.predictors import Forest, Property
from sne.predictors.forest import LEAF, floats_below

LEAST_IN_A_LEAF = 3
SHARE_OF_FEATURES = 0.3
LEAVES = 2000
"""About so many leaves a tree at most, so that a predictor of a large zoo stays small."""


def grow(
    rows: Float[np.ndarray, "rows features"],
    targets: Float[np.ndarray, " rows"],
    prop: Property,
    *,
    trees: int,
    seed: int,
) -> Forest:
    """Grows extremely randomised trees for one property.

    Args:
        rows: what `NetworkEncoder.summarize` says of the training networks.
        targets: their labels as `Property.encode` gives them; rows without one (nan) take no part.
        prop: the property. Numbers are learned as ranks among the training labels, which labels that crowd together
            (accuracies near chance) and trees that meet other networks than they know both ask for.
        trees: how many.
        seed: of the draws.

    Returns:
        The forest: of numbers it gives ranks, see `Property.at_ranks`; of classes probabilities. Without any label it
        gives the middle rank, or all classes alike.

    Source: Geurts et al., "Extremely randomized trees", Machine Learning 63, 2006, as in scikit-learn.
    Differs: leaves of at least 3 networks and 3 of 10 features a split, chosen out of fold (docs/default-encoder.md).
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor  # slow to import

    known = ~np.isnan(targets)
    if not known.any():
        forest = Forest(1, 1, rows.shape[1], prop.num_outputs)
        forest.outputs.fill_(1 / prop.num_outputs if prop.kind == "class" else 0.5)
        return forest
    rows, targets = rows[known], targets[known]
    settings: dict[str, Any] = {
        "n_estimators": trees,
        "min_samples_leaf": max(LEAST_IN_A_LEAF, len(rows) // LEAVES),
        "max_features": SHARE_OF_FEATURES,
        "random_state": seed % 2**32,
        "n_jobs": torch.get_num_threads(),
    }
    if prop.kind == "class":
        model: Any = ExtraTreesClassifier(**settings).fit(rows, targets.astype(np.int64))
        columns = model.classes_.tolist()
    else:
        model = ExtraTreesRegressor(**settings).fit(rows, prop.ranks(torch.from_numpy(targets)).numpy())
        columns = [0]
    return _as_tensors([tree.tree_ for tree in model.estimators_], columns, prop.num_outputs)


def _as_tensors(trees: Sequence[Any], columns: Sequence[int], num_outputs: int) -> Forest:
    """The trees of scikit-learn, one behind the other. `columns` are the outputs that they know of."""
    counts = [tree.node_count for tree in trees]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    forest = Forest(len(trees), int(sum(counts)), int(trees[0].n_features), num_outputs)
    forest.roots.copy_(torch.from_numpy(starts))
    for tree, start, count in zip(trees, starts, counts, strict=True):
        where = slice(int(start), int(start) + count)
        is_inner = tree.children_left != LEAF
        children = np.stack([tree.children_left, tree.children_right], 1)
        forest.feature[where] = torch.from_numpy(np.where(is_inner, tree.feature, LEAF))
        forest.threshold[where] = torch.from_numpy(floats_below(tree.threshold))
        forest.below[where] = torch.from_numpy(np.where(is_inner[:, None], children + start, 0))
        forest.outputs[where, list(columns)] = torch.from_numpy(tree.value[:, 0].astype(np.float32))
    return forest


def stacked_share(
    prop: Property,
    targets: Float[np.ndarray, " rows"],
    of_heads: Float[np.ndarray, "rows outputs"],
    of_forests: Float[np.ndarray, "rows outputs"],
) -> float:
    """The share of the forests in a property's value that leaves the least squared error.

    Args:
        prop: the property.
        targets: labels as `Property.encode` gives them, of networks that neither had learned from.
        of_heads: what the heads say of them.
        of_forests: what the forests say.

    Returns:
        A number in [0, 1]; 1/2 where both say the same.

    Source: Breiman, "Stacked regressions", Machine Learning 24, 1996.
    Differs: two predictors, whose shares add up to one.
    """
    known = ~np.isnan(targets)
    labels = targets[known, None]
    if prop.kind == "class":
        labels = np.eye(prop.num_outputs)[targets[known].astype(np.int64)]
    apart = of_forests[known] - of_heads[known]
    size = float(np.square(apart).sum())
    if not size:
        return 0.5
    return float(np.clip((apart * (labels - of_heads[known])).sum() / size, 0.0, 1.0))
