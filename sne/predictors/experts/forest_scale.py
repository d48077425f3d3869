"""What a forest knows about features: how much each one matters, and where its values make a difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.predictors.experts.kernel import QUANTILES, normal_scores
from sne.predictors.experts.trees import LEAF, Trees

LARGEST_WEIGHT = 5.0
"""Bound on the weight of a feature, whose mean square over all features is 1."""


@final
@dataclass(frozen=True)
class ForestScale:
    """Features on the scale of a forest: normal scores among its thresholds, times the importance of each feature.

    Distances on this scale are large where the forest tells networks apart.

    Args:
        columns: Features that the forest compares, in ascending order.
        knots: Quantiles of the thresholds of each of these features.
        weights: Square root of the importance of each of these features, that of all features being 1 on average.
    """

    columns: Int[Tensor, " used"]
    knots: Float[Tensor, "used levels"]
    weights: Float[Tensor, " used"]

    @classmethod
    def of(cls, trees: Trees, num_features: int) -> "ForestScale":
        """Computes the scale of a forest that reads rows of some length; features with one threshold are left out."""
        is_inner = trees.feature.numpy() != LEAF
        feature, threshold = trees.feature.numpy()[is_inner].astype(np.int64), trees.threshold.numpy()
        importance = np.bincount(feature, split_gains(trees), minlength=num_features)
        order = np.lexsort((threshold, feature))
        counts = np.bincount(feature, minlength=num_features)
        starts = np.cumsum(counts) - counts
        columns = np.flatnonzero((counts > 1) & (importance > 0))
        places = starts[columns, None] + np.linspace(0, 1, QUANTILES) * (counts[columns, None] - 1)
        left = np.floor(places).astype(np.int64)
        ordered = threshold[order].astype(np.float64)
        right = np.minimum(left + 1, (starts + counts - 1)[columns, None])
        knots = ordered[left] + (places - left) * (ordered[right] - ordered[left])
        mean = max(float(importance.mean()), 1e-30)
        weights = np.sqrt(importance[columns] / mean).clip(0, LARGEST_WEIGHT)
        kept = knots[:, -1] > knots[:, 0]
        return cls(
            torch.from_numpy(columns[kept]),
            torch.from_numpy(knots[kept]).float(),
            torch.from_numpy(weights[kept]).float(),
        )

    def apply(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows used"]:
        """Returns the features that the forest compares on its scale."""
        return normal_scores(rows[:, self.columns], self.knots) * self.weights


def split_gains(trees: Trees) -> Float[np.ndarray, " inner"]:
    """Computes by how much each split lowers the variance within the nodes of its tree, in order of the inner nodes.

    Leaves of a grown forest hold about the same number of networks, so that leaves are counted instead.

    Args:
        trees: The trees.

    Returns:
        The share of the tree's leaves on either side, times the squared distance of their mean output from that of the
        node, added up over the two sides and over outputs.
    """
    is_leaf = trees.feature.numpy() == LEAF
    before = np.concatenate([[0], np.cumsum(is_leaf)])  # number of leaves before each node
    outputs = trees.outputs.double().numpy()
    sums = np.concatenate([np.zeros((1, outputs.shape[1])), np.cumsum(outputs, axis=0)])
    ends, sizes = _ends(trees)
    inner, second = np.flatnonzero(~is_leaf), trees.second.numpy().astype(np.int64)

    def count_and_mean(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, last = before[start], before[end]
        return last - first, (sums[last] - sums[first]) / np.maximum(last - first, 1)[:, None]

    _, own = count_and_mean(inner, ends[inner])
    gains = np.zeros(len(inner))
    for start, end in ((inner + 1, second), (second, ends[inner])):
        count, mean = count_and_mean(start, end)
        gains += count / sizes[inner] * np.square(mean - own).sum(1)
    return gains


def _ends(trees: Trees) -> tuple[Int[np.ndarray, " nodes"], Int[np.ndarray, " nodes"]]:
    """Returns the node behind the last one below each node, and the number of leaves of its tree."""
    nodes = len(trees.feature)
    is_inner = trees.feature.numpy() != LEAF
    second = np.zeros(nodes, dtype=np.int64)
    second[is_inner] = trees.second.numpy()
    roots = trees.roots.numpy().astype(np.int64)
    ends, sizes = np.zeros(nodes, dtype=np.int64), np.ones(nodes, dtype=np.int64)
    behind = np.append(roots[1:], nodes)
    ends[roots] = behind
    leaves = np.concatenate([[0], np.cumsum(~is_inner)])
    sizes[roots] = leaves[behind] - leaves[roots]
    level: Sequence[int] | np.ndarray = roots[is_inner[roots]]
    while len(level):
        first, other = level + 1, second[level]
        ends[first], ends[other] = other, ends[level]
        sizes[first] = sizes[other] = sizes[level]
        below = np.concatenate([first, other])
        level = below[is_inner[below]]
    return ends, sizes
