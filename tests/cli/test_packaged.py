"""`sne predict` and `sne encode` without --predictor."""

import math

import pytest
import torch
from torch import nn


@pytest.fixture
def fresh(tmp_path):
    """A language model and an agent, with random weights."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    torch.manual_seed(0)
    language = nn.ModuleDict({"embedding": nn.Embedding(300, 64), "head": nn.Linear(64, 300)})
    torch.save(language.state_dict(), folder / "language.pt")
    torch.save(nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 4)).state_dict(), folder / "agent.pt")
    return folder


def test_predict_prints_one_narrow_row_per_file(sne_command, fresh):
    done = sne_command("predict", fresh)
    head, *rows = done.out.splitlines()
    assert done.status == 0 and len(rows) == 2
    assert head.split()[:4] == ["file", "test_accuracy", "test_accuracy", "90%"]
    assert head.split()[-2:] == ["learning_rate", "remark"] and "probability" not in head
    assert all(row.endswith("outside the known domain") for row in rows)


def test_predict_tells_everything_of_a_single_file(sne_command, fresh):
    head, *rows = sne_command("predict", fresh / "agent.pt").out.splitlines()
    assert head.split() == ["file", "property", "value", "90%", "probability", "remark"]
    assert len(rows) == 7 and rows[-1].split()[0] == "learning_rate"


def test_predict_some_properties(sne_command, fresh):
    found = sne_command("predict", fresh, "--target", "dataset", "--target", "test_accuracy", "--json").json()
    assert [line["property"] for line in found] == ["dataset", "test_accuracy"] * 2
    assert all(line["in_domain"] is False for line in found)
    (line,) = sne_command("predict", fresh / "agent.pt", "--target", "optimizer", "--json").json()
    assert line["property"] == "config.optimizer"  # by the name in the tables
    refused = sne_command("predict", fresh, "--target", "size")
    assert refused.status == 2 and "not 'size'" in refused.err


def test_encode_writes_to_the_current_folder(sne_command, fresh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sne_command("encode", fresh).status == 0
    assert (tmp_path / "embeddings.parquet").is_file()
    again = sne_command("encode", fresh)
    assert again.status == 2 and "is there already" in again.err


def test_each_class_has_its_own_probability(sne_command, fresh):
    head = sne_command("predict", fresh, "--target", "dataset", "--target", "config.optimizer").out.splitlines()[0]
    assert "dataset probability" in head and " optimizer probability" in head


def test_watch_has_the_same_columns_with_and_without_predictions(sne_command, fresh):
    torch.save({"0.weight": torch.full((3, 3), math.nan)}, fresh / "broken.pt")
    head, *rows = sne_command("watch", fresh, "--once", "--target", "optimizer").out.splitlines()
    assert head.split()[:3] == ["time", "file", "optimizer"] and "config." not in head
    broken = next(row for row in rows if "broken.pt" in row)
    assert broken.split()[2] == "-"
