"""Trees beside the heads: as scikit-learn grows them, in the share that held-out networks ask for."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from tiny import write_tiny_zoo

from sne import Predictor, fit
from sne.encoders import TensorSetEncoder
from sne.predictors import PredictorError, Property
from sne.training import TrainingError, TrainingSettings
from sne.training.forests import grow, stacked_share
from sne.zoo import Zoo

SMALL = partial(TensorSetEncoder, dim=16, heads=2, blocks=1, seeds=1, bins=2)
QUICK = {"epochs": 2, "members": 2, "trees": 5}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny"))


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)


def test_numbers_are_learned_as_ranks_by_the_trees_of_scikit_learn(rows):
    targets = np.abs(rows[:, 0]) / 10
    prop = Property.infer("accuracy", targets)
    forest = grow(rows, targets, prop, trees=7, seed=3)
    forest.check()
    slow = ExtraTreesRegressor(7, min_samples_leaf=3, max_features=0.3, random_state=3)
    slow.fit(rows, prop.ranks(torch.from_numpy(targets)).numpy())
    others = np.random.default_rng(1).normal(size=(200, 7)).astype(np.float32)
    np.testing.assert_allclose(forest(torch.from_numpy(others))[:, 0], slow.predict(others), atol=1e-6)


def test_classes_become_probabilities_also_where_some_are_missing_among_the_known(rows):
    prop = Property.infer("optimizer", ["adam", "sgd", "rmsprop"])
    targets = np.where(rows[:, 1] > 0, 0.0, 2.0)
    targets[:5] = np.nan
    forest = grow(rows, targets, prop, trees=5, seed=0)
    slow = ExtraTreesClassifier(5, min_samples_leaf=3, max_features=0.3, random_state=0).fit(rows[5:], targets[5:])
    found = forest(torch.from_numpy(rows))
    np.testing.assert_allclose(found[:, [0, 2]], slow.predict_proba(rows), atol=1e-6)
    assert (found[:, 1] == 0).all()


def test_without_labels_nothing_is_preferred(rows):
    nothing = np.full(len(rows), np.nan)
    for prop, expected in ((Property("x", "real"), 0.5), (Property("x", "class", ("a", "b", "c", "d")), 0.25)):
        assert (grow(rows, nothing, prop, trees=3, seed=0)(torch.from_numpy(rows)) == expected).all()


def test_ranks_and_values_are_inverse():
    prop = Property.infer("accuracy", [0.1, 0.1, 0.4, 0.9])
    values = torch.tensor([0.1, 0.2, 0.4, 0.65, 0.9], dtype=torch.float64)
    assert torch.allclose(prop.at_ranks(prop.ranks(values)), values)
    assert prop.at_ranks(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.1, 0.9])
    assert Property.infer("accuracy", [0.3]).at_ranks(torch.tensor([0.5])).tolist() == pytest.approx([0.3])


def test_the_share_leaves_the_least_squared_error():
    draw = np.random.default_rng(0)
    prop, targets = Property("x", "real"), draw.normal(size=50)
    heads, forests = (targets[:, None] + draw.normal(size=(50, 1)) * size for size in (0.5, 0.8))
    targets[3] = np.nan
    share = stacked_share(prop, targets, heads, forests)

    def error(s):
        return np.nansum(((1 - s) * heads[:, 0] + s * forests[:, 0] - targets) ** 2)

    assert 0 < share < 0.5
    assert error(share) == pytest.approx(min(error(s) for s in np.linspace(0, 1, 10001)), rel=1e-6)


def test_who_is_right_gets_everything():
    prop, targets = Property("x", "class", ("a", "b")), np.array([0.0, 1.0, 1.0])
    right, wrong = np.eye(2)[[0, 1, 1]], np.eye(2)[[1, 0, 0]]
    assert stacked_share(prop, targets, wrong, right) == 1
    assert stacked_share(prop, targets, right, wrong) == 0
    assert stacked_share(prop, targets, right, right) == 0.5


def test_values_are_the_weighted_mean_of_heads_and_trees(zoo):
    predictor = fit(zoo, ["test_accuracy"], split=zoo.split, encoder=SMALL, settings=TrainingSettings(**QUICK))
    prepared = predictor.members[0].encoder.prepare(zoo.networks([0, 1, 2]))
    member = predictor.members[0]
    share = float(member.forest_shares[0])
    logits = member.values_and_logits(prepared)[1]
    expected = (1 - share) * logits.sigmoid().double() + share * member.forest_values(
        member.summarize(prepared)
    ).double()
    assert torch.allclose(member.values(prepared), expected, atol=1e-6)
    assert 0 <= share <= 1 and share == float(predictor.members[1].forest_shares[0])


def test_a_saved_predictor_has_the_same_trees(zoo, tmp_path):
    settings = TrainingSettings(**QUICK)
    targets = ["test_accuracy", "config.activation"]
    predictor = fit(zoo, targets, split=zoo.split, encoder=SMALL, settings=settings, out=tmp_path / "p")
    again = Predictor.load(tmp_path / "p")
    networks = zoo.networks(np.arange(6))
    for name in targets:
        assert np.array_equal(again.values(networks)[name], predictor.values(networks)[name])
    assert [len(member.forests) for member in again.members] == [2, 2]


def test_damaged_trees_are_refused(zoo, tmp_path):
    fit(zoo, ["test_accuracy"], split=zoo.split, encoder=SMALL, settings=TrainingSettings(**QUICK), out=tmp_path / "p")
    path = tmp_path / "p" / "model.safetensors"
    tensors = load_file(path)
    tensors["0.forests.0.below"].zero_()
    save_file(tensors, path)
    with pytest.raises(PredictorError, match="do not stand behind"):
        Predictor.load(tmp_path / "p")


def test_settings_of_trees_that_fit_no_file_are_refused(zoo, tmp_path):
    fit(zoo, ["test_accuracy"], split=zoo.split, encoder=SMALL, settings=TrainingSettings(**QUICK), out=tmp_path / "p")
    path = tmp_path / "p" / "config.json"
    for harm in (lambda c: c["forests"].pop(), lambda c: c["forests"][0][0].update(num_trees=-1)):
        config = json.loads(path.read_text())
        harm(config)
        (tmp_path / "p" / "config.json").write_text(json.dumps(config))
        with pytest.raises(PredictorError, match=r"forests of 1|build no predictor"):
            Predictor.load(tmp_path / "p")


def test_an_encoder_without_summaries_takes_no_trees(zoo):
    settings = TrainingSettings(epochs=1, trees=3)
    with pytest.raises(TrainingError, match="SetEncoder gives no summaries for trees to read; give 0"):
        fit(zoo, ["test_accuracy"], split=zoo.split, encoder="paper", settings=settings)
