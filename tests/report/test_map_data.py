"""Data of a map: what Parquet files keep, and which are refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report.map_cases import islands

from sne.errors import ReportError
from sne.report.map_data import Column, MapData


def same(one, other):
    return one.dtype == other.dtype and all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


def test_a_file_keeps_everything(tmp_path):
    data = islands()
    data.write(tmp_path / "map.parquet")
    again = MapData.read(tmp_path / "map.parquet")
    assert again.names == data.names and np.array_equal(again.embeddings, data.embeddings)
    assert [column.name for column in again.columns] == [column.name for column in data.columns]
    for one, other in zip(data.columns, again.columns, strict=True):
        assert same(one.values, other.values)
    low, high = again.find("predicted test_accuracy").low, again.find("predicted test_accuracy").high
    assert np.allclose(high - low, 0.2)


def test_names_that_are_no_text_can_be_written(tmp_path):
    data = islands(1, 2, names=("a\udcff.pt", "b.pt"))
    data.write(tmp_path / "map.parquet")
    assert MapData.read(tmp_path / "map.parquet").names == ("a\\udcff.pt", "b.pt")


def test_files_of_sne_encode_and_columns_of_ones_own_are_read(tmp_path):
    table = pa.table(
        {
            "path": ["a.pt", "b.pt"],
            "embedding": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float16())),
            "steps": [100, None],
            "best": [True, False],
            "team": pa.array(["red", "blue"]).dictionary_encode(),
            "nothing": pa.nulls(2),
            "when": pa.array([0, 1], pa.timestamp("s")),
            "loss low": [0.5, 0.25],
        }
    )
    pq.write_table(table, tmp_path / "e.parquet")
    data = MapData.read(tmp_path / "e.parquet")
    assert data.embeddings.tolist() == [[1, 2], [3, 4]] and data.embeddings.dtype == np.float32
    values = {column.name: column.values.tolist() for column in data.columns}
    assert values.keys() == {"steps", "best", "team", "loss low"}
    assert values["steps"][0] == 100 and np.isnan(values["steps"][1])
    assert values["best"] == ["yes", "no"] and values["team"] == ["red", "blue"] and values["loss low"] == [0.5, 0.25]


@pytest.mark.parametrize(
    "columns, reason",
    [
        ({"path": ["a"]}, "no column embedding"),
        ({"file": ["a"], "vector": [[1.0]]}, "no column path and no column embedding"),
        ({"path": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]}, "lengths from 1 to 2"),
        ({"path": ["a", "b"], "embedding": [[1.0], None]}, "1 embedding missing"),
        ({"path": ["a"], "embedding": ["text"]}, "expected lists of numbers"),
        ({"path": ["a"], "embedding": [["text"]]}, "expected lists of numbers"),
        ({"path": ["a"], "embedding": [[float("nan")]]}, "its embedding is not finite"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, columns, reason):
    pq.write_table(pa.table(columns), tmp_path / "e.parquet")
    with pytest.raises(ReportError, match=reason) as caught:
        MapData.read(tmp_path / "e.parquet")
    assert str(tmp_path / "e.parquet") in str(caught.value)


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "e.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ReportError, match=r"e\.parquet"):
        MapData.read(tmp_path / "e.parquet")


def test_pairs_are_of_numbers_that_are_measured_and_predicted():
    data = islands()
    assert [(one.name, other.name) for one, other in data.pairs()] == [("test_accuracy", "predicted test_accuracy")]


def test_columns_are_found_by_name_and_by_title():
    data = islands()
    assert data.find("optimizer") is data.find("config.optimizer")
    with pytest.raises(ReportError, match="no property 'colour'; known are family, test_accuracy"):
        data.find("colour")


def test_titles_leave_out_the_mark_of_hyperparameters():
    assert Column.of("predicted config.lr", [1.0]).title == "predicted lr"
    assert Column.of("my config.lr", [1.0]).title == "my config.lr"


def test_columns_have_one_value_per_network():
    with pytest.raises(ReportError, match="column a: 1 values of 2 networks"):
        MapData(("x", "y"), np.zeros((2, 3), dtype=np.float32), (Column.of("a", [1.0]),))
