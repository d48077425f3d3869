"""Tables of predictions."""

import csv
import os

import pyarrow.parquet as pq
import pytest

from sne.errors import PredictorError, WriteError
from sne.predictors import Prediction, write_predictions

CHANCES = {"adam": 0.75, "sgd": 0.25}


def network(name, value, **more):
    return [
        Prediction(name, "test_accuracy", value, value - 0.1, value + 0.1, **more),
        Prediction(name, "optimizer", "adam", probabilities=CHANCES, **more),
        Prediction(name, "test_loss", 2 * value, **more),
    ]


TABLE = [
    network("a, b.pt", 0.5, p_value=0.5, in_domain=True),
    network("c.pt", 0.25, p_value=0.01, in_domain=False, num_read=10, num_weights=90),
]
WARNINGS = {"c.pt": ["half was read", 'a "quoted" name']}
NAMES = [
    "path", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "optimizer", "optimizer_probability",
    "test_loss", "test_loss_low", "test_loss_high", "in_domain", "p_value", "weights_read", "weights", "warnings",
]  # fmt: skip


def test_csv(tmp_path):
    write_predictions(tmp_path / "t.csv", TABLE, WARNINGS)
    head, *rows = csv.reader((tmp_path / "t.csv").open(newline="", encoding="utf-8"))
    assert head == NAMES
    assert rows[0] == ["a, b.pt", "0.5", "0.4", "0.6", "adam", "0.75", "1.0", "", "", "true", "0.5", "", "", ""]
    assert rows[1][-5:] == ["false", "0.01", "10", "90", 'half was read; a "quoted" name']


def test_parquet_has_types_even_where_all_is_missing(tmp_path):
    write_predictions(tmp_path / "t.parquet", TABLE[:1])
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.column_names == NAMES
    types = {field.name: str(field.type) for field in table.schema}
    assert types["test_loss_low"] == "double" and types["weights"] == "int64" and types["warnings"] == "string"
    assert types["in_domain"] == "bool" and types["optimizer"] == "string"
    assert table.to_pylist()[0] == {
        **dict.fromkeys(NAMES), "path": "a, b.pt", "test_accuracy": 0.5, "test_accuracy_low": 0.4,
        "test_accuracy_high": 0.6, "optimizer": "adam", "optimizer_probability": 0.75, "test_loss": 1.0,
        "in_domain": True, "p_value": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_names_that_are_no_text(tmp_path, name):
    write_predictions(tmp_path / name, [network(os.fsdecode(b"a\xff\n.pt"), 0.5)])
    if name.endswith(".csv"):
        (row,) = csv.DictReader((tmp_path / name).open(newline="", encoding="utf-8"))
    else:
        (row,) = pq.read_table(tmp_path / name).to_pylist()
    assert row["path"] == "a\\xff\n.pt"


def test_an_old_table_is_kept_if_the_new_one_fails(tmp_path):
    (tmp_path / "t.csv").write_text("old")
    twice = [[*network("a.pt", 0.5), Prediction("a.pt", "test_accuracy_low", 1.0)]]
    with pytest.raises(PredictorError, match="two columns 'test_accuracy_low'"):
        write_predictions(tmp_path / "t.csv", twice)
    assert (tmp_path / "t.csv").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(PredictorError, match=r"t\.txt: expected a name that ends in \.csv or \.parquet"):
        write_predictions(tmp_path / "t.txt", TABLE)
    with pytest.raises(WriteError, match="it is a folder"):
        (tmp_path / "f.csv").mkdir()
        write_predictions(tmp_path / "f.csv", TABLE)


@pytest.mark.parametrize("name", ["=1+1.pt", "+a.pt", "-a.pt", "@a.pt", "\t=1.pt", " =1.pt", "\r=1.pt"])
def test_csv_holds_no_formulas(tmp_path, name):
    hostile = Prediction(name, "=class", "=1+1", probabilities={"=1+1": 0.75, "-1": 0.25})
    write_predictions(tmp_path / "t.csv", [[hostile]], {name: ["@reason"]})
    head, row = csv.reader((tmp_path / "t.csv").open(newline="", encoding="utf-8"))
    assert row[0] == "./" + name.replace("\r", "\\r"), "the same file for a program"
    assert head[1:3] == ["'=class", "'=class_probability"] and row[1] == "'=1+1" and row[-1] == "'@reason"


def test_csv_keeps_classes_that_are_numbers(tmp_path):
    write_predictions(tmp_path / "t.csv", [[Prediction("a.pt", "label", "-1", probabilities={"-1": 1.0})]])
    (row,) = csv.DictReader((tmp_path / "t.csv").open(newline="", encoding="utf-8"))
    assert row["label"] == "-1"
