"""The contract of experts, kept by every kind, and each kind against scikit-learn."""

import json
import re
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from tiny import write_tiny_zoo

from sne import Predictor, fit
from sne.encoders import TensorSetEncoder
from sne.encoders.chunking import ROLES
from sne.predictors import EXPERTS, PredictorError, Property
from sne.predictors.experts import Examples, FitContext, Fold, Prepared
from sne.predictors.experts.boosting import BoostingExpert
from sne.predictors.experts.forest import ForestExpert, grow_forest
from sne.predictors.experts.linear import INVERSE_PENALTY, LARGEST, PENALTIES, LinearExpert
from sne.predictors.experts.start import Start
from sne.predictors.experts.state import StateStore
from sne.training import TrainingError, TrainingSettings
from sne.zoo import Zoo

SMALL = partial(TensorSetEncoder, dim=16, heads=2, blocks=1, seeds=1, bins=2)
TARGETS = ["test_accuracy", "test_loss", "config.activation"]
QUICK = {"epochs": 2, "folds": 2, "trees": 5}
ALL = {**QUICK, "experts": (*(kind for kind in EXPERTS if kind != "adapted"), "neighbour")}
DOCUMENTED = "neighbour"
"""The expert that docs/extending.md shows, which keeps the contract too."""
NUMBER = Property.infer("accuracy", np.linspace(0, 1, 60))
CLASSES = Property("optimizer", "class", ("adam", "rmsprop", "sgd"))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny"))


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)


@pytest.fixture(scope="module")
def others():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(200, 7)).astype(np.float32))


@pytest.fixture(scope="module")
def examples(zoo):
    encoder = SMALL()
    items = encoder.prepare(zoo.networks(range(len(zoo))))
    properties = [Property.infer(name, zoo.column(name)) for name in TARGETS]
    targets = np.stack([prop.encode(zoo.column(prop.name)) for prop in properties], axis=1)
    prepared = Prepared(items, encoder.summarize(items))
    return properties, Examples(prepared, torch.tensor(targets, dtype=torch.float32), list(range(len(zoo))))


def context(seed=0, start=None):
    own = start or start_of_another_zoo()
    return FitContext(name="expert", seed=(seed,), device=torch.device("cpu"), store=StateStore(None, {}), start=own)


@cache
def start_of_another_zoo():
    """Forests on descriptions that have nothing to do with the zoo, from which the adapted expert starts."""
    length = len(SMALL().summary_names)
    rows = torch.randn(60, length, generator=torch.Generator().manual_seed(0))
    targets = torch.stack([torch.sigmoid(rows[:, 0]), rows[:, 1].exp(), (rows[:, 2] > 0).float()], 1)
    classes = Property("config.activation", "class", ("relu", "tanh"))
    properties = [*map(Property.infer, TARGETS[:2], targets.T[:2].numpy()), classes]
    forest = ForestExpert(properties, TrainingSettings(trees=5))
    examples = Examples(Prepared([None] * 60, rows), targets, range(60))
    forest.fit(examples, Fold(np.arange(60), np.arange(0)), context(start="none"))
    return Start.of(properties, [forest], "digest")


def fitted(kind, examples, seed=0):
    properties, all_of_them = examples
    expert = EXPERTS[kind].create(SMALL, properties, TrainingSettings(epochs=2, trees=5))
    expert.fit(all_of_them, Fold(np.arange(40), np.arange(40, 60)), context(seed))
    return expert


@pytest.fixture(scope="module", autouse=True)
def documented_expert():
    """Registers the expert of docs/extending.md while these tests run."""
    page = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()
    (block,) = re.findall(r"```python\n(.*?class NeighbourExpert.*?)```", page[page.index("## An expert") :], re.DOTALL)
    names = {}
    exec(compile(block, "docs/extending.md", "exec"), names)
    EXPERTS[DOCUMENTED] = names["NeighbourExpert"]
    yield
    del EXPERTS[DOCUMENTED]


