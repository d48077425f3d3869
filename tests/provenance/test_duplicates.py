"""Groups of networks that are copies of each other."""

import numpy as np
import pytest
import torch
from provenance.descendants import copy_of, noisy, perceptron

from sne import Predictor, Relation
from sne.provenance import duplicates as module
from sne.provenance.duplicates import duplicates
from sne.provenance.index import Index

INPUTS = torch.zeros(2, 16)


@pytest.fixture
def index(tmp_path):
    return Index.open_or_create(tmp_path / "index", Predictor.from_pretrained())


@pytest.fixture
def add(index, tmp_path):
    """Writes networks as files and indexes them."""

    def do(states):
        for name, state in states.items():
            torch.save(state, tmp_path / f"{name}.pt")
        index.add([str(tmp_path / f"{name}.pt") for name in states], Predictor.from_pretrained(), errors=pytest.fail)

    return do


def names(groups):
    return [[(one.path.rpartition("/")[2], one.relation) for one in group] for group in groups]


def test_copies_are_grouped_with_their_relation_to_the_first(index, add):
    state = perceptron(0).state_dict()
    add({
        "a": state,
        "b": {f"net.{name}": values for name, values in state.items()},
        "c": copy_of(perceptron(0), INPUTS),
        "d": noisy(state, 0.01),
        "e": perceptron(1).state_dict(),
        "f": copy_of(perceptron(1), INPUTS, seed=3),
        "g": perceptron(2).state_dict(),
        "h": {name: values.half() for name, values in perceptron(2).state_dict().items()},
    })  # fmt: skip
    told = []
    assert names(duplicates(index, warn=pytest.fail, on_progress=lambda *numbers: told.append(numbers))) == [
        [("a.pt", None), ("b.pt", Relation.IDENTICAL), ("c.pt", Relation.SAME_FUNCTION)],
        [("e.pt", None), ("f.pt", Relation.SAME_FUNCTION)],
    ]
    assert told and told[-1][0] == told[-1][1] < 8 * 7 / 2  # far from all pairs were compared


def test_copies_that_are_gone_are_told(index, add, tmp_path):
    add({"a": perceptron(0).state_dict(), "b": copy_of(perceptron(0), INPUTS)})
    (tmp_path / "b.pt").unlink()
    told = []
    assert duplicates(index, warn=told.append) == []
    assert told and all("b.pt" in line and "not there any more" in line for line in told)


def test_an_empty_index_has_no_duplicates(index):
    assert duplicates(index, warn=pytest.fail) == []


@pytest.mark.parametrize("num_rows", [2, 3, 300])
def test_near_pairs_are_those_of_a_slow_loop(num_rows):
    random = np.random.default_rng(0)
    chains = np.repeat(random.standard_normal((num_rows, 20)), 3, axis=0)
    chains *= 1 + module.NEAR * 1.5 * random.standard_normal(chains.shape)
    chains[5] = chains[4] = 0
    rows = np.arange(0, 3 * num_rows)[random.permutation(3 * num_rows)[: 2 * num_rows + 2]]
    chains = chains.astype(np.float32)
    limits = module.NEAR * np.linalg.norm(chains, axis=1)
    expected = {
        (a, b)
        for a in rows.tolist()
        for b in rows.tolist()
        if a < b and 0 < np.linalg.norm(chains[a] - chains[b]) <= min(limits[a], limits[b])
    }
    found = [tuple(sorted(pair)) for pair in module._near_pairs(chains, rows)]
    assert len(found) == len(set(found)) and expected <= set(found)
    assert all(np.linalg.norm(chains[a] - chains[b]) <= max(limits[a], limits[b]) for a, b in found)


def test_networks_without_matrices_are_no_near_pairs():
    assert list(module._near_pairs(np.zeros((4, 20)), np.arange(4))) == []
