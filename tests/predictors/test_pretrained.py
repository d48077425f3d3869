"""The packaged predictor: there right after install, small, without code, and honest about what it does not know."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sne
from sne.predictors import Predictor, PredictorError, packaged_predictors
from sne.predictors.pretrained import pretrained_folder

MOST_BYTES = 10_000_000


@pytest.fixture(scope="module")
def packaged() -> Predictor:
    return Predictor.from_pretrained()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """Checkpoints of a language model and of an agent, with random weights."""
    folder = tmp_path_factory.mktemp("fresh")
    torch.manual_seed(0)
    language = nn.ModuleDict(
        {
            "embedding": nn.Embedding(300, 64),
            "layers": nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128), 2, enable_nested_tensor=False),
        }
    )
    torch.save(language.state_dict(), folder / "language.pt")
    torch.save(nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 4)).state_dict(), folder / "agent.pt")
    return folder


def test_it_is_small_and_holds_no_code():
    folder = pretrained_folder()
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(files) == {"config.json", "model.safetensors", "metrics.json", "README.md"}
    assert sum(files.values()) <= MOST_BYTES


def test_it_names_no_folder_of_the_machine_that_made_it():
    config = (pretrained_folder() / "config.json").read_text()
    assert json.loads(config)["training"]["zoo"] == "zoo" and '"/' not in config


def test_it_predicts_what_its_card_says(packaged):
    names = [prop.name for prop in packaged.properties]
    assert names[:4] == ["test_accuracy", "generalization_gap", "progress", "dataset"]
    assert names[4:] == ["config.optimizer", "config.activation", "config.learning_rate"]
    card = (pretrained_folder() / "README.md").read_text()
    assert all(f"`{name}`" in card for name in names)
    assert f"{packaged.record['networks']:,} networks" in card


def test_networks_of_other_kinds_are_outside(packaged, fresh):
    predictions = packaged.predict(str(fresh))
    assert {Path(p.source).name for p in predictions} == {"language.pt", "agent.pt"}
    assert all(p.in_domain is False for p in predictions)
    accuracies = [p for p in predictions if p.property == "test_accuracy"]
    assert all(p.high - p.low > 0.3 for p in accuracies)


def test_it_needs_no_network(packaged, fresh, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    rows = sne.encode([str(fresh / "agent.pt"), str(fresh / "language.pt")])
    np.testing.assert_array_equal(rows, packaged.encode([str(fresh / "agent.pt"), str(fresh / "language.pt")]))
    assert rows.shape == (2, packaged.dim) and np.isfinite(rows).all()


def test_names_and_folders(tmp_path, monkeypatch):
    assert packaged_predictors() == ["default"]
    own = tmp_path / "own"
    assert pretrained_folder("default") == pretrained_folder()
    with pytest.raises(PredictorError, match=r"own: no such predictor folder, and no packaged predictor .*default"):
        Predictor.from_pretrained(own)
    own.mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "config.json").write_text("{}")
    assert pretrained_folder(Path("default")) == Path("default")
    with pytest.raises(PredictorError, match=r"write \./default for the folder"):
        pretrained_folder("default")
    with pytest.raises(PredictorError, match=r"not a predictor, config\.json is missing"):
        Predictor.from_pretrained(own)
