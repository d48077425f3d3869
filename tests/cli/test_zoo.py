import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sne.zoo import Zoo, ZooWriter


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    with ZooWriter(tmp_path / "zoo") as writer:
        for i in range(4):
            writer.add(
                id=f"n{i}", run=f"r{i // 2}", family=("mlp", "gru")[i // 2], dataset="toy", step=i,
                state={"0.weight": torch.ones(2, 3 + i)}, properties={"test_accuracy": i / 4},
                hyperparameters={"depth": 1},
            )  # fmt: skip
    return tmp_path / "zoo"


def test_info_as_json(sne_zoo, zoo: Path):
    summary = json.loads(sne_zoo("info", zoo, "--json").out)
    assert summary["networks"] == 4 and summary["runs"] == 2 and summary["split"] is None
    mlp, gru = summary["families"]
    assert (mlp["family"], mlp["networks"], mlp["weights"]) == ("mlp", 2, [6, 8])
    assert mlp["test_accuracy"]["histogram"] == [1, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert gru["test_accuracy"]["max"] == 0.75
    assert summary["properties"] == ["test_accuracy"] and summary["hyperparameters"] == ["config.depth"]
    size = sum((zoo / name).stat().st_size for name in ("networks.parquet", "weights-00000.safetensors"))
    assert summary["bytes"] == size


def test_info_for_people(sne_zoo, zoo: Path):
    text = sne_zoo("info", zoo).out
    for part in ("4 networks of 2 runs", "mlp", "gru", "6 - 8", "0.500 - 0.750", "config.depth"):
        assert part in text


def test_make_then_the_same_again(sne_zoo, tmp_path: Path):
    words = (
        "make", tmp_path / "zoo", "--family", "mlp,small_cnn", "--networks", 1, "--steps", 3, "--keep", "1,3",
        "--workers", 1, "--json",
    )  # fmt: skip
    result = sne_zoo(*words)
    summary = json.loads(result.out)
    assert summary["networks"] == 4 and [f["family"] for f in summary["families"]] == ["mlp", "small_cnn"]
    assert "networks: 2/2" in result.err
    assert json.loads(sne_zoo(*words).out) == summary
    assert Zoo.open(tmp_path / "zoo").column("step").tolist() == [1, 3, 1, 3]


@pytest.mark.parametrize(
    "words, message",
    [
        (["make", "OUT", "--family", "alexnet"], "'alexnet' is not known; known families are small_cnn"),
        (["make", "OUT", "--keep", "1,x"], "--keep '1,x': expected whole numbers"),
        (["make", "OUT", "--steps", "3", "--epochs", "2"], "both given"),
        (["make", "OUT", "--images", "none.npz"], "none.npz: no such image file"),
        (["make", "ZOO"], "holds other files"),
        (["make", "FILE"], "is a file"),
        (["info", "OUT"], "is not a zoo"),
    ],
)
def test_mistakes_are_one_line(sne_zoo, zoo: Path, tmp_path: Path, words, message):
    (tmp_path / "file").write_text("x")
    before = (zoo / "networks.parquet").read_bytes()
    places = {"OUT": tmp_path / "out", "ZOO": zoo, "FILE": tmp_path / "file"}
    result = sne_zoo(*(places.get(word, word) for word in words), status=2)
    assert result.out == "" and len(result.err.strip().splitlines()) == 1
    assert result.err.startswith("sne: ") and message in result.err
    assert not (tmp_path / "out").exists() and (zoo / "networks.parquet").read_bytes() == before


def test_labels_that_do_not_fit(sne_zoo, tmp_path: Path):
    x = np.zeros((9, 20, 20), np.uint8)
    np.savez(tmp_path / "bad.npz", x_train=x, y_train=np.arange(9) - 1, x_test=x, y_test=np.arange(9))
    result = sne_zoo("make", tmp_path / "out", "--images", tmp_path / "bad.npz", status=2)
    assert "y_train: classes must lie in" in result.err


@pytest.mark.parametrize("command", ["make", "info"])
def test_help_ends_with_an_example(sne_zoo, command: str):
    text = sne_zoo(command, "--help").out
    assert f"sne zoo {command}" in text.strip().splitlines()[-1]
