"""`sne zoo import` and `sne zoo export`."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from sne.zoo import Split, Zoo, ZooWriter


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


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(4):
        torch.save(nn.Linear(3, 2).state_dict(), folder / f"net{number}.pt")
    return folder


def test_import_folder(sne_zoo, mine: Path, tmp_path: Path):
    (mine / "zoo.csv").write_text("path,score\nnet0.pt,0.5\nb.pt,0.7\n")
    result = sne_zoo("import", "folder", mine, tmp_path / "zoo", status=2)
    assert "3 checkpoints have no row in zoo.csv, left out: net1.pt, net2.pt, net3.pt" in result.err
    assert "1 row names no file that exists: b.pt (row 3)" in result.err
    assert result.err.splitlines()[-1].startswith("sne: 1 of 2 checkpoints") and not (tmp_path / "zoo").exists()
    result = sne_zoo("import", "folder", mine, tmp_path / "zoo", "--skip-bad", "--json")
    assert json.loads(result.out)["networks"] == 1 and "sne: " in result.err
    assert "1 network of 1 run" in sne_zoo("info", tmp_path / "zoo").out


def test_what_a_newcomer_types(sne_zoo, mine: Path, tmp_path: Path):
    """A table without any of the usual names, in the European way."""
    rows = "".join(f"net{number};{90 + number},5 %;adam;0,0{number + 1};{number // 2}\n" for number in range(4))
    (mine / "results.csv").write_text("model;acc;opt;lr;seed\n" + rows)
    words = ("import", "folder", mine, tmp_path / "zoo")
    result = sne_zoo(
        *words, "--property", "acc", "--hyperparameter", "opt", "--hyperparameter", "lr", "--run-column", "seed"
    )
    shown = [line.split(maxsplit=1) for line in result.err.splitlines() if "networks:" not in line][1:]
    assert [(words[0], words[1].split("  ")[0]) for words in shown] == [
        ("column", "becomes"), ("model", "path"), ("acc", "property acc"), ("opt", "hyper-parameter config.opt"),
        ("lr", "hyper-parameter config.lr"), ("seed", "run"),
    ]  # fmt: skip
    assert "number, 0.905 to 0.935" in shown[2][1] and "percentages, divided by 100" in shown[2][1]
    assert result.out.splitlines()[-1] == f"next: sne train {tmp_path / 'zoo'} --target acc --out my_predictor"
    zoo = Zoo.open(tmp_path / "zoo")
    assert zoo.runs == ["0", "0", "1", "1"] and zoo.column("config.lr").tolist() == [0.01, 0.02, 0.03, 0.04]


@pytest.mark.parametrize(
    "cell, message", [("97%", "23 numbers, 1 percentage ('97%', row 5)"), ("n/a", "23 numbers, 1 text ('n/a', row 5)")]
)
def test_one_bad_cell_writes_nothing(sne_zoo, mine: Path, tmp_path: Path, cell: str, message: str):
    scores = [f"0.{number}" for number in range(10, 33)]
    scores.insert(3, cell)
    for number in range(24):
        (mine / f"{number}.pt").write_bytes((mine / "net0.pt").read_bytes())
    (mine / "zoo.csv").write_text("path,score\n" + "".join(f"{i}.pt,{score}\n" for i, score in enumerate(scores)))
    result = sne_zoo("import", "folder", mine, tmp_path / "zoo", status=2)
    assert len(result.err.splitlines()) == 1 and f"column score: {message}" in result.err
    assert not (tmp_path / "zoo").exists()
    (mine / "zoo.csv").write_text((mine / "zoo.csv").read_text().replace(f",{cell}\n", ",\n"))
    result = sne_zoo("import", "folder", mine, tmp_path / "zoo")
    (line,) = (line for line in result.err.splitlines() if line.startswith("score"))
    assert line.split() == ["score", "property", "score", "number,", "0.1", "to", "0.32", "1"]


def test_path_column(sne_zoo, mine: Path, tmp_path: Path):
    (mine / "zoo.csv").write_text("model,init,score\nnet0.pt,net2.pt,1\nnet1.pt,net3.pt,0.5\n")
    result = sne_zoo("import", "folder", mine, tmp_path / "zoo", status=2)
    assert "the columns model, init all name files; --path-column chooses one" in result.err
    sne_zoo("import", "folder", mine, tmp_path / "zoo", "--path-column", "Model")
    assert Zoo.open(tmp_path / "zoo").ids == ["net0.pt", "net1.pt"]


def test_import_of_models_with_cards(sne_zoo, tmp_path: Path):
    source = tmp_path / "models" / "one"
    source.mkdir(parents=True)
    torch.save(nn.Linear(3, 2).state_dict(), source / "pytorch_model.bin")
    (source / "README.md").write_text("---\ndatasets: beans\n---\n")
    result = sne_zoo("import", "hugging-face", tmp_path / "models", tmp_path / "zoo", "--json")
    (family,) = json.loads(result.out)["families"]
    assert family["dataset"] == "beans" and "networks: 1/1" in result.err


def test_export_and_import_again(sne_zoo, zoo: Path, tmp_path: Path):
    result = sne_zoo("export", "folder", zoo, tmp_path / "out", "--json")
    assert json.loads(result.out) == {"path": str(tmp_path / "out"), "networks": 4}
    assert "networks: 4/4" in result.err
    sne_zoo("import", "folder", tmp_path / "out", tmp_path / "back")
    assert Zoo.open(tmp_path / "back").ids == ["n0", "n1", "n2", "n3"]
    assert (tmp_path / "back" / "split.json").read_text() == (zoo / "split.json").read_text()


def test_export_of_a_choice(sne_zoo, zoo: Path, tmp_path: Path):
    text = sne_zoo(
        "export", "folder", zoo, tmp_path / "out", "--split", "test", "--family", "gru,mlp", "--files", "pt"
    ).out
    assert text == f"{tmp_path / 'out'}: 2 networks\n"
    assert len(list((tmp_path / "out" / "networks" / "000").glob("*.pt"))) == 2
    sne_zoo("export", "folder", zoo, tmp_path / "gru", "--family", "gru")
    assert (tmp_path / "gru" / "zoo.csv").read_text().count("gru") == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["import", "zip", ".", "OUT"], "expected one of folder, small-cnn-zoo"),
        (["import", ".", "OUT"], "the first argument is the format, one of folder, small-cnn-zoo"),
        (["import", "folder", "."], "expected SOURCE and OUT after 'folder', such as: sne zoo import folder"),
        (["import", "folder", "ZOO", "FILE/zoo"], "file is not a folder"),
        (["import", "folder", "ZOO", "FILE"], "is a file, expected a folder"),
        (["import", "sine-inr", "NONE", "OUT", "--property", "a"], "for the format 'folder' only"),
        (["export", "ZOO", "OUT"], "is not known, expected folder; expected three arguments"),
        (["export", "folder", "ZOO"], "expected three arguments, such as: sne zoo export folder my_zoo"),
        (["export", "folder", "ZOO", "FILE/out"], "file is not a folder"),
        (["import", "small-cnn-zoo", ".", "OUT"], "cannot be read"),
        (["import", "schuerholt", "NONE", "OUT"], "no such folder"),
        (["import", "sine-inr", "NONE", "OUT"], "expected a folder of .pth files"),
        (["import", "small-transformer-zoo", "NONE", "OUT"], "expected a folder metadata"),
        (["import", "hugging-face", "NONE", "OUT"], "no such folder"),
        (["export", "zip", "ZOO", "OUT"], "format 'zip' is not known, expected folder"),
        (["export", "folder", "NONE", "OUT"], "is not a zoo"),
        (["export", "folder", "ZOO", "ZOO"], "exists already"),
        (["export", "folder", "ZOO", "OUT", "--split", "dev"], "split 'dev' is not known"),
        (["export", "folder", "ZOO", "OUT", "--family", "vgg"], "no networks of family 'vgg'; it has gru, mlp"),
        (["export", "folder", "ZOO", "OUT", "--files", "zip"], "expected one of safetensors, pt"),
    ],
)
def test_mistakes_are_one_line(sne_zoo, zoo: Path, tmp_path: Path, words, message):
    file = tmp_path / "file"
    file.write_text("x")
    places = {
        "OUT": tmp_path / "out", "ZOO": zoo, "NONE": tmp_path / "none", "FILE": file, "FILE/zoo": file / "zoo",
        "FILE/out": file / "out",
    }  # fmt: skip
    result = sne_zoo(*(places.get(word, word) for word in words), status=2)
    assert result.out == "" and len(result.err.strip().splitlines()) == 1
    assert result.err.startswith("sne: ") and message in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_ends_with_an_example(sne_zoo, command: str):
    text = sne_zoo(command, "--help").out
    assert f"sne zoo {command}" in text.strip().splitlines()[-1]


def test_help_of_import_shows_a_csv_line_by_line(sne_zoo):
    lines = [line.strip() for line in sne_zoo("import", "--help").out.splitlines()]
    start = lines.index("path,run,step,test_accuracy,config.learning_rate")
    assert lines[start - 1] == "A CSV for the format folder:" and lines[start + 1] == "a/100.pt,a,100,0.91,0.001"
