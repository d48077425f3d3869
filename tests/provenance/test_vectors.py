"""The vectors of an index in memory."""

import numpy as np
import pyarrow as pa
import pytest
from provenance.test_index_of_networks import folder, index, no_errors, predictor  # noqa: F401 (fixtures)

from sne.provenance import vectors
from sne.provenance.index import Index
from sne.provenance.vectors import Vectors

VALUES = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float16)


def rows(column):
    stored = pa.FixedSizeListArray.from_arrays(pa.array(VALUES.reshape(-1)), 16)
    names = [f"net-{number}" for number in range(len(VALUES))]
    whole = pa.table({"path": names, "stamp": names, column: stored})
    return pa.concat_tables([whole.slice(0, 100), whole.slice(100)])  # an index has many pieces


@pytest.mark.parametrize("column", ["sketch", "chain"])
def test_nearest_are_those_of_a_loop(column):
    asked = np.random.default_rng(1).standard_normal(16).astype(np.float32)
    stored = VALUES.astype(np.float64)
    if column == "sketch":
        expected = 1 - stored @ asked / np.linalg.norm(stored, axis=1) / np.linalg.norm(asked)
    else:
        expected = np.square(stored - asked).sum(1)
    order = np.argsort(expected)[:7]
    found = Vectors.of_rows(rows(column), column, ("1",)).nearest(asked, 7)
    assert [row["path"] for row in found] == [f"net-{number}" for number in order]
    assert [row["stamp"] for row in found] == [row["path"] for row in found]
    np.testing.assert_allclose([row["_distance"] for row in found], expected[order], rtol=1e-4)


def test_more_neighbours_than_rows_are_all_rows():
    assert len(Vectors.of_rows(rows("sketch"), "sketch", ("1",)).nearest(VALUES[0], 1000)) == len(VALUES)


@pytest.mark.parametrize("column", ["sketch", "chain", "embedding"])
def test_the_second_answer_is_the_first_one(index, column):  # noqa: F811
    opened = Index.open(index.folder)
    asked = np.array(opened.rows([column])[column][3].as_py(), np.float32)
    first, second = (opened.nearest(asked, column, 100) for _ in range(2))
    assert column in opened._in_memory
    distances = [{row["path"]: row["_distance"] for row in found} for found in (first, second)]
    assert distances[1] == pytest.approx(distances[0], abs=1e-5)
    assert [*distances[1].values()] == sorted(distances[1].values())


def test_a_changed_index_is_read_again(folder, predictor, tmp_path):  # noqa: F811
    made = Index.open_or_create(tmp_path / "index", predictor)
    files = sorted(map(str, folder.glob("*.pt")))
    made.add(files[:4], predictor, errors=no_errors)
    asked = np.ones(128, np.float32)
    counts = [len(made.nearest(asked, "sketch", 100)) for _ in range(3)]
    made.add(files[4:6], predictor, errors=no_errors)
    assert [*counts, len(made.nearest(asked, "sketch", 100))] == [4, 4, 4, 6]


def test_too_many_vectors_are_not_kept(index, monkeypatch):  # noqa: F811
    opened = Index.open(index.folder)
    monkeypatch.setattr("sne.provenance.index.MOST_BYTES", 4 * 128 * 16)
    assert len({len(opened.nearest(np.ones(128, np.float32), "sketch", 100)) for _ in range(3)}) == 1
    assert not opened._in_memory
    assert vectors.MOST_BYTES > 4 * 128 * 16