@pytest.mark.parametrize("kind", [*EXPERTS, DOCUMENTED])
class TestContract:
    def test_values_are_in_the_properties_units(self, kind, examples):
        values = fitted(kind, examples).predict(examples[1].prepared).values
        assert values.shape == (60, 4) and values.isfinite().all()
        assert (values[:, 0] >= 0).all() and (values[:, 0] <= 1).all()
        torch.testing.assert_close(values[:, 2:].sum(1), torch.ones(60, dtype=values.dtype), rtol=0, atol=1e-5)

    def test_the_batch_changes_nothing(self, kind, examples):
        prepared = examples[1].prepared
        expert = fitted(kind, examples)
        whole = expert.predict(prepared)
        some, others = (expert.predict(prepared.take(places)) for places in (range(13), range(13, 60)))
        torch.testing.assert_close(torch.cat([some.values, others.values]), whole.values, rtol=1e-4, atol=1e-5)
        for end, *parts in zip(whole.range(), some.range(), others.range(), strict=True):
            torch.testing.assert_close(torch.cat(parts), end, rtol=1e-4, atol=1e-5)

    def test_ranges_are_ranges(self, kind, examples):
        outputs = fitted(kind, examples).predict(examples[1].prepared)
        low, high = outputs.range()
        assert low.shape == high.shape == outputs.values.shape and (low <= high).all()
        assert (outputs.low is None) == (outputs.high is None) == (kind != "forest")
        assert kind != "forest" or (low < high).any(0)[:2].all()

    def test_same_seed_same_bits(self, kind, examples):
        first, again = fitted(kind, examples).state(), fitted(kind, examples).state()
        assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)

    def test_state_and_settings_rebuild_it(self, kind, examples):
        properties, all_of_them = examples
        expert = fitted(kind, examples)
        plain = json.loads(json.dumps(expert.settings()))
        again = EXPERTS[kind].from_state(SMALL, properties, plain, expert.state())
        outputs = again.predict(all_of_them.prepared)
        assert torch.equal(outputs.values, expert.predict(all_of_them.prepared).values)
        assert (again.embedding_dim, again.num_features) == (expert.embedding_dim, expert.num_features)
        assert (outputs.embedding is not None) == (outputs.logits is not None) == bool(again.embedding_dim)

    def test_learns_from_the_training_networks_of_the_fold_only(self, kind, examples):
        properties, all_of_them = examples
        targets = all_of_them.targets.clone()
        targets[40:] = 0.5
        targets[40:, 2] = 0
        changed = Examples(all_of_them.prepared, targets, all_of_them.rows)
        expert = EXPERTS[kind].create(SMALL, properties, TrainingSettings(epochs=1, trees=5))
        expert.fit(changed, Fold(np.arange(40), np.arange(0)), context())
        other = EXPERTS[kind].create(SMALL, properties, TrainingSettings(epochs=1, trees=5))
        other.fit(all_of_them, Fold(np.arange(40), np.arange(0)), context())
        assert all(torch.equal(tensor, other.state()[name]) for name, tensor in expert.state().items())

    def test_missing_labels_everywhere_give_a_prediction_all_the_same(self, kind, examples):
        properties, all_of_them = examples
        nothing = Examples(all_of_them.prepared, torch.full_like(all_of_them.targets, torch.nan), all_of_them.rows)
        expert = EXPERTS[kind].create(SMALL, properties, TrainingSettings(epochs=1, trees=5))
        expert.fit(nothing, Fold(np.arange(40), np.arange(0)), context())
        values = expert.predict(all_of_them.prepared).values
        assert values.isfinite().all()

    def test_tensors_of_another_shape_are_refused(self, kind, examples):
        properties, _ = examples
        expert = fitted(kind, examples)
        for harm in (lambda t: t.popitem(), lambda t: t.update(odd=torch.zeros(1))):
            tensors = expert.state()
            harm(tensors)
            with pytest.raises(PredictorError, match=r"is missing|is not expected|more than"):
                EXPERTS[kind].from_state(SMALL, properties, expert.settings(), tensors)
        for name in expert.state():
            tensors = expert.state()
            tensors[name] = torch.zeros(*tensors[name].shape, 2, dtype=tensors[name].dtype)
            with pytest.raises(PredictorError, match=r"shape|trees"):
                EXPERTS[kind].from_state(SMALL, properties, expert.settings(), tensors)


def test_a_neural_expert_from_before_a_new_layer_type_can_be_read(examples):
    properties, all_of_them = examples
    expert = fitted("neural", examples)
    tensors = expert.state()
    for name in ("encoder.kind_shift.weight", "encoder.kind_gain.weight"):
        tensors[name] = tensors[name][: -2 * len(ROLES)]  # no network here has the last two types
    again = EXPERTS["neural"].from_state(SMALL, properties, expert.settings(), tensors)
    assert torch.equal(again.predict(all_of_them.prepared).values, expert.predict(all_of_them.prepared).values)
    tensors[name] = tensors[name][:-1]
    with pytest.raises(PredictorError, match=r"encoder.kind_gain.weight has shape"):
        EXPERTS["neural"].from_state(SMALL, properties, expert.settings(), tensors)


