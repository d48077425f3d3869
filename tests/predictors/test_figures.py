import numpy as np
import pytest

from sne.predictors import Property, scores


def test_scores_by_kind():
    ends = np.array([1.1, 1.6, 0.0]), np.array([1.9, 2.4, 9.0])
    real = scores(Property("a", "real"), np.array([1.0, 2.0, np.nan]), np.array([1.5, 2.0, 0.0]), ends)
    assert real == {
        "kendall_tau": 1.0, "tau_ceiling": 1.0, "r2": pytest.approx(0.5), "mae": 0.25,
        "coverage": 0.5, "mean_width": pytest.approx(0.8), "n": 2,
    }  # fmt: skip
    nothing = np.full(3, np.nan)
    without = scores(Property("a", "real"), np.array([1.0, 2.0, 3.0]), np.ones(3), (nothing, nothing))
    assert without["coverage"] is None and without["mean_width"] is None
    letters = Property("b", "class", ("x", "y"))
    measured, predicted = np.array(["x", "z", None], dtype=object), np.array(["x", "y", "y"], dtype=object)
    assert scores(letters, measured, predicted) == {"accuracy": 0.5, "n": 2}
    alone = scores(Property("a", "real"), np.array([1.0]), np.array([1.5]))
    assert alone["kendall_tau"] is None and alone["n"] == 1
