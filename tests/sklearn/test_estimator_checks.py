"""scikit-learn's own checks of estimators; exceptions are listed with their reasons, here and in docs/interfaces.md."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sne.sklearn import NetworkEncoder, PropertyClassifier, PropertyRegressor

ROUNDING = "experts compute in float32: rounding depends on the size of the batch (test_rounding bounds it)"
CHECKED_TYPES = (
    "the tests' import hook checks types, which constructors must not; test_constructors_check_nothing runs it without"
)
INVARIANCES = ("check_methods_subset_invariance", "check_methods_sample_order_invariance")
EXCEPTIONS = {
    **{("forest", check): ROUNDING for check in INVARIANCES},
    ("kernel", "check_methods_subset_invariance"): ROUNDING,
}
WITHOUT_DATA = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
)
"""Checks that apply to a transformer of paths; the others give it a table of numbers."""


@pytest.fixture(autouse=True)
def _array_api(monkeypatch):
    """Without it, scikit-learn skips the check of NumPy arrays under its array API."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")


def expected_failures(estimator):
    found = {check: reason for (kind, check), reason in EXCEPTIONS.items() if kind == estimator.expert}
    return {**found, "check_do_not_raise_errors_in_init_or_set_params": CHECKED_TYPES}


def estimators(*kinds):
    return [kind(expert, trees=5) for kind in (PropertyRegressor, PropertyClassifier) for expert in kinds]


@parametrize_with_checks(estimators("kernel"), expected_failed_checks=expected_failures)
def test_default_estimators(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(estimators("forest", "linear", "boosting"), expected_failed_checks=expected_failures)
def test_other_estimators(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", WITHOUT_DATA)
def test_transformer(check):
    getattr(estimator_checks, check)("NetworkEncoder", NetworkEncoder())


def test_constructors_check_nothing():
    code = """
import json
from sklearn.utils.estimator_checks import check_do_not_raise_errors_in_init_or_set_params as check
from sne.sklearn import NetworkEncoder, PropertyClassifier, PropertyRegressor
kinds = (NetworkEncoder, PropertyClassifier, PropertyRegressor)
for kind in kinds:
    check(kind.__name__, kind())
print(json.dumps(len(kinds)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == 3


@pytest.mark.parametrize("expert", ["forest", "kernel"])
def test_rounding(expert):
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    model = PropertyClassifier(expert, trees=10).fit(rows, labels)
    together = model.predict_proba(rows)
    alone = np.concatenate([model.predict_proba(row[None]) for row in rows])
    assert np.abs(together - alone).max() < 1e-5
