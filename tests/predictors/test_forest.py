"""Forests as tensors: what scikit-learn's trees say, and nothing that a file could make loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sne.predictors import Forest
from sne.predictors.forest import floats_below


def small_forest() -> Forest:
    """Two trees: one splits on feature 1 at 0.5, the other is a leaf."""
    forest = Forest(num_trees=2, num_nodes=4, num_features=2, num_outputs=1)
    forest.roots.copy_(torch.tensor([0, 3]))
    forest.feature.copy_(torch.tensor([1, -1, -1, -1]))
    forest.threshold[0] = 0.5
    forest.below[0] = torch.tensor([1, 2])
    forest.outputs.copy_(torch.tensor([[0.0], [2.0], [4.0], [10.0]]))
    return forest


def test_rows_at_the_threshold_go_to_the_first_child():
    rows = torch.tensor([[9.0, 0.5], [9.0, 0.5000001], [-9.0, -1.0]])
    assert small_forest()(rows)[:, 0].tolist() == [6.0, 7.0, 6.0]


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="rows have 3 features, the forest asks for 2"):
        small_forest()(torch.zeros(1, 3))


def test_settings_rebuild_it():
    forest = small_forest()
    again = Forest(**forest.settings())
    again.load_state_dict(forest.state_dict())
    rows = torch.randn(20, 2)
    assert torch.equal(again(rows), forest(rows))


def test_a_sound_forest_passes():
    small_forest().check()


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda f: f.below[0].fill_(0), "do not stand behind"),
        (lambda f: f.below[0].fill_(99), "do not stand behind"),
        (lambda f: f.feature[0].fill_(2), "features outside 0 to 1"),
        (lambda f: f.feature[0].fill_(-2), "features outside 0 to 1"),
        (lambda f: f.roots.fill_(4), "roots that are no nodes"),
        (lambda f: f.roots.fill_(-1), "roots that are no nodes"),
    ],
)
def test_trees_that_lead_nowhere_are_refused(harm, message):
    forest = small_forest()
    harm(forest)
    with pytest.raises(ValueError, match=message):
        forest.check()


@pytest.mark.parametrize("num_trees, num_nodes", [(0, 1), (2, 1)])
def test_counts_that_fit_no_forest_are_refused(num_trees, num_nodes):
    with pytest.raises(ValueError, match="a forest of"):
        Forest(num_trees, num_nodes, 1, 1)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.integers(-2, 2))
def test_rounded_thresholds_part_single_floats_as_double_ones_do(threshold, steps):
    value = np.float32(threshold)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.inf if steps > 0 else -np.inf))
    rounded = floats_below(np.array([threshold]))[0]
    assert (value <= rounded) == (np.float64(value) <= threshold)
