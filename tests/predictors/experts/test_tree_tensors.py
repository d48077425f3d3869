"""Trees as tensors: where rows go, and nothing that a file could make loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.predictors import PredictorError
from sne.predictors.experts.trees import Trees, floats_below


def small_trees() -> Trees:
    """Two trees: one splits on feature 1 at 0.5, the other is a leaf."""
    return Trees(
        roots=torch.tensor([0, 3]),
        feature=torch.tensor([1, -1, -1, -1]),
        threshold=torch.tensor([0.5, 0, 0, 0]),
        children=torch.tensor([[1, 2], [0, 0], [0, 0], [0, 0]]),
        outputs=torch.tensor([[0.0], [2.0], [4.0], [10.0]]),
    )


def test_rows_at_the_threshold_go_to_the_first_child():
    rows = torch.tensor([[9.0, 0.5], [9.0, 0.5000001], [-9.0, -1.0]])
    assert small_trees().leaf_outputs(rows)[:, :, 0].tolist() == [[2.0, 10.0], [4.0, 10.0], [2.0, 10.0]]


def test_tensors_rebuild_them():
    trees = small_trees()
    again = Trees.from_tensors(trees.to_tensors(), num_features=2, num_outputs=1)
    rows = torch.randn(20, 2)
    assert torch.equal(again.leaf_outputs(rows), trees.leaf_outputs(rows))


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda t: t["children"][0].fill_(0), "do not stand behind"),
        (lambda t: t["children"][0].fill_(99), "do not stand behind"),
        (lambda t: t["feature"][0].fill_(2), "features outside 0 to 1"),
        (lambda t: t["feature"][0].fill_(-2), "features outside 0 to 1"),
        (lambda t: t["roots"].fill_(4), "roots that are no nodes"),
        (lambda t: t["roots"].fill_(-1), "roots that are no nodes"),
        (lambda t: t.pop("roots"), "expected .*roots"),
        (lambda t: t.update(roots=torch.zeros(0, dtype=torch.int64)), "0 trees of 4 nodes"),
        (lambda t: t.update(roots=torch.zeros(5, dtype=torch.int64)), "5 trees of 4 nodes"),
        (lambda t: t.update(children=torch.zeros(4, 3, dtype=torch.int64)), r"children has shape \(4, 3\)"),
        (lambda t: t.update(outputs=torch.zeros(4, 2)), r"outputs has shape \(4, 2\), expected \(4, 1\)"),
        (lambda t: t.update(feature=torch.zeros(4)), r"feature has dtype torch\.float32"),
        (lambda t: t.update(threshold=torch.zeros(4).long()), r"threshold has dtype torch\.int64"),
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
