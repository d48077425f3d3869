"""The adapted expert against the equations of a Gaussian process, and the scale that it takes from a forest."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.ensemble import ExtraTreesRegressor

from sne.errors import PredictorError, TrainingError
from sne.predictors.experts import AdaptedExpert, Examples, FitContext, Fold, ForestExpert, Prepared, TrainingSettings
from sne.predictors.experts.adapted import RIDGE, START_WEIGHT, WIDTH
from sne.predictors.experts.forest import tree_nodes
from sne.predictors.experts.forest_scale import LARGEST_WEIGHT, ForestScale, split_gains
from sne.predictors.experts.kernel import LARGEST, QUANTILES
from sne.predictors.experts.start import Start
from sne.predictors.experts.state import StateStore
from sne.predictors.experts.trees import join_trees
from sne.predictors.properties import Property

NUMBER = Property.infer("accuracy", np.linspace(0, 1, 101))
CLASSES = Property.infer("optimizer", ["adam", "sgd"])
FEATURES = 6


def context(start=None):
    return FitContext("adapted-0", (0,), torch.device("cpu"), StateStore(None, {}), start=start)


def examples(count, seed, shift=0.0):
    """Accuracy follows two features, and a third one with another sign where there is a shift."""
    rows = torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))
    rows[:, 2] = 7.0
    raw = rows[:, 0] + 0.5 * rows[:, 1] + shift * rows[:, 3]
    targets = torch.stack([torch.sigmoid(raw), (rows[:, 4] > 0).float()], 1)
    return Examples(Prepared([None] * count, rows), targets, range(count))


@pytest.fixture(scope="module")
def start():
    forest = ForestExpert([NUMBER, CLASSES], TrainingSettings(trees=10))
    forest.fit(examples(300, 0), Fold(np.arange(300), np.arange(0)), context())
    return Start.of([NUMBER, CLASSES], [forest], "digest")


def fitted(data, start, count=40):
    expert = AdaptedExpert.create(lambda: None, [NUMBER, CLASSES], TrainingSettings())
    expert.fit(data, Fold(np.arange(count), np.arange(0)), context(start))
    return expert


def slow_gains(tree):
    """Variance that each split removes, where every leaf counts once, node by node."""

    def leaves(node):
        if tree.children_left[node] < 0:
            return [float(tree.value[node, 0, 0])]
        return leaves(tree.children_left[node]) + leaves(tree.children_right[node])

    total = len(leaves(0))
    inner = [node for node in range(tree.node_count) if tree.children_left[node] >= 0]
    return [
        sum(
            len(leaves(child)) / total * (np.mean(leaves(child)) - np.mean(leaves(node))) ** 2
            for child in (tree.children_left[node], tree.children_right[node])
        )
        for node in inner
    ]


def test_gains_of_splits_are_those_of_a_slow_loop():
    rows = np.random.default_rng(0).normal(size=(80, 4))
    model = ExtraTreesRegressor(3, min_samples_leaf=3, random_state=0).fit(rows, rows[:, 0] + rows[:, 1] ** 2)
    trees = join_trees([tree_nodes(one.tree_, [0], 1) for one in model.estimators_])
    slow = np.concatenate([slow_gains(one.tree_) for one in model.estimators_])
    np.testing.assert_allclose(split_gains(trees), slow, rtol=1e-4, atol=1e-8)


def slow_scale(trees, rows):
    """Normal scores among the thresholds of each feature, times the root of its importance."""
    inner = trees.feature.numpy() >= 0
    feature, gains = trees.feature.numpy()[inner], split_gains(trees)
    importance = np.array([gains[feature == number].sum() for number in range(FEATURES)])
    found = []
    for number in range(FEATURES):
        thresholds = trees.threshold.numpy()[feature == number]
        if len(thresholds) > 1:
            knots = np.quantile(thresholds.astype(float), np.linspace(0, 1, QUANTILES))
            scores = norm.ppf(np.linspace(0, 1, QUANTILES)).clip(-LARGEST, LARGEST)
            weight = min(np.sqrt(importance[number] / importance.mean()), LARGEST_WEIGHT)
            found.append(np.interp(rows[:, number], knots, scores) * weight)
    return np.stack(found, 1)


def test_scale_is_that_of_a_slow_loop(start):
    rows = examples(50, 3).prepared.description
    trees = start.forests["accuracy"]
    scale = ForestScale.of(trees, FEATURES)
    assert scale.columns.tolist() == [0, 1, 3, 4, 5]
    np.testing.assert_allclose(scale.apply(rows).numpy(), slow_scale(trees, rows.double().numpy()), atol=2e-3)
    assert scale.weights[0] > scale.weights[1] > scale.weights[2:].max()


def test_same_as_a_gaussian_process_with_a_linear_mean(start):
    data, train = examples(60, 1, shift=0.5), np.arange(40)
    trees, rows = start.forests["accuracy"], data.prepared.description
    scaled = slow_scale(trees, rows.double().numpy())
    ahead = trees.leaf_outputs(rows).mean(1)[:, 0].double().numpy()
    ahead = (ahead - ahead[train].mean()) / ahead[train].std()
    squares = ((scaled[:, None] - scaled[None, train]) ** 2).sum(-1)
    median = np.quantile(squares[train][~np.eye(40, dtype=bool)], 0.5, method="lower")
    kernel = np.exp(-WIDTH * squares / median) + START_WEIGHT * np.outer(ahead, ahead[train])
    goals = NUMBER.ranks(data.targets[:40, 0].double()).numpy()
    raw = kernel[40:] @ np.linalg.solve(kernel[train] + RIDGE * np.eye(40), goals - goals.mean()) + goals.mean()
    found = fitted(data, start).predict(data.prepared.take(range(40, 60))).values
    expected = NUMBER.at_ranks(torch.from_numpy(raw.clip(0, 1)))
    np.testing.assert_allclose(found[:, 0].numpy(), expected, atol=5e-3)
    np.testing.assert_allclose(found[:, 1:].sum(1).numpy(), 1, atol=1e-6)


def test_a_start_is_worth_more_than_few_labels(start):
    few, new = examples(12, 5), examples(200, 6)
    predicted = fitted(few, start, 12).predict(new.prepared).values[:, 0]
    mean = (few.targets[:, 0].mean() - new.targets[:, 0]).abs().mean()
    assert (predicted - new.targets[:, 0]).abs().mean() < 0.6 * mean


def test_labels_overrule_a_start_that_is_wrong(start):
    many, new = examples(400, 7), examples(100, 8)
    against = Examples(many.prepared, 1 - many.targets, many.rows)
    predicted = fitted(against, start, 400).predict(new.prepared).values[:, 0]
    assert (predicted - (1 - new.targets[:, 0])).abs().mean() < 0.08


def test_missing_labels_take_no_part_in_their_property_alone(start):
    data = examples(60, 1)
    targets = data.targets.clone()
    targets[:20, 0] = torch.nan
    gaps = fitted(Examples(data.prepared, targets, data.rows), start).predict(data.prepared).values
    whole = fitted(data, start).predict(data.prepared).values
    torch.testing.assert_close(gaps[:, 1:], whole[:, 1:])
    assert (gaps[:, 0] - whole[:, 0]).abs().max() > 1e-3
    nothing = fitted(Examples(data.prepared, targets * torch.nan, data.rows), start).predict(data.prepared).values
    assert nothing[:, 0].unique().numel() == 1 and nothing.isfinite().all()


def test_a_property_that_the_start_does_not_know_starts_from_its_first_number(start):
    assert start.source(Property.infer("test_loss", [1.0, 2.0])) == "accuracy"
    assert start.source(CLASSES) == "optimizer"


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_network(count, start):
    values = fitted(examples(30, 2), start, count).predict(examples(5, 4).prepared).values
    assert values.isfinite().all() and (values >= 0).all() and (values <= 1).all()


def test_without_a_start_or_with_descriptions_of_another_length(start):
    data = examples(20, 1)
    with pytest.raises(TrainingError, match="needs a predictor to start from"):
        fitted(data, None, 10)
    short = Examples(Prepared([None] * 20, data.prepared.description[:, :4]), data.targets, data.rows)
    with pytest.raises(TrainingError, match="have 4 features, the start reads 6"):
        fitted(short, start, 10)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("points", lambda t: t[:, :3], "points has shape"),
        ("points", lambda t: t * torch.nan, "not finite"),
        ("0.coefficients", lambda t: t[:3], "coefficients has shape"),
        ("1.coefficients", lambda t: t.double(), "float64"),
        ("0.offset", lambda t: t / 0, "not finite"),
        ("0.gain", lambda t: -t, "above 0"),
        ("0.spread", lambda t: t * 0, "above 0"),
        ("0.trees.outputs", lambda t: t[:, :0], "centre has shape"),
        ("0.trees.outputs", lambda t: t * torch.inf, "not finite"),
        ("0.trees.threshold", lambda t: t * torch.nan, "not finite"),
        ("0.trees.second", lambda t: t * 0, "children"),
        ("0.trees.second", None, "is missing"),
    ],
)
def test_damaged_tensors(name, change, message, start):
    expert = fitted(examples(30, 2), start, 20)
    tensors = expert.state()
    if change is None:
        del tensors[name]
    else:
        tensors[name] = change(tensors[name])
    with pytest.raises(PredictorError, match=message):
        AdaptedExpert.from_state(lambda: None, [NUMBER, CLASSES], expert.settings(), tensors)


def test_state_rebuilds_it(start):
    data = examples(40, 2)
    expert = fitted(data, start, 30)
    again = AdaptedExpert.from_state(lambda: None, [NUMBER, CLASSES], expert.settings(), expert.state())
    assert torch.equal(again.predict(data.prepared).values, expert.predict(data.prepared).values)
