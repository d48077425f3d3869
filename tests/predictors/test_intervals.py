import math
from collections import Counter

import numpy as np
import pytest

from sne.predictors import Interval, PredictorError, Property, Ranges, calibrate
from sne.predictors.intervals import (
    LEAST,
    LEAST_RUNS,
    LOCAL_SHARE,
    conformal_half_width,
    coverage_figures,
    cross_fitted_ends,
    local_spread,
)

RNG = np.random.default_rng
REAL = Property("loss", "real", std=2.0)
FRACTION = Property("accuracy", "fraction", std=0.2)


def points(values):
    """Ranges of experts that do not tell how sure they are."""
    return Ranges(values, values, values)


def draw(rng, runs, most=4):
    """Draws networks of some runs; those of a run have the same error up to a little."""
    counts = rng.integers(1, most + 1, runs)
    names = [f"r{run}" for run, count in enumerate(counts) for _ in range(count)]
    common = np.repeat(rng.normal(size=runs) * counts, counts)  # larger runs are harder
    values = rng.normal(size=len(names))
    return names, values, values + common + 0.1 * rng.normal(size=len(names))


def slow_factor(scores, runs, level):
    """The smallest score up to which runs, one of them infinite, have at least a share of `level` of their networks."""
    counts = Counter(runs)
    for factor in sorted(scores):
        held = Counter(run for score, run in zip(scores, runs, strict=True) if score <= factor)
        if math.fsum(held[run] / counts[run] for run in counts) >= level * (len(counts) + 1) - 1e-9:
            return factor
    return None


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_the_factor_is_that_of_a_slow_search(level):
    rng = RNG(0)
    prop = Property.infer("loss", rng.normal(size=50))
    for num_runs in (1, 3, 9, 10, 40):
        runs, values, measured = draw(rng, num_runs)
        measured[:: max(len(runs) // 3, 2)] = np.nan
        ranges = Ranges(
            values, values - rng.exponential(size=len(runs)), values + rng.exponential(size=len(runs)) - 0.2
        )
        found = calibrate(prop, measured, ranges, runs, level)
        scores, kept = [], []
        for n, label in enumerate(measured):
            if not np.isnan(label):
                end = ranges.low[n] if label < values[n] else ranges.high[n]
                side = -1 if label < values[n] else 1
                distance = max(side * (end - values[n]), 0) + LEAST * prop.std
                distance += LOCAL_SHARE * local_spread(prop, values[n : n + 1])[0]
                scores.append(abs(label - values[n]) / distance)
                kept.append(runs[n])
        slow = slow_factor(scores, kept, level)
        assert (found is None) == (slow is None)
        if found is not None:
            assert found.factor == pytest.approx(slow, rel=1e-12)
            low, high = Interval(found.factor * (1 + 1e-9), found.local, found.margin + 1e-9).ends(prop, ranges)
            inside = (measured >= low) & (measured <= high)
            assert inside[~np.isnan(measured)].sum() == sum(score <= slow for score in scores)


def test_with_one_network_per_run_it_is_the_conformal_quantile():
    measured = np.arange(1.0, 20.0)
    runs = [str(n) for n in range(19)]
    low, high = calibrate(REAL, measured, points(np.zeros(19)), runs).ends(REAL, points(np.zeros(1)))
    assert (low[0], high[0]) == (pytest.approx(-18), pytest.approx(18))  # ceil(20 * 0.9) = 18th of 19
    measured[0] = np.nan
    low, high = calibrate(REAL, measured, points(np.zeros(19)), runs).ends(REAL, points(np.zeros(1)))
    assert high[0] == pytest.approx(19)  # ceil(19 * 0.9) = 18th of 18: 2..19


def test_the_half_width_is_the_quantile_with_the_finite_sample_correction():
    measured = np.arange(1.0, 20.0)
    assert conformal_half_width(measured, np.zeros(19)) == 18.0  # ceil(20 * 0.9) = 18th of 19
    measured[0] = np.nan
    assert conformal_half_width(measured, np.zeros(19)) == 19.0  # ceil(19 * 0.9) = 18th of 18: 2..19
    assert conformal_half_width(np.arange(8.0), np.zeros(8)) is None
    assert conformal_half_width(np.arange(9.0), np.zeros(9)) == 8.0


def test_too_few_runs_give_no_interval():
    runs = [f"r{n % 8}" for n in range(80)]
    assert calibrate(REAL, RNG(0).normal(size=80), points(np.zeros(80)), runs) is None
    assert calibrate(REAL, np.full(80, np.nan), points(np.zeros(80)), [str(n) for n in range(80)]) is None
    low, high = cross_fitted_ends(REAL, RNG(0).normal(size=80), points(np.zeros(80)), runs)
    assert np.isnan(low).all() and np.isnan(high).all()


def test_coverage_of_networks_of_new_runs():
    rng, hits, draws = RNG(1), 0, 1500
    for _ in range(draws):
        runs, values, measured = draw(rng, 30)
        new = np.array(runs) == "r0"
        ranges = points(values)
        others = [run for run in runs if run != "r0"]
        low, high = calibrate(REAL, measured[~new], ranges.take(~new), others).ends(REAL, ranges.take(new))
        one = rng.integers(new.sum())
        hits += low[one] <= measured[new][one] <= high[one]
    # 29 runs: at least 0.9, at most 0.9 + 1 / 30 and the share of one run; 3.3 standard deviations of the binomial
    assert 0.9 - 3.3 * math.sqrt(0.09 / draws) < hits / draws < 0.9 + 2 / 30 + 3.3 * math.sqrt(0.09 / draws)


def heteroscedastic(rng, count):
    """Networks whose error grows with a scale that the range shows."""
    scale = rng.uniform(0.01, 1, count)
    values = rng.normal(size=count)
    measured = values + scale * rng.normal(size=count)
    return scale, measured, Ranges(values, values - 0.3 * scale, values + 0.3 * scale), [str(n) for n in range(count)]


def test_intervals_are_narrow_where_the_range_is():
    scale, measured, ranges, runs = heteroscedastic(RNG(2), 4000)
    low, high = cross_fitted_ends(Property("loss", "real", std=0.2), measured, ranges, runs)
    inside = (measured >= low) & (measured <= high)
    constant = Interval(0.0, 0.0, np.quantile(np.abs(measured - ranges.values), 0.9)).ends(REAL, ranges)
    assert abs(inside.mean() - 0.9) < 0.02
    easy, hard = scale < 0.3, scale > 0.7
    assert (high - low)[easy].mean() < 0.5 * (high - low)[hard].mean()
    assert (high - low).mean() < 0.93 * (constant[1] - constant[0]).mean()
    assert inside[hard].mean() > 0.85  # the constant width holds 0.77 there
    assert ((measured >= constant[0]) & (measured <= constant[1]))[hard].mean() < 0.82


def test_ends_follow_the_side_of_the_range():
    values = np.array([0.5, 0.5])
    ranges = Ranges(values, np.array([0.3, 0.6]), np.array([0.5, 0.7]))
    low, high = Interval(2.0, 0.0, 0.01).ends(Property("x", "real"), ranges)
    np.testing.assert_allclose(low, [0.09, 0.49])  # a range above the value does not pull the lower end up
    np.testing.assert_allclose(high, [0.51, 0.91])


def test_fractions_are_clipped():
    values = np.array([0.95, 0.05])
    low, high = Interval(0.0, 0.0, 0.1).ends(FRACTION, points(values))
    np.testing.assert_allclose([low, high], [[0.85, 0], [1, 0.15]])
    low, high = Interval(0.0, 0.0, 0.1).ends(REAL, points(values))
    np.testing.assert_allclose([low, high], [[0.85, -0.05], [1.05, 0.15]])


def test_the_local_spread_is_large_where_labels_are_sparse():
    labels = np.concatenate([np.linspace(0.1, 0.2, 500), np.linspace(0.2, 0.9, 500)[1:]])
    prop = Property.infer("accuracy", labels)
    dense, sparse = local_spread(prop, np.array([0.15, 0.6]))
    assert dense == pytest.approx(0.05 * 0.1 * 2, rel=0.02) and sparse == pytest.approx(0.05 * 0.7 * 2, rel=0.02)
    assert local_spread(REAL, np.array([1.0])) == 0  # without knots


def test_intervals_are_judged_without_the_run_of_the_network():
    rng = RNG(3)
    runs, values, measured = draw(rng, 60)
    low, high = cross_fitted_ends(REAL, measured, points(values), runs)
    run = np.array(runs) == "r7"
    other = np.where(run, 1e6, measured)
    again = cross_fitted_ends(REAL, other, points(values), runs)
    np.testing.assert_array_equal(again[0][run], low[run])
    np.testing.assert_array_equal(again[1][run], high[run])
    assert (again[1] >= high).all() and (again[1] > high).any()


def test_coverage_figures_by_hand():
    measured = np.array([0.1, 0.2, np.nan, 0.4, 0.5])
    predicted = np.array([0.3, 0.1, 0.2, 0.5, 0.4])
    low, high = np.array([0.2, 0.0, 0.0, np.nan, 0.3]), np.array([0.4, 0.3, 1.0, np.nan, 0.5])
    found = coverage_figures(measured, predicted, (low, high), ["b", "a", "a", "a", "b"])
    assert found["by_family"] == [
        {"family": "a", "coverage": 1.0, "mean_width": pytest.approx(0.3), "n": 1},
        {"family": "b", "coverage": 0.5, "mean_width": pytest.approx(0.2), "n": 2},
    ]
    assert [(group["from"], group["coverage"]) for group in found["by_decile"]] == [(0.1, 1.0), (0.3, 0.0), (0.4, 1.0)]
    assert coverage_figures(measured, predicted, (low * np.nan, high), list("aaaaa")) == {
        "by_family": [], "by_decile": [],
    }  # fmt: skip


def test_the_least_number_of_runs_is_just_enough():
    for count in (LEAST_RUNS - 1, LEAST_RUNS):
        found = calibrate(REAL, np.arange(float(count)), points(np.zeros(count)), [str(n) for n in range(count)])
        assert (found is None) == (count < LEAST_RUNS)


def test_json_round_trip():
    interval = Interval(1.5, 0.75, 0.01)
    assert Interval.from_json(interval.to_json(), REAL) == interval
    for bad in (
        None,
        [1, 2, 3],
        {"factor": 1.0},
        {**interval.to_json(), "more": 1},
        {**interval.to_json(), "local": None},
        {**interval.to_json(), "factor": 1e30},
        {**interval.to_json(), "margin": 1e30},
    ):
        with pytest.raises(PredictorError, match="interval "):
            Interval.from_json(bad, REAL)


@pytest.mark.parametrize("least_label, low_end", [(0.001, 0.0), (-0.001, -0.02)])
def test_numbers_that_are_never_negative_have_no_negative_ends(least_label, low_end):
    values = np.array([0.01])
    prop = Property.infer("config.learning_rate", [least_label, 0.3])
    low, high = Interval(0.0, 0.0, 0.03).ends(prop, Ranges(values, values, values))
    assert low.tolist() == pytest.approx([low_end]) and high.tolist() == pytest.approx([0.04])
