"""Trees as tensors: where rows go, and nothing that a file could make loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.predictors import PredictorError
from sne.predictors.experts.trees import TreeNodes, Trees, floats_below, join_trees


def small_trees() -> Trees:
    """Two trees: one splits on feature 1 at 0.5, the other is a leaf."""
    return Trees(
        roots=torch.tensor([0, 3]),
        feature=torch.tensor([1, -1, -1, -1]),
        threshold=torch.tensor([0.5]),
        second=torch.tensor([2]),
        outputs=torch.tensor([[2.0], [4.0], [10.0]]),
    )


def test_rows_at_the_threshold_go_to_the_first_child():
    rows = torch.tensor([[9.0, 0.5], [9.0, 0.5000001], [-9.0, -1.0]])
    assert small_trees().leaf_outputs(rows)[:, :, 0].tolist() == [[2.0, 10.0], [4.0, 10.0], [2.0, 10.0]]


def test_tensors_rebuild_them():
    trees = small_trees()
    again = Trees.from_tensors(trees.to_tensors(), num_features=2, num_outputs=1)
    rows = torch.randn(20, 2)
    assert torch.equal(again.leaf_outputs(rows), trees.leaf_outputs(rows))


def leaf_by_steps(trees: Trees, tree: int, row: torch.Tensor) -> torch.Tensor:
    node = int(trees.roots[tree])
    while trees.feature[node] >= 0:
        number = int((trees.feature[:node] >= 0).sum())
        goes_on = row[trees.feature[node]] > trees.threshold[number]
        node = int(trees.second[number]) if goes_on else node + 1
    return trees.outputs[int((trees.feature[:node] < 0).sum())]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_rows_come_to_the_leaves_that_single_steps_lead_to(count):
    generator = np.random.default_rng(0)

    def grow(depth: int, start: int) -> list[tuple]:  # a node, then its left and its right tree
        if depth == 0 or generator.random() < 0.2:
            return [(-1, 0.0, 0, 0)]
        left = grow(depth - 1, start + 1)
        right = grow(depth - 1, start + 1 + len(left))
        node = (int(generator.integers(3)), generator.normal(), start + 1, start + 1 + len(left))
        return [node, *left, *right]

    nodes: list[tuple] = []
    roots = []
    for depth in (0, 3, 9, 13):
        roots.append(len(nodes))
        nodes += grow(depth, len(nodes))
    feature, threshold, _, right = (torch.tensor(column) for column in zip(*nodes, strict=True))
    inner = feature >= 0
    outputs = torch.arange(2.0 * int((~inner).sum())).unflatten(0, (-1, 2))
    trees = Trees(torch.tensor(roots), feature, threshold[inner].float(), right[inner], outputs)
    rows = torch.randn(count, 3, generator=torch.Generator().manual_seed(1))
    found = trees.leaf_outputs(rows)
    assert found.shape == (count, 4, 2)
    for number, row in enumerate(rows):
        for tree in range(4):
            assert torch.equal(found[number, tree], leaf_by_steps(trees, tree, row))


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda t: t["second"].fill_(0), "do not stand behind"),
        (lambda t: t["second"].fill_(1), "do not stand behind"),
        (lambda t: t["second"].fill_(99), "do not stand behind"),
        (lambda t: t["feature"][0].fill_(2), "features outside 0 to 1"),
        (lambda t: t["feature"][0].fill_(-2), "features outside 0 to 1"),
        (lambda t: t["second"].fill_(3), "without a parent or with several"),
        (lambda t: t["roots"].copy_(torch.tensor([3, 0])), "roots out of order"),
        (lambda t: t["roots"].fill_(4), "roots that are no nodes"),
        (lambda t: t["roots"].fill_(-1), "roots that are no nodes"),
        (lambda t: t.pop("roots"), "expected .*roots"),
        (lambda t: t.update(roots=torch.zeros(0, dtype=torch.int64)), "0 trees of 4 nodes"),
        (lambda t: t.update(roots=torch.zeros(5, dtype=torch.int64)), "5 trees of 4 nodes"),
        (lambda t: t.update(second=torch.zeros(4, dtype=torch.int64)), r"second has shape \(4,\), expected \(1,\)"),
        (lambda t: t.update(outputs=torch.zeros(4, 2)), r"outputs has shape \(4, 2\), expected \(3, 1\)"),
        (lambda t: t.update(feature=t["feature"].float()), r"feature has dtype torch\.float32"),
        (lambda t: t.update(threshold=torch.zeros(1).long()), r"threshold has dtype torch\.int64"),
    ],
)
def test_trees_that_lead_nowhere_are_refused(harm, message):
    tensors = {name: tensor.clone() for name, tensor in small_trees().to_tensors().items()}
    harm(tensors)
    with pytest.raises(PredictorError, match=message):
        Trees.from_tensors(tensors, num_features=2, num_outputs=1)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.integers(-2, 2))
def test_rounded_thresholds_part_single_floats_as_double_ones_do(threshold, steps):
    value = np.float32(threshold)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.inf if steps > 0 else -np.inf))
    rounded = floats_below(np.array([threshold]))[0]
    assert (value <= rounded) == (np.float64(value) <= threshold)


def test_trees_in_another_order_are_refused():
    nodes = TreeNodes(
        np.array([0, -1, -1]), np.array([0.5, 0, 0]), np.array([[2, 1], [0, 0], [0, 0]]), np.zeros((3, 1))
    )
    with pytest.raises(ValueError, match="depth-first"):
        join_trees([nodes])
