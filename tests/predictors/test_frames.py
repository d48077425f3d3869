"""Embeddings as tables."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from tiny import TinyEncoder, mlp_state

from sne.errors import PredictorError
from sne.predictors import Predictor, encode, encode_to_file
from sne.predictors.frames import embedding_names


@pytest.fixture
def paths(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for number in range(3):
        save_file(mlp_state(generator, width=5, gain=1.0 + number), tmp_path / f"net{number}.safetensors")
    return [str(tmp_path / f"net{number}.safetensors") for number in (2, 0, 1)]


@pytest.mark.parametrize("make", [Predictor.from_pretrained, TinyEncoder], ids=["predictor", "encoder"])
def test_rows_and_names(paths, make):
    encoder = make()
    expected = encode(paths, encoder=encoder)
    frame = encode(paths, encoder=encoder, as_frame="pandas")
    assert frame.index.tolist() == paths and frame.index.name == "path"
    assert frame.columns.tolist() == embedding_names(encoder) and len(frame.columns) == encoder.dim
    np.testing.assert_array_equal(frame.to_numpy(), expected)
    assert set(frame.dtypes) == {np.dtype("float32")}
    table = encode(paths, encoder=encoder, as_frame="pyarrow")
    assert table["path"].to_pylist() == paths
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), dtype=np.float32), expected)


def test_skipped_sources_have_no_row(paths, tmp_path):
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    failed = []
    frame = encode(
        [paths[0], str(tmp_path / "bad.pt"), paths[1]], encoder=TinyEncoder(), as_frame="pandas",
        errors=lambda name, error: failed.append(name),
    )  # fmt: skip
    assert frame.index.tolist() == paths[:2] and failed == [str(tmp_path / "bad.pt")]


def test_no_source():
    assert encode([], encoder=TinyEncoder(), as_frame="pandas").shape == (0, 8)
    assert encode([], encoder=TinyEncoder(), as_frame="pyarrow").num_rows == 0


def test_the_table_is_that_of_the_file(paths, tmp_path):
    predictor = Predictor.from_pretrained()
    encode_to_file(paths, tmp_path / "e.parquet", predictor=predictor)
    assert pq.read_table(tmp_path / "e.parquet").equals(encode(paths, encoder=predictor, as_frame="pyarrow"))


def test_names_are_those_of_the_description():
    predictor = Predictor.from_pretrained()
    forest = Predictor(predictor.encoder, predictor.properties, predictor.experts[-1:], np.ones((1, 7)))
    assert forest.embeds_description and embedding_names(forest) == list(predictor.encoder.summary_names)


def test_pandas_is_named_where_it_is_missing(paths, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PredictorError, match="needs pandas; install the extra 'pandas'"):
        encode(paths, encoder=TinyEncoder(), as_frame="pandas")
