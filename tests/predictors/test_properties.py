import json

import numpy as np
import pytest
import torch

from sne.predictors import PredictorError, Property


def edited(**changes):
    return Property.from_json({**Property.infer("a", [0.0, 0.5, 1.0]).to_json(), **changes})


def test_kinds_are_read_off_the_labels():
    assert Property.infer("a", [0.0, 0.5, np.nan, 1.0]).kind == "fraction"
    assert Property.infer("b", [0.0, 1.5]).kind == "real"
    assert Property.infer("c", [-0.1, 0.5]).kind == "real"
    letters = Property.infer("d", np.array(["y", None, "x", "y"], dtype=object))
    assert (letters.kind, letters.classes, letters.num_outputs) == ("class", ("x", "y"), 2)


def test_scale_ignores_missing_labels():
    prop = Property.infer("loss", [1.0, np.nan, 3.0])
    assert (prop.mean, prop.std) == (2.0, 1.0)
    assert Property.infer("constant", [5.0, 5.0]).std == 1.0


def test_encode():
    letters = Property("d", "class", ("x", "y"))
    np.testing.assert_array_equal(letters.encode(["y", None, "x"]), [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(Property("l", "real").encode([2.5, None]), [2.5, np.nan])


@pytest.mark.parametrize("prop", [Property("a", "class", ("x", "y")), Property.infer("b", [0.1, 3.7, -20.0])])
def test_json_round_trip(prop):
    assert Property.from_json(json.loads(json.dumps(prop.to_json()))) == prop


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Property.infer("a", [np.nan, np.nan]), "'a' has no labels"),
        (lambda: Property.infer("a", ["x", "x"]), "'x' everywhere"),
        (lambda: Property.infer("a", [f"0.{i}+-0.1" for i in range(12)]), "12 different texts among 12 labels"),
        (lambda: Property.infer("a", [1.0, np.inf]), "1 infinite label"),
        (lambda: Property.infer("a", ["0.5", "0.7", None, "n/a"]), r"2 labels are numbers, 1 text \('n/a'\)"),
        (lambda: Property.infer("a", [0.5, 0.7, "n/a"]), r"2 labels are numbers, 1 text \('n/a'\)"),
        (lambda: Property("a", "class", ("x", "y")).encode(["z"]), "class 'z' is none of x, y"),
        (lambda: Property("a", "fraction").encode([1.5]), r"fraction, got labels outside \[0, 1\]"),
        (lambda: Property("a", "real").encode(["much"]), "could not convert"),
        (
            lambda: Property.from_json({"name": "a", "kind": "odd"}),
            "kind 'odd', expected one of fraction, real, class",
        ),
        (lambda: Property("a", "class"), "0 classes"),
        (lambda: Property("a", "real", std=0.0), "give no scale"),
        (lambda: Property("a", "real", knots=(0.0, 1.0), knot_ranks=(0.5,)), "one rank each"),
        (lambda: Property("a", "real", knots=(1.0, 0.0), knot_ranks=(0.2, 0.8)), "knots must be finite and rise"),
        (lambda: Property("a", "real", knots=(0.0, np.nan), knot_ranks=(0.2, 0.8)), "knots must be finite and rise"),
        (lambda: Property("a", "real", knots=(0.0, np.inf), knot_ranks=(0.2, 0.8)), "knots must be finite and rise"),
        (lambda: Property("a", "real", knots=(0.0, 1.0), knot_ranks=(0.8, 0.2)), "knots must be finite and rise"),
        (lambda: Property("a", "real", knots=(np.nan,), knot_ranks=(0.5,)), "knots must be finite and rise"),
        (lambda: Property("a", "real", knots=(0.0, 1.0), knot_ranks=(0.2, 1.5)), r"outside \[0, 1\]"),
        (lambda: Property("a", "fraction", knots=(0.0, 3.0), knot_ranks=(0.2, 0.8)), "knots from 0 to 3"),
        (lambda: edited(mean=1e9), "cannot have mean 1e"),
        (lambda: edited(std=0.9), "and std 0.9"),
        (lambda: edited(knots=[], knot_ranks=[]), "no knots"),
        (lambda: edited(kind="class", classes="xy"), "classes are 'xy'"),
        (lambda: edited(kind="class", classes=["x", "x"]), "different names"),
    ],
)
def test_bad_labels_are_told(act, message):
    with pytest.raises(PredictorError, match=message):
        act()


def test_a_hyper_parameter_is_no_fraction():
    assert Property.infer("config.learning_rate", [1e-3, 1e-2, 0.1]).kind == "real"
    assert Property.infer("test_accuracy", [1e-3, 1e-2, 0.1]).kind == "fraction"


def test_ranks_are_the_share_of_labels_below():
    labels = [0.1, 0.1, 0.4, 0.9]
    prop = Property.infer("test_accuracy", labels)
    found = prop.ranks(torch.tensor([0.1, 0.4, 0.9, 0.0, 1.0, 0.25]))
    below = [sum(other < label for other in labels) + 0.5 * labels.count(label) for label in (0.1, 0.4, 0.9)]
    assert torch.allclose(found[:3], torch.tensor(below) / len(labels))
    assert found[3] == found[0] and found[4] == found[2]
    assert found[5] == (found[0] + found[1]) / 2
    assert Property.from_json(prop.to_json()) == prop


def test_ranks_of_many_labels_rise_and_stay_close():
    labels = np.random.default_rng(0).random(5000) ** 3
    prop = Property.infer("test_accuracy", labels)
    values = np.sort(labels)
    found = prop.ranks(torch.tensor(values)).numpy()
    assert (np.diff(found) >= 0).all()
    assert np.abs(found - (np.arange(5000) + 0.5) / 5000).max() < 2e-3
