from dataclasses import replace

import numpy as np
import pytest
from study_cases import outcome, outcomes

from sne.lab.studies import METHODS
from sne.lab.studies.outcomes import Outcomes, average_outcome, figures_of
from sne.metrics import kendall_tau


def test_means_are_over_seeds():
    found = outcome(METHODS["sne"], 0.1)
    taus = [kendall_tau(found.measured, predicted) for predicted in found.predicted]
    assert len(taus) == 3 and len(set(taus)) == 3
    assert found.mean("kendall_tau") == pytest.approx(np.mean(taus))
    low, high = np.quantile(found.draws, (0.025, 0.975))
    assert low < found.mean("kendall_tau") < high
    assert found.cost("ms_per_network") == 1.5 and found.cost("parameters") == 10


def test_json_holds_every_seed_and_no_predictions():
    plain = outcome(METHODS["sne"], 0.1).to_json()
    assert [row["seed"] for row in plain["seeds"]] == [0, 1, 2]
    assert {"kendall_tau", "tau_ceiling", "r2", "mae", "mse", "validation", "versions"} <= set(plain["seeds"][0])
    assert "predicted" not in str(plain)


def test_twins_of_two_zoos_are_drawn_together():
    found = outcome(METHODS["sne"], 0.1)
    [judged] = {id(judged): judged for judged in found.judged[:1]}.values()

    def renamed(change):
        columns = {"runs": [change(i, run) for i, run in enumerate(judged["runs"])]}
        results = [{**r, "held_out": {"own": {**r["held_out"]["own"], **columns}}} for r in found.results]
        return replace(found, results=results).draws

    one, two = renamed(lambda i, run: f"zoo/{run}"), renamed(lambda i, run: f"other/{run}")
    assert np.array_equal(one, two) and np.array_equal(one, found.draws)
    twins = renamed(lambda i, run: f"{'zoo' if i < 20 else 'other'}/run{i % 20}")
    assert np.array_equal(twins, renamed(lambda i, run: f"run{i % 20}")) and not np.array_equal(twins, one)


def test_cannot_is_no_figure():
    plain = outcome(METHODS["nft"], 0.0, status="cannot").to_json()
    assert plain["status"] == "cannot" and plain["reason"] == "too small" and "mean" not in plain


def test_the_comparison_is_with_the_best_that_reads_weights():
    found = outcomes(("sne", 0.05), ("mean", 5.0), ("deep_sets", 0.5), ("hyperparameters", 0.0), ("nft", -1.0))
    compared = found.compare("all")
    assert compared.theirs.method.name == "deep_sets"
    assert compared.gain > 0 and compared.interval[0] > 0 and compared.p < 0.05


def test_equal_methods_are_not_told_apart():
    compared = outcomes(("sne", 0.3), ("deep_sets", 0.3)).compare("all")
    assert compared.interval[0] < 0 < compared.interval[1] and compared.p > 0.05


def test_less_is_better_for_squared_errors():
    from dataclasses import replace

    from study_cases import TASK

    compared = outcomes(("sne", 0.05), ("deep_sets", 0.5), task=replace(TASK, metric="mse")).compare("all")
    assert compared.gain > 0 and compared.ours.mean < compared.theirs.mean


def test_no_comparison_without_sne_or_baselines():
    assert outcomes(("mean", 1.0), ("deep_sets", 1.0)).compare("all") is None
    assert outcomes(("sne", 1.0), ("hyperparameters", 1.0)).compare("all") is None
    assert Outcomes([outcome(METHODS["sne"], 1.0)]).compare("all") is None


def test_figures_of_classes():
    names = np.array(["a", "b"], dtype=object)
    assert figures_of(names, names) == {"accuracy": 1.0}
    assert figures_of(np.ones(3), np.ones(3))["r2"] is None


def test_an_average_is_of_the_same_seed_and_network():
    parts = [outcome(METHODS[name], 0.3) for name in ("sne", "probing")]
    found = average_outcome(METHODS["sne_probing"], parts)
    assert found.status == "done" and len(found.predicted) == 3
    for seed, predicted in enumerate(found.predicted):
        assert predicted == pytest.approx((parts[0].predicted[seed] + parts[1].predicted[seed]) / 2)
    assert found.mean("mse") < min(part.mean("mse") for part in parts)
    assert found.cost("parameters") == 20 and found.cost("ms_per_network") == 3.0 and found.cost("cpu_seconds") == 2.0
    assert found.to_json()["method"] == "sne_probing" and found.to_json()["seeds"][1]["seed"] == 1


def test_an_average_of_what_cannot():
    parts = [outcome(METHODS["sne"], 0.3), outcome(METHODS["probing"], 0.0, status="cannot")]
    found = average_outcome(METHODS["sne_probing"], parts)
    assert found.status == "cannot" and found.reason == "function probing: too small"


def test_methods_that_run_networks_are_compared_apart():
    pairs = (("sne", 0.05), ("deep_sets", 0.5), ("probing", 0.4), ("sne_probing", 0.1))
    found = outcomes(*pairs)
    assert found.compare("all").theirs.method.name == "deep_sets"
    apart = found.compare("all", "runs")
    assert (apart.ours.method.name, apart.theirs.method.name) == ("sne_probing", "probing") and apart.gain > 0
