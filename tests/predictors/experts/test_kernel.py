import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.kernel_ridge import KernelRidge

from sne.errors import PredictorError
from sne.predictors.experts import Examples, FitContext, Fold, KernelExpert, Prepared, TrainingSettings
from sne.predictors.experts.kernel import LARGEST, QUANTILES, RIDGE, WIDTH, _solve_ridge, median_of_pairs
from sne.predictors.experts.state import StateStore
from sne.predictors.properties import Property

PROPERTIES = (
    Property.infer("accuracy", np.linspace(0, 1, 101)),
    Property.infer("optimizer", ["adam", "sgd", "rmsprop"]),
)
CONTEXT = FitContext("kernel-0", (0,), torch.device("cpu"), StateStore(None, {}))


def examples(count=80, missing=()):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(count, 6, generator=generator)
    rows[:, 2] = 7.0  # constant
    rows[:, 4] = rows[:, 4].exp() * 1000
    accuracy = (0.5 + 0.2 * rows[:, 0] + 0.1 * rows[:, 1]).clamp(0, 1)
    optimizer = (rows[:, 3] > 0).float() + (rows[:, 5] > 1).float()
    targets = torch.stack([accuracy, optimizer], 1)
    targets[list(missing), 0] = torch.nan
    return Examples(Prepared([None] * count, rows), targets, range(count))


def fitted(data, train):
    expert = KernelExpert.create(lambda: None, PROPERTIES, TrainingSettings())
    expert.fit(data, Fold(np.asarray(train), np.arange(0)), CONTEXT)
    return expert


def slow_scores(rows, new):
    used = [0, 1, 3, 4, 5]
    found = np.empty((len(new), len(used)))
    for column, feature in enumerate(used):
        knots = np.quantile(rows[:, feature], np.linspace(0, 1, QUANTILES))
        scores = norm.ppf(np.linspace(0, 1, QUANTILES)).clip(-LARGEST, LARGEST)
        found[:, column] = np.interp(new[:, feature], knots, scores)
    return found


def test_same_as_ridge_regression_on_normal_scores():
    data, train = examples(), np.arange(60)
    rows = data.prepared.description.double().numpy()
    scores, new = slow_scores(rows[train], rows[train]), slow_scores(rows[train], rows[60:])
    squares = ((scores[:, None] - scores[None]) ** 2).sum(-1)
    median = np.quantile(squares[~np.eye(60, dtype=bool)], 0.5, method="lower")
    ranks = PROPERTIES[0].ranks(data.targets[:60, 0].double()).numpy()
    slow = KernelRidge(alpha=RIDGE, kernel="rbf", gamma=WIDTH / median).fit(scores, ranks - ranks.mean())
    expected = (slow.predict(new) + ranks.mean()).clip(0, 1)
    found = fitted(data, train).predict(data.prepared.take(range(60, 80))).values
    np.testing.assert_allclose(found[:, 0].numpy(), PROPERTIES[0].at_ranks(torch.from_numpy(expected)), atol=1e-4)
    chances = found[:, 1:].numpy()
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-6)
    assert chances.min() > 0 and (chances.argmax(1) == data.targets[60:, 1].numpy()).mean() > 0.6


def test_missing_labels_take_no_part_in_their_property_alone():
    with_gaps, without = examples(missing=range(0, 60, 2)), examples()
    both = [fitted(data, range(60)).predict(data.prepared.take(range(60, 80))).values for data in (with_gaps, without)]
    torch.testing.assert_close(both[0][:, 1:], both[1][:, 1:])
    assert (both[0][:, 0] - both[1][:, 0]).abs().max() > 1e-3
    nothing = fitted(examples(missing=range(80)), range(60)).predict(without.prepared).values
    assert nothing[:, 0].unique().numel() == 1


