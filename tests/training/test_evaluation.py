import numpy as np
import pytest
from tiny import TinyEncoder, write_tiny_zoo

from sne import metrics
from sne.predictors import Interval, Predictor, Property
from sne.training import PropertyEvaluation, TrainingError, TrainingSettings, evaluate, evaluate_rows, fit
from sne.training.evaluation import rows_to_evaluate
from sne.zoo import Split, Zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny"))


@pytest.fixture(scope="module")
def predictor(zoo):
    settings = TrainingSettings(epochs=4)
    return fit(zoo, ["test_accuracy"], split=zoo.split, encoder=TinyEncoder, settings=settings)


def test_figures_are_those_of_the_rows_with_labels(zoo, predictor):
    rows = np.arange(10)
    predictor = Predictor(
        predictor.encoder, predictor.properties, predictor.experts, predictor.weights,
        intervals={"test_accuracy": Interval(0.0, 0.5, 0.02)},
    )  # fmt: skip
    (evaluation,) = evaluate_rows(predictor, zoo, rows)
    measured = zoo.column("test_accuracy")[rows]
    predicted = predictor.values(zoo.networks(rows))["test_accuracy"]
    figures = evaluation.figures()["sne"]
    assert figures["kendall_tau"] == metrics.kendall_tau(measured, predicted)
    assert figures["mae"] == metrics.mae(measured, predicted)
    assert figures["n"] == len(evaluation.table()) == 10 - int(np.isnan(measured).sum()) == 8
    table = evaluation.table()
    assert table[0]["id"] == zoo.ids[0]
    said = {p.source: p for p in predictor.predict(zoo.networks(rows))}
    assert all((row["low"], row["high"]) == (said[row["id"]].low, said[row["id"]].high) for row in table)
    inside = [row["low"] <= row["measured"] <= row["high"] for row in table]
    assert 0 < figures["coverage"] == np.mean(inside) < 1
    assert figures["mean_width"] == pytest.approx(np.mean([row["high"] - row["low"] for row in table]))


def test_groups_partition_the_rows():
    evaluation = PropertyEvaluation(
        Property("a", "real"),
        tuple("abcdef"),
        np.array([1.0, 2.0, 3.0, 1.0, 2.0, 9.0]),
        {"sne": np.array([1.0, 2.0, 3.0, 2.0, 1.0, 0.0])},
        None,
        {},
    )
    groups = evaluation.figures_by([0.5, 0.5, 0.5, None, np.nan, "x"])
    assert list(groups) == ["0.5", "missing", "x"]
    assert groups["0.5"]["sne"]["kendall_tau"] == 1.0
    assert groups["missing"]["sne"]["kendall_tau"] == -1.0
    assert groups["x"]["sne"] == {
        **dict.fromkeys(("kendall_tau", "tau_ceiling", "r2", "mae", "coverage", "mean_width")),
        "n": 1,
    }


def test_rows_follow_the_split_and_tell_what_was_seen(zoo, predictor):
    for piece, seen in (("train", 36), ("val", 12), ("test", 0), ("all", 48)):
        rows, chosen, num_seen = rows_to_evaluate(predictor, zoo, piece)
        assert (chosen, num_seen) == (piece, seen)
        np.testing.assert_array_equal(rows, zoo.split.rows(zoo.runs, piece))
    assert rows_to_evaluate(predictor, zoo, None)[1] == "test"


def test_a_split_that_changed_after_training_hides_nothing(zoo, predictor):
    split = zoo.split
    swapped = Split(split.test, split.val, split.train)
    other = Zoo(zoo.path, zoo.table, {}, swapped)
    rows, _, seen = rows_to_evaluate(predictor, other, "test")
    assert seen == len(rows) == 36


def test_a_training_zoo_that_grew_is_still_known(zoo, predictor):
    grown = Zoo(zoo.path, zoo.table.slice(0, 58), {}, zoo.split)
    _, _, seen = rows_to_evaluate(predictor, grown, "all")
    assert seen > 0


