"""The within-family expert: against dummy variables, and on families that lie elsewhere."""

import numpy as np
import pytest
import torch

from sne.metrics import kendall_tau
from sne.predictors import PredictorError, Property
from sne.predictors.experts import Examples, FitContext, Fold, Prepared, WithinFamilyExpert
from sne.predictors.experts.state import StateStore
from sne.predictors.experts.within_family import within_coefficients

CONTEXT = FitContext(name="expert", seed=(0,), device=torch.device("cpu"), store=StateStore(None, {}))


def families_apart(features=6, each=40, seed=0):
    """Families whose levels of features and labels go together in the opposite way to networks within a family."""
    generator = np.random.default_rng(seed)
    families = np.repeat(np.arange(4), each)
    rows = generator.normal(size=(4 * each, features)).astype(np.float32)
    labels = rows[:, 0] + 0.1 * generator.normal(size=4 * each)
    rows[:, 0] += 3 * families
    return rows, labels - 4 * families, families


def fitted(rows, labels, families):
    prop = Property.infer("config.size", labels)
    examples = Examples(
        Prepared([None] * len(rows), torch.from_numpy(rows)), torch.from_numpy(labels)[:, None].float(),
        list(range(len(rows))), families,
    )  # fmt: skip
    expert = WithinFamilyExpert([prop])
    expert.fit(examples, Fold(np.arange(len(rows)), np.arange(0)), CONTEXT)
    return expert


@pytest.mark.parametrize("features", [3, 300])
def test_coefficients_are_those_of_a_regression_with_one_unpenalised_level_per_family(features):
    rows, labels, families = families_apart(features, each=15)
    wide, goals = torch.from_numpy(rows).double(), torch.from_numpy(labels)[:, None]
    levels = torch.nn.functional.one_hot(torch.from_numpy(families)).double()
    both = torch.cat([wide, levels], 1)
    penalties = torch.cat([torch.full((features,), 7.0), torch.zeros(4)]).double().diag()
    expected = torch.linalg.solve(both.T @ both + penalties, both.T @ goals)[:features].T
    torch.testing.assert_close(within_coefficients(wide, goals, families, 7.0), expected)


def test_an_unseen_family_is_ranked_by_what_holds_within_families():
    rows, labels, families = families_apart(features=2, each=200)
    rows[families == 3, 0] -= 4  # within the range of the others
    known, other = families < 3, families == 3
    new = Prepared([None] * other.sum(), torch.from_numpy(rows[other]))
    told = fitted(rows[known], labels[known], families[known]).predict(new).values[:, 0]
    not_told = fitted(rows[known], labels[known], None).predict(new).values[:, 0]
    assert kendall_tau(labels[other], told) > 0.6
    assert kendall_tau(labels[other], not_told) < 0


def test_features_beyond_the_range_of_training_count_as_its_ends():
    rows, labels, families = families_apart()
    expert = fitted(rows, labels, families)
    ends = np.full((2, rows.shape[1]), 100, np.float32) * [[1], [2]]
    values = expert.predict(Prepared([None] * 2, torch.from_numpy(ends).float())).values
    assert values[0] == values[1]


def test_damaged_tensors_are_refused():
    expert = fitted(*families_apart())
    bad = {**expert.state(), "weight": torch.zeros(2, 6, dtype=torch.float64)}
    with pytest.raises(PredictorError, match="weight has shape"):
        WithinFamilyExpert.from_state(lambda: None, expert.properties, expert.settings(), bad)
