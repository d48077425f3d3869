"""Ensembles of decision trees kept as tensors, and the way there from scikit-learn's trees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sne.errors import PredictorError

LEAF = -1
"""Feature number of a leaf."""

LEVELS = 4
"""Number of levels that all rows go down before those that have come to a leaf are left out."""


@dataclass(frozen=True)
class Trees:
    """Decision trees on rows of numbers.

    The nodes of all trees stand in one list, in depth-first order: the first child of an inner node follows it. Rows
    whose feature is at most the threshold continue at the first child, the others at the second. Leaves hold outputs.
    Thresholds and second children are kept for inner nodes only, outputs for leaves only.

    Args:
        roots: Node at which each tree begins.
        feature: Feature that each node compares; -1 for leaves.
        threshold: Threshold of each inner node.
        second: Second child of each inner node.
        outputs: Outputs of each leaf.
    """

    roots: Int[Tensor, " trees"]
    feature: Int[Tensor, " nodes"]
    threshold: Float[Tensor, " inner"]
    second: Int[Tensor, " inner"]
    outputs: Float[Tensor, "leaves outputs"]

    @torch.no_grad()
    def leaf_outputs(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows trees outputs"]:
        """Finds the leaf of each row in each tree and returns its outputs."""
        steps = self._steps
        values = rows.float().contiguous().numpy().reshape(-1)
        trees, (count, width) = len(self.roots), rows.shape
        leaves = np.repeat(self.roots.numpy().astype(np.int64), count)
        nodes, places, starts = leaves, np.arange(trees * count), np.tile(np.arange(count) * width, trees)
        while len(places):
            for _ in range(LEVELS):
                goes_on = values.take(starts + steps.feature.take(nodes)) > steps.threshold.take(nodes)
                nodes = steps.children.take(2 * nodes + goes_on)
            leaves[places] = nodes
            inner = np.flatnonzero(steps.is_inner.take(nodes))
            nodes, places, starts = nodes.take(inner), places.take(inner), starts.take(inner)
        found = torch.from_numpy(steps.leaf_number.take(leaves))
        return self.outputs[found].unflatten(0, (trees, count)).transpose(0, 1)

    @cached_property
    def _steps(self) -> "_Steps":
        feature = self.feature.numpy()
        is_inner = feature != LEAF
        threshold = np.full(len(feature), np.inf, dtype=np.float32)
        threshold[is_inner] = self.threshold.numpy()
        children = np.repeat(np.arange(len(feature))[:, None], 2, axis=1)
        children[is_inner] = np.stack([np.flatnonzero(is_inner) + 1, self.second.numpy()], 1)
        return _Steps(
            np.where(is_inner, feature, 0).astype(np.int64),
            threshold,
            children.ravel(),
            is_inner,
            np.cumsum(~is_inner) - 1,
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """Returns the fields by name. Inverse: `from_tensors`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], num_features: int, num_outputs: int) -> "Trees":
        """Builds trees from tensors that may come from a damaged file. Inverse: `to_tensors`.

        Args:
            tensors: The fields by name.
            num_features: Length of the rows that the trees read.
            num_outputs: Number of outputs of a leaf.

        Raises:
            PredictorError: A tensor is missing or has the wrong shape, or a row would not come to a leaf.
        """
        names = list(cls.__dataclass_fields__)
        if sorted(tensors) != sorted(names):
            raise PredictorError(f"trees hold {', '.join(sorted(tensors))}, expected {', '.join(sorted(names))}")
        trees = {name: tensors[name] for name in names}
        nodes, roots = trees["feature"].numel(), trees["roots"].numel()
        inner = int((trees["feature"] != LEAF).sum())
        shapes = {
            "roots": (roots,),
            "feature": (nodes,),
            "threshold": (inner,),
            "second": (inner,),
            "outputs": (nodes - inner, num_outputs),
        }
        for name, shape in shapes.items():
            if tuple(trees[name].shape) != shape:
                raise PredictorError(f"trees: {name} has shape {tuple(trees[name].shape)}, expected {shape}")
            if trees[name].is_floating_point() != (name in ("threshold", "outputs")):
                raise PredictorError(f"trees: {name} has dtype {trees[name].dtype}")
        if not 1 <= roots <= nodes:
            raise PredictorError(f"trees: {roots} trees of {nodes} nodes")
        checked = cls(**trees)
        checked._check_structure(num_features)
        return checked

    def _check_structure(self, num_features: int) -> None:
        is_inner = self.feature != LEAF
        features = self.feature[is_inner].long()
        first = is_inner.nonzero()[:, 0] + 1
        if len(features) and not 0 <= int(features.min()) <= int(features.max()) < num_features:
            raise PredictorError(f"trees ask for features outside 0 to {num_features - 1}")
        if (self.second <= first).any() or (self.second >= len(self.feature)).any():
            raise PredictorError("trees have children that do not stand behind their nodes")
        if int(self.roots.min()) < 0 or int(self.roots.max()) >= len(self.feature):
            raise PredictorError("trees have roots that are no nodes")
        reached = torch.cat([self.roots.long(), first, self.second.long()]).sort().values
        if not torch.equal(reached, torch.arange(len(self.feature))) or (self.roots.diff() <= 0).any():
            raise PredictorError("trees have nodes without a parent or with several, or roots out of order")


