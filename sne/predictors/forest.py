"""A forest of trees on plain numbers that describe a network, kept as tensors."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

LEAF = -1


class Forest(nn.Module):
    """Trees that are averaged. They learn nothing here: `grow` of `sne.training.forests` makes them.

    Nodes of all trees stand in one list, a node before its children. At a node, rows whose feature is at most the
    threshold go to the first child, others to the second; a leaf (`feature` is -1) holds outputs.

    Args:
        num_trees: trees, at least one.
        num_nodes: nodes of all trees together.
        num_features: length of a row.
        num_outputs: numbers a leaf holds.
    """

    roots: Tensor
    feature: Tensor
    threshold: Tensor
    below: Tensor
    outputs: Tensor

    def __init__(self, num_trees: int, num_nodes: int, num_features: int, num_outputs: int) -> None:
        super().__init__()
        if not 1 <= num_trees <= num_nodes or num_features < 1 or num_outputs < 1:
            raise ValueError(
                f"a forest of {num_trees} trees, {num_nodes} nodes, {num_features} features, {num_outputs} outputs"
            )
        self.num_features = num_features
        self.register_buffer("roots", torch.zeros(num_trees, dtype=torch.int32))
        self.register_buffer("feature", torch.full((num_nodes,), LEAF, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(num_nodes))
        self.register_buffer("below", torch.zeros(num_nodes, 2, dtype=torch.int32))
        self.register_buffer("outputs", torch.zeros(num_nodes, num_outputs))

    def settings(self) -> dict[str, int]:
        """The constructor's keyword arguments."""
        return {
            "num_trees": len(self.roots),
            "num_nodes": len(self.feature),
            "num_features": self.num_features,
            "num_outputs": self.outputs.shape[1],
        }

    def check(self) -> None:
        """Makes sure that every row comes to a leaf, whatever file the trees were read from.

        Raises:
            ValueError: a node, or a feature, that there is not, or a child that stands before its node.
        """
        nodes = torch.arange(len(self.feature), device=self.feature.device)
        inner = self.feature != LEAF
        features, below = self.feature[inner], self.below[inner]
        if len(features) and not 0 <= int(features.min()) <= int(features.max()) < self.num_features:
            raise ValueError(f"trees ask for features outside 0 to {self.num_features - 1}")
        if (below <= nodes[inner, None]).any() or (below >= len(nodes)).any():
            raise ValueError("trees have children that do not stand behind their nodes")
        if int(self.roots.min()) < 0 or int(self.roots.max()) >= len(nodes):
            raise ValueError("trees have roots that are no nodes")

    @torch.no_grad()
    def forward(self, rows: Float[Tensor, "rows features"]) -> Float[Tensor, "rows outputs"]:
        """The mean over all trees of the leaf that each row comes to."""
        if rows.shape[1] != self.num_features:
            raise ValueError(f"rows have {rows.shape[1]} features, the forest asks for {self.num_features}")
        rows = rows.float().to(self.feature.device)
        places = self.roots.long().expand(len(rows), -1)
        while True:
            feature = self.feature[places].long()
            is_inner = feature != LEAF
            if not is_inner.any():
                break
            goes_on = rows.gather(1, feature.clamp_min(0)) > self.threshold[places]
            places = torch.where(is_inner, self.below[places, goes_on.long()].long(), places)
        return self.outputs[places].mean(1)


def floats_below(thresholds: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The largest float32 at most each float64: a float32 is at most the one exactly where it is at most the other."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
