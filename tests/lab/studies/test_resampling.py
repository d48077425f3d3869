import numpy as np
import pytest
from scipy import stats

from sne.lab.studies.resampling import (
    DRAWS,
    interval_of,
    over_seeds,
    resampled_metric,
    run_weights,
    seed_draws,
    seed_interval,
)
from sne.metrics import kendall_tau


def columns(rows=30, runs=10, seed=0):
    rng = np.random.default_rng(seed)
    measured = rng.integers(0, 8, rows).astype(float)
    return measured, measured + rng.integers(-3, 4, rows), rng.permutation(np.arange(rows) % runs)


def slow(metric, measured, predicted, run_of, counts):
    """Computes the metric on a list of all drawn networks."""
    rows = [row for run, count in enumerate(counts) for _ in range(int(count)) for row in np.flatnonzero(run_of == run)]
    a, b = measured[rows], predicted[rows]
    return {
        "kendall_tau": kendall_tau,
        "mse": lambda a, b: ((a - b) ** 2).mean(),
        "accuracy": lambda a, b: (a == b).mean(),
    }[metric](a, b)


@pytest.mark.parametrize("metric", ["kendall_tau", "mse", "accuracy"])
def test_equals_the_metric_of_the_networks_drawn(metric, monkeypatch):
    monkeypatch.setattr("sne.lab.studies.resampling._BLOCK", 7)
    measured, predicted, run_of = columns()
    weights = run_weights([str(i) for i in range(10)])[:25]
    fast = resampled_metric(metric, measured, predicted, run_of, weights)
    expected = [slow(metric, measured, predicted, run_of, counts) for counts in weights]
    np.testing.assert_allclose(fast, expected, atol=1e-12)


def test_text_is_judged_by_equality():
    names = np.array(["a", "b", "a", "c"], dtype=object)
    found = resampled_metric("accuracy", names, names[[0, 1, 1, 3]], np.arange(4), np.ones((1, 4)))
    assert found.tolist() == [0.75]


def test_constant_predictions_have_tau_zero():
    measured, _, run_of = columns()
    found = resampled_metric("kendall_tau", measured, np.ones(30), run_of, run_weights([str(i) for i in range(10)]))
    assert not found.any()


def test_draws_are_paired_by_runs_and_by_method():
    runs = ["a", "b", "c"]
    weights = run_weights(runs)
    assert weights.shape == (DRAWS, 3) and (weights.sum(1) == 3).all()
    assert (weights == run_weights(runs)).all() and not (weights == run_weights(["a", "b", "d"])).all()
    assert (seed_draws("sne", 3) == seed_draws("sne", 3)).all()
    assert not (seed_draws("sne", 3) == seed_draws("mean", 3)).all()


def test_seeds_widen_the_interval():
    steady, shaky = np.zeros((3, DRAWS)), np.array([-1.0, 0.0, 1.0])[:, None] * np.ones(DRAWS)
    assert interval_of(over_seeds(steady, "sne")) == (0.0, 0.0)
    low, high = interval_of(over_seeds(shaky, "sne"))
    assert low <= -0.66 and high >= 0.66


def test_coverage_of_the_interval_over_runs():
    """The share of simulated studies whose interval contains the true value is close to 95 %."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        errors = rng.standard_normal(40)
        weights = rng.multinomial(40, np.full(40, 1 / 40), size=400).astype(float)
        low, high = interval_of(resampled_metric("mse", errors, np.zeros(40), np.arange(40), weights))
        held += low <= 1 <= high
    assert 0.85 < held / 200 < 0.99


def test_seed_interval_is_students():
    values = [0.5, 0.6, 0.55]
    low, high = seed_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose((low, high), (expected.low, expected.high))
    assert seed_interval([0.5]) is None