def test_each_property_is_solved_among_the_networks_that_have_it():
    data = examples(missing=range(0, 60, 2))
    state = fitted(data, range(60)).state()
    points = state["points"].double()
    kernel = (-state["gain"].double() * torch.cdist(points, points).square()).exp()
    for columns, known, goals in (
        (slice(0, 1), torch.arange(1, 60, 2), PROPERTIES[0].ranks(data.targets[1:60:2, 0].double())[:, None]),
        (slice(1, 4), torch.arange(60), torch.nn.functional.one_hot(data.targets[:60, 1].long(), 3).double()),
    ):
        own = kernel[known][:, known] + RIDGE * torch.eye(len(known))
        slow = torch.zeros(60, goals.shape[1], dtype=torch.float64)
        slow[known] = torch.linalg.solve(own, goals - goals.mean(0))
        torch.testing.assert_close(state["coefficients"][:, columns].double(), slow, atol=1e-3, rtol=1e-4)


def test_the_factor_takes_the_place_of_the_kernel():
    generator = torch.Generator().manual_seed(0)
    points, goals = (torch.randn(50, width, dtype=torch.float64, generator=generator) for width in (3, 2))
    kernel = (-torch.cdist(points, points).square()).exp()
    regular = kernel + RIDGE * torch.eye(50, dtype=torch.float64)
    address = kernel.data_ptr()
    torch.testing.assert_close(_solve_ridge(kernel, goals), torch.linalg.solve(regular, goals))
    assert kernel.data_ptr() == address
    torch.testing.assert_close(kernel.mT.tril(), torch.linalg.cholesky(regular))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_median_is_over_pairs_of_different_networks(count):
    distances = torch.rand(count, count)
    distances += distances.T.clone()
    slow = distances[~torch.eye(count, dtype=torch.bool)].median()
    assert median_of_pairs(distances.clone().fill_diagonal_(0)) == slow


def test_odd_rows_give_finite_values_within_the_labels():
    expert = fitted(examples(), range(80))
    rows = torch.tensor([[torch.inf] * 6, [-torch.inf] * 6, [torch.nan] * 6, [1e30] * 6])
    values = expert.predict(Prepared([None] * 4, rows)).values
    assert values.isfinite().all() and values.min() >= 0 and values.max() <= 1


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_networks(count):
    assert fitted(examples(), range(count)).predict(examples().prepared).values.isfinite().all()


def test_state_and_back():
    expert, data = fitted(examples(), range(60)), examples()
    again = KernelExpert.from_state(lambda: None, PROPERTIES, expert.settings(), expert.state())
    assert torch.equal(again.predict(data.prepared).values, expert.predict(data.prepared).values)
    with pytest.raises(PredictorError, match="the expert reads 6"):
        again.predict(Prepared([None], torch.zeros(1, 5)))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(gain=-t["gain"]),
        lambda t: t.update(gain=t["gain"] * torch.nan),
        lambda t: t.update(points=t["points"][:, :2]),
        lambda t: t.update(coefficients=t["coefficients"][:, :1]),
        lambda t: t.update(gain=t["gain"].double()),
        lambda t: t.update(columns=t["columns"] + 9),
        lambda t: t.update(columns=-t["columns"] - 1),
    ],
)
def test_damaged_state_is_refused(change):
    expert = fitted(examples(), range(60))
    tensors = expert.state()
    change(tensors)
    with pytest.raises(PredictorError, match="kernel expert"):
        KernelExpert.from_state(lambda: None, PROPERTIES, expert.settings(), tensors)


def test_a_missing_tensor_is_named():
    expert = fitted(examples(), range(60))
    tensors = expert.state()
    del tensors["knots"]
    with pytest.raises(PredictorError, match="knots is missing"):
        KernelExpert.from_state(lambda: None, PROPERTIES, expert.settings(), tensors)


def test_falling_knots_of_a_damaged_file_are_refused():
    expert = fitted(examples(), range(60))
    tensors = {**expert.state(), "knots": expert.state()["knots"].flip(1)}
    with pytest.raises(PredictorError, match="knots of a feature fall"):
        KernelExpert.from_state(lambda: None, PROPERTIES, expert.settings(), tensors)