def test_nothing_to_evaluate_is_told(zoo, predictor):
    with pytest.raises(TrainingError, match="no networks to evaluate"):
        evaluate_rows(predictor, zoo, np.arange(0))
    bare = Predictor(predictor.encoder, predictor.properties, predictor.experts, predictor.weights)
    with pytest.raises(TrainingError, match="need the split"):
        evaluate_rows(bare, zoo, np.arange(3), training_zoo=zoo)


def test_text_for_numbers_is_told(zoo, predictor):
    at = zoo.table.column_names.index("test_accuracy")
    table = zoo.table.set_column(at, "test_accuracy", [["high"] * len(zoo)])
    with pytest.raises(TrainingError, match="column 'test_accuracy' holds text, the predictor predicts numbers"):
        evaluate_rows(predictor, Zoo(zoo.path, table, zoo.layouts, None), np.arange(5))


def test_evaluate_is_what_the_command_prints(zoo, predictor, tmp_path):
    predictor.save(tmp_path / "p")
    found = evaluate(predictor, zoo)
    assert (found.split, found.num_seen, found.num_twins) == ("test", 0, 0) and not found.warnings
    np.testing.assert_array_equal(found.rows, zoo.split.rows(zoo.runs, "test"))
    (one,) = found.properties
    assert set(one.predicted) == {"sne", "mean", "hyperparameters", "statistics_boosting", "statistics_mlp"}
    seen = evaluate(predictor, zoo.path, split="all", baselines=False)
    assert seen.num_seen == 48 and seen.num_twins is None and set(seen.properties[0].predicted) == {"sne"}
    assert seen.warnings == ["48 of 60 networks were used in training or validation, so these figures are not held out"]


def test_evaluate_says_that_baselines_had_too_few_networks(tmp_path):
    few = Zoo.open(write_tiny_zoo(tmp_path / "few", runs=8))
    settings = TrainingSettings(epochs=1)
    found = evaluate(fit(few, ["test_accuracy"], split=few.split, encoder=TinyEncoder, settings=settings), few)
    (one,) = found.properties
    assert len(set(one.predicted["statistics_boosting"].tolist())) == 1 < len(set(one.measured.tolist()))
    (said,) = [line for line in found.warnings if "one value for all networks" in line]
    assert "hyperparameters and statistics_boosting predict" in said and said.endswith("columns that do not vary")


def test_evaluate_says_why_there_are_no_baselines(zoo, predictor, tmp_path):
    other = Zoo.open(write_tiny_zoo(tmp_path / "other", runs=8, seed=3))
    bare = Predictor(predictor.encoder, predictor.properties, predictor.experts, predictor.weights)
    assert evaluate(bare, other).warnings == ["no baselines: the predictor has no split.json"]
    lost = Predictor(
        predictor.encoder, predictor.properties, predictor.experts, predictor.weights,
        split=predictor.split, record={**predictor.record, "zoo": str(tmp_path / "gone")},
    )  # fmt: skip
    assert evaluate(lost, other).warnings == [
        f"no baselines: the training zoo {tmp_path / 'gone'} does not exist any more"
    ]


def test_properties_that_a_zoo_lacks_are_told_and_the_others_measured(zoo):
    settings = TrainingSettings(epochs=1)
    predictor = fit(zoo, ["test_accuracy", "test_loss"], split=zoo.split, encoder=TinyEncoder, settings=settings)
    poor = Zoo(zoo.path, zoo.table.drop_columns(["test_loss"]), zoo.layouts, zoo.split, zoo.symmetries)
    found = evaluate(predictor, poor, baselines=False, invariance_draws=0)
    assert [one.property.name for one in found.properties] == ["test_accuracy"]
    assert any("test_loss is not measured" in line and "no column 'test_loss'" in line for line in found.warnings)
    empty = Zoo(zoo.path, poor.table.drop_columns(["test_accuracy"]), zoo.layouts, zoo.split, zoo.symmetries)
    with pytest.raises(TrainingError, match="no column 'test_accuracy'"):
        evaluate(predictor, empty, baselines=False, invariance_draws=0)
