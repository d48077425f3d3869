"""Networks of a map: from zoos, checkpoints, an index; what cannot be read is reported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import mlp_state, write_tiny_zoo

import sne
from sne.errors import CheckpointError, ReportError
from sne.provenance.index import Index
from sne.report.map_sources import read_map_data


@pytest.fixture(scope="module")
def predictor():
    return sne.Predictor.from_pretrained()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return write_tiny_zoo(tmp_path_factory.mktemp("map") / "zoo", runs=3)


@pytest.fixture
def files(tmp_path):
    for number in range(3):
        state = mlp_state(torch.Generator().manual_seed(number), width=5, gain=1.0)
        (tmp_path / f"team-{number % 2}").mkdir(exist_ok=True)
        torch.save(state, tmp_path / f"team-{number % 2}" / f"{number}.pt")
    return sorted(str(path) for path in tmp_path.rglob("*.pt"))


def test_a_zoo_brings_what_it_has_measured(zoo, predictor):
    data = read_map_data([str(zoo)], predictor=predictor)
    opened = sne.Zoo.open(zoo)
    assert data.names == tuple(f"{zoo}::{name}" for name in opened.ids)
    assert np.array_equal(data.find("test_accuracy").values, opened.column("test_accuracy"), equal_nan=True)
    assert data.find("family").values.tolist() == opened.families
    assert data.find("learning_rate").name == "config.learning_rate" and data.find("step").is_number
    found = predictor.predict(opened.networks(range(len(opened))))
    expected = [one for one in found if one.property == "test_accuracy"]
    predicted = data.find("predicted test_accuracy")
    assert np.allclose(predicted.values, [one.value for one in expected])
    assert [low if low == low else None for low in predicted.low] == pytest.approx([one.low for one in expected])
    assert data.find("in known domain").values.tolist() == [("no", "yes")[bool(one.in_domain)] for one in expected]
    assert np.allclose(data.embeddings, predictor.encode(opened.networks(range(len(opened)))), rtol=1e-4, atol=1e-4)
    assert "folder" not in [column.name for column in data.columns]


def test_checkpoints_and_zoos_make_one_map(zoo, files, predictor):
    data = read_map_data([str(zoo), *files], predictor=predictor)
    assert len(data) == 9 and data.names[6:] == tuple(files)
    assert np.isnan(data.find("test_loss").values[6:]).all() and data.find("run").values[6:].tolist() == [None] * 3
    assert [value.rpartition("/")[2] for value in data.find("folder").values] == ["zoo"] * 6 + ["team-0"] * 2 + [
        "team-1"
    ]


def test_an_index_is_not_read_again(zoo, files, predictor, tmp_path):
    index = Index.open_or_create(tmp_path / "index", predictor)
    index.add([str(zoo), files[0]], predictor, errors=lambda path, error: pytest.fail(str(error)))
    direct = read_map_data([str(zoo), files[0]], predictor=predictor)
    torch.save({"changed": torch.zeros(1)}, files[0])
    data = read_map_data([str(tmp_path / "index")])
    order = [direct.names.index(name) for name in data.names]
    assert np.allclose(data.embeddings, direct.embeddings[order], rtol=2e-3, atol=2e-3)  # stored in half precision
    for name in ("test_accuracy", "predicted test_accuracy", "num_weights"):
        assert np.allclose(data.find(name).values, direct.find(name).values[order], equal_nan=True)
    assert [one.name for one, _ in data.pairs()] == [one.name for one, _ in direct.pairs()]
    with pytest.raises(ReportError, match="makes a map of its own"):
        read_map_data([str(tmp_path / "index"), files[1]])


def test_bad_files_are_reported(files, predictor):
    Path(files[1]).write_bytes(b"no checkpoint")
    failed = {}
    data = read_map_data(files, predictor=predictor, errors=lambda name, error: failed.update({name: error}))
    assert len(data) == 2 and list(failed) == [files[1]]
    with pytest.raises(CheckpointError):
        read_map_data(files, predictor=predictor)
