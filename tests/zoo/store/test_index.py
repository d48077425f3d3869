import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sne.zoo import ZooError
from sne.zoo.store.columns import TableRows, join_tables
from sne.zoo.store.index import read_index, write_index


def table(**columns):
    rows = TableRows()
    for values in zip(*columns.values(), strict=True):
        rows.add(dict(zip(columns, values, strict=True)))
    return rows.table()


def test_columns_that_come_late_are_missing_before():
    rows = TableRows()
    for row in ({"id": "a", "x": 1}, {"id": "b", "config.d": "s"}, {"id": "c", "y": math.nan, "x": 2.5}):
        rows.add(row)
    made = rows.table()
    assert made.column_names[-3:] == ["x", "y", "config.d"]
    assert made["x"].to_pylist() == [1, None, 2.5] and made["y"].to_pylist() == [None] * 3
    assert made["config.d"].to_pylist() == [None, "s", None]


@pytest.mark.parametrize(
    "one, two, joined",
    [
        ([1], [True], pa.int64()),
        ([1], [0.5], pa.float64()),
        ([True], [0.5], pa.float64()),
        ([None], ["x"], pa.string()),
        ([None], [None], pa.float64()),
        ([True], [None], pa.bool_()),
    ],
)
def test_kinds_that_agree(one, two, joined):
    made = join_tables([("one", table(id=["a"], x=one)), ("two", table(id=["b"], x=two))])
    assert made["x"].type == joined and made["x"].to_pylist() == [*one, *two]


@pytest.mark.parametrize("number", [1, 0.5, True])
def test_text_and_numbers_do_not_agree(number):
    with pytest.raises(ZooError, match="column 'x' is text in two and a number in one"):
        join_tables([("one", table(id=["a"], x=[number])), ("two", table(id=["b"], x=["high"]))])
    with pytest.raises(ZooError, match="one: column 'x' holds list"):
        join_tables([("one", table(id=["a"]).append_column("x", [[[1]]]))])


def test_whole_numbers_stay_exact():
    large = 2**60 + 1
    made = join_tables([("one", table(id=["a"], x=[large])), ("two", table(id=["b"]))])
    assert made["x"].to_pylist() == [large, None]


def test_file(tmp_path):
    made = table(id=["a", "b"], x=[1.5, None], wall_time=[3.0, 4.0])
    write_index(tmp_path / "networks.parquet", made)
    assert read_index(tmp_path).equals(made.drop_columns(["wall_time"]))


def test_others_may_write_the_index(tmp_path):
    """A column that a user adds with pyarrow, without page checksums."""
    made = table(id=["a", "b"])
    write_index(tmp_path / "networks.parquet", made)
    more = pq.read_table(tmp_path / "networks.parquet").append_column("score", [[1.0, 2.0]])
    pq.write_table(more, tmp_path / "networks.parquet", store_schema=False)
    assert read_index(tmp_path)["score"].to_pylist() == [1.0, 2.0]
