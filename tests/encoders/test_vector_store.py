import tempfile

import pytest
import torch

from sne.encoders import vector_store
from sne.encoders.vector_store import VectorStore
from sne.errors import WriteError


@pytest.mark.parametrize("in_memory", [0, 1, 5, 9, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_come_back_in_order_and_more_than_once(in_memory, dtype, monkeypatch):
    monkeypatch.setattr(vector_store, "SLICE_VECTORS", 4)
    with VectorStore(torch.zeros(3, dtype=dtype), in_memory=in_memory) as store:
        for repeat in range(2):
            vectors = torch.randn(11 - repeat, 3, dtype=dtype)
            store.clear()
            for some in vectors.split((2, 1, 5, 3 - repeat)):
                store.append(some)
            assert len(store) == len(vectors)
            for _ in range(2):
                slices = list(store.slices())
                assert torch.equal(torch.cat(slices), vectors) and max(map(len, slices)) <= 4


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with VectorStore(torch.zeros(3), in_memory=0) as store:
        store.append(torch.ones(2, 3))
        assert torch.cat(list(store.slices())).tolist() == [[1.0] * 3] * 2
    assert store._file is not None and store._file.closed and not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with VectorStore(torch.zeros(3), in_memory=0) as store, pytest.raises(WriteError, match="no space left on device"):
        store.append(torch.ones(2, 3))
