import numpy as np
import pytest

from sne.predictors import Property, conformal_half_width, interval, scores


def test_half_width_is_the_quantile_with_the_finite_sample_correction():
    measured = np.arange(1.0, 20.0)
    assert conformal_half_width(measured, np.zeros(19)) == 18.0  # ceil(20 * 0.9) = 18th of 19
    measured[0] = np.nan
    assert conformal_half_width(measured, np.zeros(19)) == 19.0  # ceil(19 * 0.9) = 18th of 18: 2..19


def test_too_few_labels_give_no_interval():
    assert conformal_half_width(np.arange(8.0), np.zeros(8)) is None
    assert conformal_half_width(np.arange(9.0), np.zeros(9)) == 8.0
    assert interval(0.5, None, True) == (None, None)


def test_coverage_of_new_values():
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        residuals = rng.standard_normal(21)
        half_width = conformal_half_width(residuals[:20], np.zeros(20))
        hits.append(abs(residuals[20]) <= half_width)
    assert 0.86 < np.mean(hits) < 0.97


def test_fractions_are_clipped():
    assert interval(0.95, 0.1, True) == (pytest.approx(0.85), 1.0)
    assert interval(0.05, 0.1, True) == (0.0, pytest.approx(0.15))
    assert interval(0.95, 0.1, False) == (pytest.approx(0.85), pytest.approx(1.05))


def test_scores_by_kind():
    real = scores(Property("a", "real"), np.array([1.0, 2.0, np.nan]), np.array([1.5, 2.0, 0.0]), 0.4)
    assert real == {
        "kendall_tau": 1.0, "tau_ceiling": 1.0, "r2": pytest.approx(0.5), "mae": 0.25,
        "coverage": 0.5, "n": 2,
    }  # fmt: skip
    letters = Property("b", "class", ("x", "y"))
    measured, predicted = np.array(["x", "z", None], dtype=object), np.array(["x", "y", "y"], dtype=object)
    assert scores(letters, measured, predicted) == {"accuracy": 0.5, "n": 2}
    alone = scores(Property("a", "real"), np.array([1.0]), np.array([1.5]))
    assert alone["kendall_tau"] is None and alone["n"] == 1