def test_forests_learn_numbers_as_ranks_with_the_trees_of_scikit_learn(rows, others):
    targets = np.abs(rows[:, 0]) / 10
    prop = Property.infer("accuracy", targets)
    forest = grow_forest(prop, rows, targets, trees=7, seed=3)
    slow = ExtraTreesRegressor(7, min_samples_leaf=3, max_features=0.3, random_state=3)
    slow.fit(rows, prop.ranks(torch.from_numpy(targets)).numpy())
    np.testing.assert_allclose(forest.leaf_outputs(others).mean(1)[:, 0], slow.predict(others), atol=1e-6)


def test_forests_of_classes_give_probabilities_also_where_a_class_was_never_seen(rows, others):
    targets = np.where(rows[:, 1] > 0, 0.0, 2.0)
    targets[:5] = np.nan
    forest = grow_forest(CLASSES, rows, targets, trees=5, seed=0)
    slow = ExtraTreesClassifier(5, min_samples_leaf=3, max_features=0.3, random_state=0).fit(rows[5:], targets[5:])
    found = forest.leaf_outputs(others).mean(1)
    np.testing.assert_allclose(found[:, [0, 2]], slow.predict_proba(others), atol=1e-6)
    assert (found[:, 1] == 0).all()


def test_forests_without_labels_prefer_nothing(rows):
    nothing = np.full(len(rows), np.nan)
    for prop, expected in ((Property("x", "real"), 0.5), (Property("x", "class", ("a", "b", "c", "d")), 0.25)):
        assert (grow_forest(prop, rows, nothing, trees=3, seed=0).outputs == expected).all()


def learn_and_predict(expert, prop, rows, targets, others):
    tensors = expert.fit_property(prop, rows, targets, seed=0)
    return expert.predict_property(prop, others, expert.read_property(prop, tensors, rows.shape[1])).values


@pytest.mark.parametrize("known", [(0, 1, 2), (0, 2), (1, 2), (1,)])
def test_boosting_of_classes_is_that_of_scikit_learn(rows, others, known):
    large = np.random.default_rng(2).normal(size=(300, 7)).astype(np.float32)
    targets = np.array(known, dtype=float)[np.digitize(large[:, 0], [-0.4, 0.4]) % len(known)]
    targets[::50] = np.nan
    expert = BoostingExpert([CLASSES])
    found = learn_and_predict(expert, CLASSES, large, targets, others).numpy()
    expected = np.zeros((200, 3))
    if len(known) == 1:
        expected[:, known[0]] = 1
    else:
        labelled = ~np.isnan(targets)
        slow = HistGradientBoostingClassifier(random_state=0).fit(large[labelled], targets[labelled])
        expected[:, slow.classes_.astype(int)] = slow.predict_proba(others)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_boosting_of_numbers_is_that_of_scikit_learn(others):
    large = np.random.default_rng(2).normal(size=(300, 7)).astype(np.float32)
    targets = np.tanh(large[:, 0]) + 0.1 * large[:, 1]
    prop = Property.infer("score", targets)
    expert = BoostingExpert([prop])
    found = learn_and_predict(expert, prop, large, targets, others)
    slow = HistGradientBoostingRegressor(random_state=0).fit(large, targets)
    np.testing.assert_allclose(found[:, 0], slow.predict(others), atol=1e-5)


def standardised(rows, others):
    shift, scale = rows.astype(float).mean(0), rows.astype(float).std(0)
    return [np.clip((part - shift) / scale, -LARGEST, LARGEST) for part in (rows, others.numpy())]


def test_the_linear_expert_is_ridge_on_ranks(rows, others):
    targets = 1 / (1 + np.exp(-rows[:, 0].astype(float)))
    prop = Property.infer("accuracy", targets)
    expert = LinearExpert([prop])
    found = learn_and_predict(expert, prop, rows, targets, others)
    known, new = standardised(rows, others)
    slow = RidgeCV(alphas=PENALTIES).fit(known, prop.ranks(torch.from_numpy(targets)).numpy())
    expected = prop.at_ranks(torch.from_numpy(slow.predict(new)).clamp(0, 1))
    torch.testing.assert_close(found[:, 0], expected)


@pytest.mark.parametrize("known", [(0, 1, 2), (0, 2)])
def test_the_linear_expert_is_logistic_regression_for_classes(rows, others, known):
    targets = np.array(known, dtype=float)[np.digitize(rows[:, 0], [-0.4, 0.4]) % len(known)]
    expert = LinearExpert([CLASSES])
    found = learn_and_predict(expert, CLASSES, rows, targets, others).numpy()
    scaled, new = standardised(rows, others)
    slow = LogisticRegression(C=INVERSE_PENALTY, max_iter=500).fit(scaled, targets)
    np.testing.assert_allclose(found[:, list(known)], slow.predict_proba(new), atol=1e-6)