@dataclass(frozen=True)
class _Steps:
    """Trees as arrays in which leaves lead to themselves, so that all rows can go down any number of levels.

    Args:
        feature: Feature that each node compares.
        threshold: Threshold of each node; infinite for leaves, whose first child is followed.
        children: First and second child of node number n, in places 2 n and 2 n + 1.
        is_inner: Whether a node is no leaf.
        leaf_number: Number of leaves up to each node, itself included, less one.
    """

    feature: Int[np.ndarray, " nodes"]
    threshold: Float[np.ndarray, " nodes"]
    children: Int[np.ndarray, " nodes2"]
    is_inner: Bool[np.ndarray, " nodes"]
    leaf_number: Int[np.ndarray, " nodes"]


@dataclass(frozen=True)
class TreeNodes:
    """The nodes of one tree as arrays, in the order of scikit-learn: depth first, the first child after its node.

    Args:
        feature: Feature that each node compares; -1 for leaves.
        threshold: Threshold of each node in double precision.
        children: The two children of each node, counted from the root.
        outputs: Outputs of each node.
    """

    feature: Int[np.ndarray, " nodes"]
    threshold: Float[np.ndarray, " nodes"]
    children: Int[np.ndarray, "nodes 2"]
    outputs: Float[np.ndarray, "nodes outputs"]


def join_trees(trees: Sequence[TreeNodes]) -> Trees:
    """Joins single trees into one ensemble.

    Raises:
        ValueError: The nodes of a tree are not in depth-first order.
    """
    counts = [len(tree.feature) for tree in trees]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    parts: dict[str, list[np.ndarray]] = {"feature": [], "threshold": [], "second": [], "outputs": []}
    narrow = all(tree.feature.max(initial=LEAF) <= np.iinfo(np.int16).max for tree in trees)
    for tree, start in zip(trees, starts, strict=True):
        is_inner = tree.feature != LEAF
        inner = np.flatnonzero(is_inner)
        if (tree.children[inner, 0] != inner + 1).any():
            raise ValueError("the nodes of a tree are not in depth-first order")
        parts["feature"].append(tree.feature.astype(np.int16 if narrow else np.int32))
        parts["threshold"].append(floats_below(tree.threshold[inner]).astype(np.float32))
        parts["second"].append((tree.children[inner, 1] + start).astype(np.int32))
        parts["outputs"].append(tree.outputs[~is_inner].astype(np.float32))
    joined: dict[str, Any] = {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in parts.items()}
    return Trees(roots=torch.from_numpy(starts.astype(np.int32)), **joined)


def single_leaf(outputs: Sequence[float]) -> Trees:
    """Makes one tree that gives the same outputs for every row."""
    nothing = np.zeros(1, dtype=np.int64)
    leaf = TreeNodes(nothing + LEAF, np.zeros(1), np.zeros((1, 2), dtype=np.int64), np.array([outputs], dtype=float))
    return join_trees([leaf])


def floats_below(thresholds: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Rounds float64 thresholds down to float32.

    A float32 value is at most the result exactly where it is at most the threshold, so trees compare single-precision
    rows as scikit-learn does in double precision.
    """
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
