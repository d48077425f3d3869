"""`sne zoo import` and `sne zoo export`."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from sne.zoo import Split, Zoo, ZooWriter


@pytest.fixture
def run(sne_command):
    """Runs `sne zoo` and checks the exit status."""

    def run_command(*words: object, status: int = 0):
        result = sne_command("zoo", *words)
        assert result.status == status, result
        return result

    return run_command


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    with ZooWriter(tmp_path / "zoo", split=Split(("r0",), (), ("r1",))) as writer:
        for i in range(4):
            writer.add(
                id=f"n{i}", run=f"r{i // 2}", family=("mlp", "gru")[i % 2], dataset="toy", step=i,
                state={"0.weight": torch.ones(2, 3 + i)}, properties={"test_accuracy": i / 4},
                hyperparameters={"depth": 1},
            )  # fmt: skip
    return tmp_path / "zoo"


def test_import_folder(run, tmp_path: Path):
    source = tmp_path / "mine"
    source.mkdir()
    torch.save(nn.Linear(3, 2).state_dict(), source / "a.pt")
    (source / "zoo.csv").write_text("path,score\na.pt,0.5\nb.pt,0.7\n")
    result = run("import", "folder", source, tmp_path / "zoo", status=2)
    first, *_, last = [line for line in result.err.splitlines() if not line.startswith("networks:")]
    assert "b.pt: no such file" in first
    assert last.startswith("sne: 1 of 2 checkpoints") and not (tmp_path / "zoo" / "networks.parquet").exists()
    result = run("import", "folder", source, tmp_path / "zoo", "--skip-bad", "--json")
    assert json.loads(result.out)["networks"] == 1 and "sne: " in result.err


def test_import_of_models_with_cards(run, tmp_path: Path):
    source = tmp_path / "models" / "one"
    source.mkdir(parents=True)
    torch.save(nn.Linear(3, 2).state_dict(), source / "pytorch_model.bin")
    (source / "README.md").write_text("---\ndatasets: beans\n---\n")
    result = run("import", "hugging-face", tmp_path / "models", tmp_path / "zoo", "--json")
    (family,) = json.loads(result.out)["families"]
    assert family["dataset"] == "beans" and "networks: 1/1" in result.err


def test_export_and_import_again(run, zoo: Path, tmp_path: Path):
    result = run("export", "folder", zoo, tmp_path / "out", "--json")
    assert json.loads(result.out) == {"path": str(tmp_path / "out"), "networks": 4}
    assert "networks: 4/4" in result.err
    run("import", "folder", tmp_path / "out", tmp_path / "back")
    assert Zoo.open(tmp_path / "back").ids == ["n0", "n1", "n2", "n3"]
    assert (tmp_path / "back" / "split.json").read_text() == (zoo / "split.json").read_text()


def test_export_of_a_choice(run, zoo: Path, tmp_path: Path):
    text = run("export", "folder", zoo, tmp_path / "out", "--split", "test", "--family", "gru,mlp", "--files", "pt").out
    assert text == f"{tmp_path / 'out'}: 2 networks\n"
    assert len(list((tmp_path / "out" / "networks" / "000").glob("*.pt"))) == 2
    run("export", "folder", zoo, tmp_path / "gru", "--family", "gru")
    assert (tmp_path / "gru" / "zoo.csv").read_text().count("gru") == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["import", "zip", ".", "OUT"], "expected one of folder, small-cnn-zoo"),
        (["import", "small-cnn-zoo", ".", "OUT"], "cannot be read"),
        (["import", "schuerholt", "NONE", "OUT"], "no such folder"),
        (["import", "sine-inr", "NONE", "OUT"], "expected a folder of .pth files"),
        (["import", "small-transformer-zoo", "NONE", "OUT"], "expected the folder metadata"),
        (["import", "hugging-face", "NONE", "OUT"], "no such folder"),
        (["export", "zip", "ZOO", "OUT"], "format 'zip' is not known, expected folder"),
        (["export", "folder", "NONE", "OUT"], "is not a zoo"),
        (["export", "folder", "ZOO", "ZOO"], "exists already"),
        (["export", "folder", "ZOO", "OUT", "--split", "dev"], "split 'dev' is not known"),
        (["export", "folder", "ZOO", "OUT", "--family", "vgg"], "no networks of family 'vgg'; it has gru, mlp"),
        (["export", "folder", "ZOO", "OUT", "--files", "zip"], "expected one of safetensors, pt"),
    ],
)
def test_mistakes_are_one_line(run, zoo: Path, tmp_path: Path, words, message):
    places = {"OUT": tmp_path / "out", "ZOO": zoo, "NONE": tmp_path / "none"}
    result = run(*(places.get(word, word) for word in words), status=2)
    assert result.out == "" and len(result.err.strip().splitlines()) == 1
    assert result.err.startswith("sne: ") and message in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_ends_with_an_example(run, command: str):
    text = run(command, "--help").out
    assert f"sne zoo {command}" in text.strip().splitlines()[-1]
