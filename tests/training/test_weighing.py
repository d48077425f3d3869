"""Weights of experts: who ranks better gets more, and nothing is decided by values that crowd together."""

import numpy as np
import pytest

from sne import metrics
from sne.predictors import Property
from sne.training.weighing import RUN_PARTS, STEPS, deal_runs
from sne.training.weighing import weigh as weigh_by_parts

ACCURACY = Property("accuracy", "fraction")
LOSS = Property("loss", "real")
LETTER = Property("letter", "class", ("a", "b"))


@pytest.fixture
def labels():
    return np.random.default_rng(0).random(200)


def weigh(properties, targets, predictions):
    return weigh_by_parts(properties, targets, predictions, np.arange(len(targets)) % 5)


def noisy(labels, size, seed):
    return (labels + np.random.default_rng(seed).normal(size=len(labels)) * size)[:, None]


def test_one_expert_gets_everything(labels):
    assert weigh([ACCURACY], labels[:, None], [noisy(labels, 0.1, 1)]).tolist() == [[1.0]]


def test_without_labels_all_weigh_the_same(labels):
    nothing = np.full((200, 1), np.nan)
    assert weigh([ACCURACY], nothing, [noisy(labels, 0.1, 1)] * 2).tolist() == [[0.5], [0.5]]


def test_a_useless_expert_gets_nothing(labels):
    weights = weigh([ACCURACY], labels[:, None], [noisy(labels, 0.01, 1), noisy(labels * 0, 1.0, 2)])
    assert weights[:, 0].tolist() == [1.0, 0.0]


def test_independent_errors_are_averaged_and_the_mean_ranks_better_than_each(labels):
    predictions = [noisy(labels, 0.1, 1), noisy(labels, 0.1, 2), noisy(labels, 0.4, 3)]
    weights = weigh([ACCURACY], labels[:, None], predictions)[:, 0]
    assert weights.sum() == pytest.approx(1) and min(weights[:2]) > 0.3 > weights[2]
    assert all(float(weight * k).is_integer() for weight in weights for k in [_count(weights)])
    mean = sum(own[:, 0] * weight for own, weight in zip(predictions, weights, strict=True))
    assert metrics.kendall_tau(labels, mean) > max(metrics.kendall_tau(labels, own[:, 0]) for own in predictions)


def _count(weights):
    return next(k for k in range(1, STEPS + 1) if np.allclose(weights * k, np.round(weights * k)))


def test_ranks_decide_before_errors(labels):
    """An expert that ranks perfectly on another scale beats one whose values are close but disordered."""
    ranked, close = (labels**9)[:, None], noisy(labels, 0.05, 1)
    assert metrics.mae(labels, ranked[:, 0]) > metrics.mae(labels, close[:, 0])
    assert weigh([ACCURACY], labels[:, None], [close, ranked])[1, 0] > 0.5


def test_errors_decide_between_equal_ranks(labels):
    assert weigh([LOSS], labels[:, None], [labels[:, None] * 3, labels[:, None]])[:, 0].tolist() == [0.0, 1.0]


def test_classes_are_judged_by_log_loss():
    targets = np.array([0.0, 1.0] * 50 + [np.nan])[:, None]
    truth = np.eye(2)[[0, 1] * 50 + [0]]
    sure, unsure, wrong = 0.98 * truth + 0.01, 0.2 * truth + 0.4, 1 - truth
    weights = weigh([LETTER], targets, [wrong, unsure, sure])
    assert weights[:, 0].tolist() == [0.0, 0.0, 1.0]


def test_each_property_has_its_own_weights(labels):
    letters = (labels > 0.5).astype(float)
    truth = np.eye(2)[letters.astype(int)]
    first = np.concatenate([noisy(labels, 0.01, 1), np.full((200, 2), 0.5)], axis=1)
    second = np.concatenate([noisy(labels * 0, 1.0, 2), 0.9 * truth + 0.05], axis=1)
    weights = weigh([ACCURACY, LETTER], np.stack([labels, letters], axis=1), [first, second])
    assert weights.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_the_best_expert_stands_alone_unless_others_help_on_parts_that_chose_nothing(labels):
    """With few networks and many poor experts, greedy selection finds a mean that helps on these networks alone."""
    few = labels[:25]
    predictions = [noisy(few, 0.1, 0), *(noisy(few * 0, 1.0, seed) for seed in range(1, 12))]
    assert weigh([ACCURACY], few[:, None], predictions)[0, 0] == 1.0


def test_fewer_than_three_parts_choose_nothing(labels):
    predictions = [noisy(labels, 0.01, 1), noisy(labels, 1.0, 2)]
    found = weigh_by_parts([ACCURACY], labels[:, None], predictions, np.arange(200) % 2)
    assert found.tolist() == [[0.5], [0.5]]


def test_by_part_networks_are_compared_within_their_part_only(labels):
    """One expert ranks within families, the other one only tells the families apart."""
    parts = np.arange(200) % 4
    within, between = noisy(labels, 0.05, 1), (labels * 0 + parts)[:, None] + noisy(labels * 0, 0.1, 2)
    targets = (labels + 10 * parts)[:, None]
    assert weigh_by_parts([LOSS], targets, [within, between], parts)[1, 0] > 0
    assert weigh_by_parts([LOSS], targets, [within, between], parts, by_part=True)[0, 0] == 1.0


def test_runs_stay_whole_and_parts_are_even():
    runs = [f"run{n}" for n in range(23) for _ in range(3)]
    parts = deal_runs(runs)
    assert all(len(set(parts[n : n + 3])) == 1 for n in range(0, 69, 3))
    counts = np.bincount(parts) // 3
    assert len(counts) == RUN_PARTS and counts.max() - counts.min() <= 1