def test_constant_features_do_not_count(rows):
    with_constant = np.concatenate([rows, np.full((60, 1), 3.0, dtype=np.float32)], axis=1)
    expert = LinearExpert([NUMBER])
    moved = torch.from_numpy(with_constant).clone()
    moved[:, -1] = 1e6
    found = [
        learn_and_predict(expert, NUMBER, with_constant, np.linspace(0, 1, 60), some)
        for some in (torch.from_numpy(with_constant), moved)
    ]
    torch.testing.assert_close(*found)


def test_a_predictor_of_all_experts_is_their_weighted_mean(zoo, tmp_path):
    settings = TrainingSettings(**ALL)
    predictor = fit(zoo, TARGETS, split=zoo.split, encoder=SMALL, settings=settings, out=tmp_path / "p")
    networks = zoo.networks(np.arange(6))
    weights = predictor.expert_weights()
    assert set(weights) <= set(EXPERTS)
    for name in TARGETS:
        assert sum(weight[name] for weight in weights.values()) == pytest.approx(1)
        stored = {kind: entry["weights"][name] for kind, entry in predictor.metrics["experts"].items()}
        assert {kind: weight for kind, weight in stored.items() if weight} == pytest.approx(
            {kind: weight[name] for kind, weight in weights.items() if weight[name]}
        )
    items = predictor.encoder.prepare(networks)
    prepared = Prepared(items, predictor.encoder.summarize(items))
    expected = sum(
        expert.predict(prepared).values[:, 0].double().numpy() * row[0]
        for expert, row in zip(predictor.experts, predictor.weights, strict=True)
    )
    np.testing.assert_allclose(predictor.values(networks)["test_accuracy"], expected, atol=1e-9)
    again = Predictor.load(tmp_path / "p")
    for name in TARGETS:
        np.testing.assert_array_equal(again.values(networks)[name], predictor.values(networks)[name])
    assert again.split == zoo.split and again.expert_weights() == weights


@pytest.mark.parametrize("kind", ["forest", "boosting", "linear", "kernel"])
def test_without_a_neural_expert_the_description_is_the_embedding(zoo, kind):
    settings = TrainingSettings(**QUICK, experts=(kind,))
    predictor = fit(zoo, ["test_loss"], split=zoo.split, encoder=SMALL, settings=settings)
    networks = zoo.networks([0, 1, 2])
    assert predictor.embeds_description
    description = predictor.encoder.summarize(predictor.encoder.prepare(networks))
    np.testing.assert_array_equal(predictor.encode(networks), description.numpy())
    assert predictor.encode([]).shape == (0, predictor.dim) == (0, description.shape[1])
    found = predictor.arrays(networks)
    assert found.logits["test_loss"].shape == (0, 3, 1) and found.values["test_loss"].shape == (3,)


def test_damaged_trees_are_refused(zoo, tmp_path):
    settings = TrainingSettings(**QUICK, experts=("forest",))
    fit(zoo, ["test_accuracy"], split=zoo.split, encoder=SMALL, settings=settings, out=tmp_path / "p")
    path = tmp_path / "p" / "model.safetensors"
    tensors = load_file(path)
    tensors["0.0.second"].zero_()
    save_file(tensors, path)
    with pytest.raises(PredictorError, match="do not stand behind"):
        Predictor.load(tmp_path / "p")


def test_an_encoder_without_descriptions_takes_the_neural_expert_only(zoo):
    settings = TrainingSettings(epochs=1, experts=("neural", "forest"))
    with pytest.raises(TrainingError, match="SetEncoder gives no description of a network"):
        fit(zoo, ["test_accuracy"], split=zoo.split, encoder="paper", settings=settings)


def test_unknown_experts_are_told(zoo):
    with pytest.raises(TrainingError, match="unknown expert 'oracle', expected some of neural, forest"):
        fit(zoo, ["test_accuracy"], encoder=SMALL, settings=TrainingSettings(experts=("oracle",)))


def test_the_range_of_a_forest_leaves_out_a_fifth_of_the_trees_on_either_side(rows, others):
    prop = Property.infer("x", np.arange(len(rows)) / len(rows))
    expert = ForestExpert([prop], TrainingSettings(trees=11))
    trees = expert.read_property(prop, expert.fit_property(prop, rows, rows[:, 0].clip(0, 1), seed=0), rows.shape[1])
    found = expert.predict_property(prop, others, trees)
    for n, leaves in enumerate(trees.leaf_outputs(others)[:, :, 0]):
        in_order = sorted(prop.at_ranks(leaves.double()).tolist())  # of 11, the third and the ninth
        assert found.low[n, 0] == pytest.approx(in_order[2]) and found.high[n, 0] == pytest.approx(in_order[8])
