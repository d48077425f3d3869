"""What every baseline promises, on a small zoo."""

import numpy as np
import pytest
from tiny import mlp_state, write_tiny_zoo

from sne.baselines import BASELINES, HyperparameterBaseline
from sne.zoo import Zoo, ZooWriter

TARGETS = {"test_accuracy": "fraction", "test_loss": "real", "config.activation": "class"}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Zoo:
    return Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("baselines") / "tiny", runs=120, split=False))


@pytest.fixture(scope="module")
def poorer(tmp_path_factory) -> Zoo:
    """A zoo of deeper networks, with other columns."""
    import torch

    path = tmp_path_factory.mktemp("baselines") / "poorer"
    generator = torch.Generator().manual_seed(5)
    with ZooWriter(path) as writer:
        for row in range(6):
            state = mlp_state(generator, width=5, gain=0.5) | {"4.weight": torch.randn(2, 3, generator=generator)}
            writer.add(
                id=str(row), run=str(row), family="deep", dataset="other", step=7, state=state,
                properties={"test_loss": 1.0}, hyperparameters={"activation": 3, "momentum": 0.9},
            )  # fmt: skip
    return Zoo.open(path)


def labelled(zoo: Zoo, target: str, family: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    values = zoo.column(target)
    if TARGETS[target] == "class":
        values = np.unique(values, return_inverse=True)[1].astype(np.float64)
    keep = ~np.isnan(values)
    if family is not None:
        keep &= np.array(zoo.families) == family
    rows = np.flatnonzero(keep)
    values = values[rows]
    return rows, values.astype(np.int64) if TARGETS[target] == "class" else values


def predictions(name, zoo, target, rows, values, other=None, asked=None, seed=0):
    baseline = BASELINES[name]()
    baseline.fit(zoo, rows, values, target=target, kind=TARGETS[target], seed=seed)
    return baseline.predict(other or zoo, rows if asked is None else asked)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", BASELINES)
def test_one_prediction_a_row(name, target, zoo):
    rows, values = labelled(zoo, target)
    asked = np.array([5, 2, 9, 2])
    got = predictions(name, zoo, target, rows, values, asked=asked)
    assert got.shape == (4,) and np.isfinite(got.astype(np.float64)).all()
    assert got[1] == got[3]
    if target == "config.activation":
        assert set(got) <= {0, 1}
    if target == "test_accuracy":
        assert got.min() >= 0 and got.max() <= 1


@pytest.mark.parametrize("name", BASELINES)
def test_same_seed_same_predictions(name, zoo):
    rows, values = labelled(zoo, "test_accuracy")
    first, second = (predictions(name, zoo, "test_accuracy", rows, values) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", BASELINES)
def test_fractions_stay_fractions(name, zoo):
    rows, values = labelled(zoo, "test_accuracy")
    got = predictions(name, zoo, "test_accuracy", rows, (values > 0.4).astype(np.float64))
    assert got.min() >= 0 and got.max() <= 1


@pytest.mark.parametrize("family", [None, "wide"])
@pytest.mark.parametrize("name", BASELINES)
def test_another_zoo_may_lack_columns_and_differ_in_depth(name, family, zoo, poorer):
    rows, values = labelled(zoo, "test_loss", family)
    got = predictions(name, zoo, "test_loss", rows, values, other=poorer, asked=np.arange(6))
    assert got.shape == (6,) and np.isfinite(got).all()


@pytest.mark.parametrize("name", ["hyperparameters", "statistics_boosting", "statistics_mlp"])
@pytest.mark.parametrize("family", [None, "wide"])
def test_more_is_learned_than_the_mean(name, family, zoo):
    rows, values = labelled(zoo, "test_loss", family)
    train, test = rows[: 2 * len(rows) // 3], rows[2 * len(rows) // 3 :]
    known = dict(zip(rows, values, strict=True))
    got = predictions(name, zoo, "test_loss", train, values[: len(train)], asked=test)
    measured = np.array([known[row] for row in test])
    assert np.corrcoef(got, measured)[0, 1] > 0.5


def test_the_mean_and_the_most_frequent_class(zoo):
    rows, values = labelled(zoo, "test_loss")
    got = predictions("mean", zoo, "test_loss", rows, values, asked=np.arange(3))
    np.testing.assert_allclose(got, np.full(3, sum(values) / len(values)))
    got = predictions("mean", zoo, "config.activation", np.arange(5), np.array([1, 0, 1, 1, 0]))
    np.testing.assert_array_equal(got, np.ones(5))


def test_the_target_is_hidden_from_the_hyperparameters(zoo):
    baseline = HyperparameterBaseline()
    for target, kind in (("config.activation", "class"), ("config.learning_rate", "real"), ("family", "class")):
        values = zoo.column(target)
        if kind == "class":
            values = np.unique(values, return_inverse=True)[1]
        baseline.fit(zoo, np.arange(len(zoo)), values, target=target, kind=kind, seed=0)
        assert target not in baseline.names
        expected = {*zoo.hyperparameter_names, "step", "family"} - {target}
        assert set(baseline.names) == expected


def test_a_copied_target_would_be_found_out(zoo):
    """Random labels in a column: with it, boosting reads them off; without it, nothing is left to read."""
    rows = np.arange(len(zoo))
    labels = np.random.default_rng(0).integers(0, 2, len(zoo)).astype(np.float64)
    table = zoo.table.append_column("config.secret", [labels])
    spoilt = Zoo(zoo.path, table, zoo.layouts, None)
    half = len(rows) // 2
    errors = {}
    for target in ("config.secret", "another"):
        baseline = HyperparameterBaseline()
        baseline.fit(spoilt, rows[:half], labels[:half], target=target, kind="real", seed=0)
        errors[target] = np.abs(baseline.predict(spoilt, rows[half:]) - labels[half:]).mean()
    assert errors["another"] < 0.4 < errors["config.secret"]


def test_no_rows_are_told(zoo):
    with pytest.raises(ValueError, match="no training rows"):
        BASELINES["mean"]().fit(zoo, np.arange(0), np.zeros(0), target="a", kind="real", seed=0)
