import numpy as np
import pytest

from sne.making import FAMILIES
from sne.making.families.blocks import INITIALISERS
from sne.making.families.family import Family
from sne.making.families.overriding import ends, override
from sne.making.families.space import (
    Choice,
    LogUniform,
    Uniform,
    dimension_from_plain,
    dimension_to_plain,
    space_to_plain,
)
from sne.making.optimisers import OPTIMISERS
from sne.zoo import ZooError

FAMILY = Family(
    name="toy",
    space={
        "cell": Choice(("gru", "lstm")),
        "gate": Choice(("hard",), allowed=("hard", "soft")),
        "depth": Choice((1, 2)),
        "width": LogUniform(8.0, 64.0, whole=True),
        "offset": Uniform(-1.0, 1.0),
        "taper": Choice((0.5, 1.0)),
        "bias": Choice((True, False)),
        "optimizer": Choice(("adam",)),
        "init": Choice(("normal",)),
        "activation": Choice(("relu",)),
        "learning_rate": LogUniform(1e-3, 1e-1),
        "weight_decay": Uniform(0.0, 0.1),
        "dropout": Uniform(0.0, 0.5),
        "train_fraction": Choice((0.5, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=lambda *_: pytest.fail("nothing is built here"),
)


@pytest.mark.parametrize(
    "plain, dimension",
    [
        (128, Choice((128,))),
        ("adam", Choice(("adam",))),
        ([0.1, 1], Choice((0.1, 1))),
        ({"uniform": [0, 0.3]}, Uniform(0.0, 0.3)),
        ({"log_uniform": [5e-4, 5e-2]}, LogUniform(5e-4, 5e-2)),
        ({"log_uniform": [16, 128], "whole": True}, LogUniform(16.0, 128.0, whole=True)),
        ({"uniform": [1, 1], "whole": True}, Uniform(1.0, 1.0, whole=True)),
    ],
)
def test_plain_there_and_back(plain, dimension):
    assert dimension_from_plain(plain, "here") == dimension
    assert dimension_to_plain(dimension) == plain


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_overrides_itself(name):
    family = FAMILIES[name]
    again = override(family, space_to_plain(family.space), "here")
    assert space_to_plain(again.space) == space_to_plain(family.space) and list(again.space) == list(family.space)
    rngs = np.random.default_rng(1), np.random.default_rng(1)
    assert [again.sample(rngs[0]) for _ in range(5)] == [family.sample(rngs[1]) for _ in range(5)]


def test_whole_ranges_reach_both_ends_evenly():
    rng = np.random.default_rng(0)
    drawn = [Uniform(1.0, 3.0, whole=True).sample(rng) for _ in range(3000)]
    assert {type(value) for value in drawn} == {int}
    assert np.allclose(np.bincount(drawn)[1:] / 3000, 1 / 3, atol=0.04)
    assert ends(Uniform(1.0, 3.0, whole=True)) == (1, 3)


def test_other_dimensions_stay_and_kinds_are_kept():
    changed = override(
        FAMILY, {"taper": 1, "learning_rate": [1, 0.1], "width": {"uniform": [9, 9], "whole": True}}, "x"
    )
    assert changed.space["taper"] == Choice((1.0,)) and changed.space["learning_rate"] == Choice((1.0, 0.1))
    assert list(changed.space) == list(FAMILY.space) and changed.space["depth"] is FAMILY.space["depth"]
    drawn = changed.sample(np.random.default_rng(0))
    assert drawn["width"] == 9 and type(drawn["width"]) is int and type(drawn["taper"]) is float


@pytest.mark.parametrize(
    "name, values", [("optimizer", OPTIMISERS), ("init", INITIALISERS), ("gate", ("soft", "hard"))]
)
def test_all_that_is_allowed(name, values):
    assert override(FAMILY, {name: list(values)}, "x").space[name].values == tuple(values)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"lr": 0.1}, "here: toy has no 'lr'; it has cell, gate"),
        ({"optimizer": "lion"}, "here optimizer: 'lion' is not known, expected one of adam, adamw, sgd"),
        ({"init": ["normal", "zeros"]}, "here init: 'zeros'"),
        ({"activation": "foo"}, "here activation: 'foo'"),
        ({"cell": "rnn"}, "here cell: 'rnn' is not known, expected one of gru, lstm"),
        ({"gate": "none"}, "here gate: 'none' is not known, expected one of hard, soft"),
        ({"cell": {"uniform": [0, 1]}}, "here cell: got a range, expected text"),
        ({"cell": 3}, "here cell: got 3, expected text"),
        ({"bias": 1}, "here bias: got 1, expected true or false"),
        ({"depth": 2.0}, "here depth: got 2.0, expected whole numbers"),
        ({"depth": True}, "here depth: got True, expected whole numbers"),
        ({"depth": 0}, "here depth: got 0, expected at least 1"),
        ({"depth": {"uniform": [1, 2]}}, "here depth: .*add whole = true"),
        ({"depth": {"uniform": [1, 2.5], "whole": True}}, "expected whole ends"),
        ({"learning_rate": {"log_uniform": [0.1, 0.01]}}, "here learning_rate: log_uniform runs from 0.1 to 0.01"),
        ({"learning_rate": {"log_uniform": [0, 0.01]}}, "log_uniform begins at 0, expected a number above 0"),
        ({"learning_rate": {"uniform": [0, 0.01]}}, "here learning_rate: got 0.0, expected above 0"),
        ({"learning_rate": {"normal": [0, 1]}}, r"here learning_rate: got \{'normal'.*expected a value, a list"),
        ({"learning_rate": {"uniform": [0.1]}}, r"uniform is \[0.1\], expected \[low, high\]"),
        ({"learning_rate": {"uniform": ["a", "b"]}}, r"expected \[low, high\]"),
        ({"learning_rate": {"uniform": [0.1, 0.2], "whole": "yes"}}, "whole is 'yes'"),
        ({"learning_rate": "0.1"}, "here learning_rate: got '0.1', expected numbers"),
        ({"learning_rate": []}, "the list is empty"),
        ({"learning_rate": [[0.1]]}, r"got \[0.1\], expected a value"),
        ({"learning_rate": float("nan")}, "got nan, expected a finite"),
        ({"learning_rate": {"uniform": [0.1, float("inf")]}}, "got inf, expected a finite"),
        ({"weight_decay": -0.1}, "at least 0"),
        ({"dropout": [0.5, 1.0]}, "here dropout: got 1.0, expected at least 0 and below 1"),
        ({"train_fraction": 1.5}, "above 0 and at most 1"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_what_a_family_cannot_take(changes, message):
    with pytest.raises(ZooError, match=message):
        override(FAMILY, changes, "here")


def test_a_familys_own_names_stand_in_place_of_the_general_ones():
    with pytest.raises(ZooError, match="here init: 'normal' is not known, expected one of siren"):
        override(FAMILIES["sine_inr"], {"init": "normal"}, "here")
