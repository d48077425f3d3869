import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sne import metrics


def slow_tau_b(x, y):
    concordant = discordant = tied_x = tied_y = 0
    for i in range(len(x)):
        for j in range(i):
            a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
            concordant += a * b > 0
            discordant += a * b < 0
            tied_x += a == 0
            tied_y += b == 0
    pairs = len(x) * (len(x) - 1) / 2
    below = math.sqrt((pairs - tied_x) * (pairs - tied_y))
    return 0.0 if below == 0 else (concordant - discordant) / below


lists = st.integers(2, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 5), min_size=n, max_size=n) for _ in range(2)])
)


@given(lists)
def test_tau_is_the_loop_over_pairs(pair):
    assert metrics.kendall_tau(*pair) == pytest.approx(slow_tau_b(*pair), abs=1e-12)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=12))
def test_ceiling_is_tau_of_a_strict_ranking_that_agrees(labels):
    ranks = np.empty(len(labels))
    ranks[np.argsort(labels, kind="stable")] = np.arange(len(labels))
    assert metrics.tau_ceiling(labels) == pytest.approx(slow_tau_b(labels, ranks), abs=1e-12)


def test_r2_mae_and_coverage_by_hand():
    measured, predicted = [1.0, 2.0, 4.0], [1.5, 2.0, 3.0]
    assert metrics.mae(measured, predicted) == pytest.approx(0.5)
    mean = 7 / 3
    spread = sum((m - mean) ** 2 for m in measured)
    assert metrics.r2(measured, predicted) == pytest.approx(1 - 1.25 / spread)
    assert metrics.coverage(measured, [1, 2.5, 3], [1, 3, 5]) == pytest.approx(2 / 3)


def test_missing_labels_are_left_out():
    measured, predicted = [0.1, math.nan, 0.5, 0.9], [1.0, -50.0, 3.0, 2.0]
    assert metrics.kendall_tau(measured, predicted) == metrics.kendall_tau([0.1, 0.5, 0.9], [1, 3, 2])
    assert metrics.mae(measured, predicted) == metrics.mae([0.1, 0.5, 0.9], [1, 3, 2])
    assert metrics.tau_ceiling(measured) == 1.0
    assert metrics.accuracy(["a", None, "b"], ["a", "a", "c"]) == 0.5
    assert metrics.accuracy([0.0, math.nan, 1.0], [0, 1, 1]) == 1.0


def test_constants_rank_nothing():
    assert metrics.kendall_tau([1, 2, 3], [5, 5, 5]) == 0.0
    assert metrics.kendall_tau([2, 2, 2], [1, 2, 3]) == 0.0
    assert metrics.tau_ceiling([2, 2, 2]) == 0.0
    assert math.isnan(metrics.r2([2, 2], [1, 2]))


@pytest.mark.parametrize("measure", [metrics.kendall_tau, metrics.r2, metrics.mae, metrics.accuracy])
def test_bad_input_is_told(measure):
    with pytest.raises(ValueError, match=r"at least 2 labels, got 1 \(of 2 rows\)"):
        measure([1.0, math.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="at least 2 labels, got 0"):
        measure([], [])
    with pytest.raises(ValueError, match=r"one length, got shapes \(2,\) and \(3,\)"):
        measure([1.0, 2.0], [1.0, 2.0, 3.0])


def test_predictions_must_be_finite():
    with pytest.raises(ValueError, match="1 of 2 predictions are not finite"):
        metrics.kendall_tau([1.0, 2.0], [math.nan, 2.0])
