"""Embeddings in a file, and what an interruption leaves of them."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from spread_cases import make_predictor, write_checkpoints
from tiny import TinyEncoder

from sne.errors import CheckpointError, WriteError
from sne.predictors import PredictorError, encode_to_file, kept_rows, parts_folder
from sne.predictors.stamps import stamp
from sne.zoo import ZooError


class CountingEncoder(TinyEncoder):
    """Notes which networks it reads."""

    seen: list[str]

    def prepare(self, networks, **limits):
        self.seen += [Path(network.name).name for network in networks]
        return super().prepare(networks, **limits)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return write_checkpoints(tmp_path / "nets", 9)


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CountingEncoder, "seen", [], raising=False)
    return make_predictor(CountingEncoder)


def read(path: Path) -> tuple[list[str], np.ndarray]:
    table = pq.read_table(path)
    return table["path"].to_pylist(), np.array(table["embedding"].to_pylist(), dtype=np.float32)


def stop_after(number: int):
    def progress(done: int, total: int) -> None:
        if done >= number:
            raise KeyboardInterrupt

    return progress


def interrupt(paths, out, predictor, *, number=4):
    with pytest.raises(KeyboardInterrupt):
        encode_to_file(paths, out, predictor=predictor, batch_size=2, progress=stop_after(number))


@pytest.mark.parametrize("rows", [2, 1000])
def test_rows_are_those_of_encode(paths, predictor, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(kept_rows, "PART_ROWS", rows)
    monkeypatch.setattr(kept_rows, "GROUP_ROWS", rows + 1)
    expected = predictor.encode(paths)
    seen = []
    for name in ("e.parquet", "e.npy"):
        done = encode_to_file(
            paths, tmp_path / name, predictor=predictor, batch_size=2, progress=lambda *now: seen.append(now)
        )
        assert (done.num_rows, done.dim, done.num_kept, done.is_written) == (9, 10, 0, True)
    names, found = read(tmp_path / "e.parquet")
    assert names == paths
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy", allow_pickle=False), found)
    assert pq.ParquetFile(tmp_path / "e.parquet").num_row_groups == (3 if rows == 2 else 1)
    assert seen[: len(seen) // 2] == [(0, 9), (2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.npy", "e.parquet", "nets"]


def test_an_interrupted_file_is_continued(paths, predictor, tmp_path):
    out = tmp_path / "e.parquet"
    interrupt(paths, out, predictor)
    assert not out.exists() and len(CountingEncoder.seen) == 4
    changed = load_file(paths[1])
    changed["0.weight"] *= 2
    save_file(changed, paths[1])
    os.utime(paths[1], ns=(1, 1))
    added = str(tmp_path / "nets" / "added.safetensors")
    save_file(load_file(paths[0]), added)
    now = [paths[0], added, *paths[1:3], *paths[4:]]  # the fourth is not asked for any more
    CountingEncoder.seen.clear()
    done = encode_to_file(now, out, predictor=predictor, resume=True)
    assert done.num_kept == 2
    assert CountingEncoder.seen == [Path(path).name for path in now if path not in (paths[0], paths[2])]
    names, rows = read(out)
    assert names == now and not parts_folder(out).exists()
    np.testing.assert_allclose(rows, predictor.encode(now), atol=1e-6)


def test_without_resume_it_begins_again(paths, predictor, tmp_path):
    out = tmp_path / "e.npy"
    interrupt(paths, out, predictor)
    assert encode_to_file(paths, out, predictor=predictor).num_kept == 0
    assert len(CountingEncoder.seen) == 4 + 9 and np.load(out).shape == (9, 10)


def test_rows_of_another_predictor_are_refused(paths, predictor, tmp_path):
    out = tmp_path / "e.parquet"
    interrupt(paths, out, predictor)
    with pytest.raises(PredictorError, match="cannot resume, the predictor has changed; start again without"):
        encode_to_file(paths, out, predictor=make_predictor(CountingEncoder, seed=1), resume=True)
    with pytest.raises(PredictorError, match="cannot resume, budget was None and is now 7"):
        encode_to_file(paths, out, predictor=predictor, resume=True, budget=7)
    assert encode_to_file(paths, out, predictor=predictor, resume=True).num_kept == 4


@pytest.mark.parametrize("harm", ["truncate", "other dim", "no job"])
def test_damaged_parts_are_computed_again_or_refused(paths, predictor, tmp_path, harm):
    out = tmp_path / "e.parquet"
    interrupt(paths, out, predictor)
    (part,) = parts_folder(out).glob("part-*")
    if harm == "truncate":
        part.write_bytes(part.read_bytes()[:-20])
    elif harm == "other dim":
        table = pq.read_table(part)
        narrow = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4 * 3, dtype=np.float32)), 3)
        pq.write_table(table.set_column(2, "embedding", narrow), part)
    else:
        (parts_folder(out) / "job.json").write_text("[1]")
        with pytest.raises(PredictorError, match=r"job\.json: not readable"):
            encode_to_file(paths, out, predictor=predictor, resume=True)
        return
    assert encode_to_file(paths, out, predictor=predictor, resume=True).num_kept == 0
    np.testing.assert_allclose(read(out)[1], predictor.encode(paths), atol=1e-6)


def test_bad_files(paths, predictor, tmp_path):
    Path(paths[3]).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="net3"):
        encode_to_file(paths, tmp_path / "e.npy", predictor=predictor)
    failures = {}
    done = encode_to_file(
        paths, tmp_path / "e.parquet", predictor=predictor, errors=lambda name, error: failures.update({name: error})
    )
    assert list(failures) == [paths[3]] and done.is_written
    assert read(tmp_path / "e.parquet")[0] == [path for path in paths if path != paths[3]]
    done = encode_to_file(paths, tmp_path / "e.npy", predictor=predictor, errors="skip")
    assert not done.is_written and done.num_rows == 8 and not (tmp_path / "e.npy").exists()
    others = [path for path in paths if path != paths[3]]
    assert encode_to_file(others, tmp_path / "e.npy", predictor=predictor, resume=True).num_kept == 8
    assert not parts_folder(tmp_path / "e.npy").exists()
    nothing = encode_to_file(paths[3], tmp_path / "x.parquet", predictor=predictor, errors="skip")
    assert not nothing.is_written and not parts_folder(tmp_path / "x.parquet").exists()


def test_warnings_outlive_an_interruption(paths, predictor, tmp_path):
    out = tmp_path / "e.parquet"
    for place in (1, 7):
        save_file({**load_file(paths[place]), "code": torch.ones(99, 99, dtype=torch.int32)}, paths[place])
    expected: dict[str, list[str]] = {}
    encode_to_file(paths, tmp_path / "whole.parquet", predictor=predictor, tell=expected.__setitem__)
    assert list(expected) == [paths[1], paths[7]]
    interrupt(paths, out, predictor)
    again: list[tuple[str, list[str]]] = []
    for number in (6, 1000):
        again.clear()
        try:
            encode_to_file(
                paths, out, predictor=predictor, resume=True, batch_size=2, progress=stop_after(number),
                tell=lambda *told: again.append(told),
            )  # fmt: skip
        except KeyboardInterrupt:
            assert number == 6 and again == [(paths[1], expected[paths[1]])]
    assert again == list(expected.items())


def test_an_interruption_while_rows_are_taken_over_or_written(paths, predictor, tmp_path, monkeypatch):
    out = tmp_path / "e.parquet"
    write = pq.write_table

    def stop(*arguments):
        monkeypatch.setattr(pq, "write_table", write)
        raise KeyboardInterrupt

    monkeypatch.setattr(kept_rows, "PART_ROWS", 4)
    monkeypatch.setattr(pq, "write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        encode_to_file(paths, out, predictor=predictor, batch_size=2)
    assert encode_to_file(paths, out, predictor=predictor, resume=True).num_kept == 4
    assert read(out)[0] == paths


def test_a_folder_of_the_next_command_stays(tmp_path):
    folder = tmp_path / "parts"
    with kept_rows.KeptRows(folder, {}, 3, resume=False) as parts:
        parts.delete()
        folder.mkdir()
    assert folder.is_dir()


def test_one_at_a_time(paths, predictor, tmp_path):
    out = tmp_path / "e.parquet"

    def again(done: int, total: int) -> None:
        encode_to_file(paths, out, predictor=predictor, resume=True)

    with pytest.raises(ZooError, match="is being written by another process"):
        encode_to_file(paths, out, predictor=predictor, progress=again)
    assert encode_to_file(paths, out, predictor=predictor).is_written


def test_what_is_refused_before_the_work(paths, predictor, tmp_path):
    with pytest.raises(PredictorError, match=r"e\.csv: expected a name that ends in \.parquet or \.npy"):
        encode_to_file(paths, tmp_path / "e.csv", predictor=predictor)
    with pytest.raises(PredictorError, match="a Linear cannot be encoded to a file"):
        encode_to_file([torch.nn.Linear(2, 2)], tmp_path / "e.npy", predictor=predictor)
    (tmp_path / "f.npy").mkdir()
    with pytest.raises(WriteError, match="it is a folder"):
        encode_to_file(paths, tmp_path / "f.npy", predictor=predictor)
    before = Path(paths[0]).read_bytes()
    for out in (tmp_path / "net.npy", tmp_path / "link.npy"):
        (out.symlink_to if out.stem == "link" else out.hardlink_to)(paths[0])
        with pytest.raises(PredictorError, match=r"npy: is one of the checkpoints to encode; choose another name"):
            encode_to_file(paths, out, predictor=predictor)
    assert CountingEncoder.seen == [] and Path(paths[0]).read_bytes() == before


def test_folders_have_stamps(tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    before = stamp(folder)
    assert before == stamp(folder) and stamp(tmp_path / "gone") == ""
    (folder / "model.safetensors").write_bytes(b"other")
    assert stamp(folder) != before


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_that_is_replaced_with_equal_size_and_time_has_another_stamp(tmp_path, is_folder):
    path, other = tmp_path / "net" / "a.safetensors", tmp_path / "other"
    path.parent.mkdir()
    named = path.parent if is_folder else path
    path.write_bytes(b"one")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    before = stamp(named)
    path.write_bytes(b"two")
    os.utime(path, ns=times)
    written = stamp(named)
    other.write_bytes(b"six")
    os.utime(other, ns=times)
    other.replace(path)
    assert path.stat().st_mtime_ns == times[1]
    assert len({before, written, stamp(named)}) == 3


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a.safetensors", "config.json"),
        ("a.safetensors", "quantize_config.json"),
        ("a.onnx", "a.onnx.data"),
        ("a.onnx", "a.onnx_data"),
        ("model.safetensors.index.json", "model-00001-of-00002.safetensors"),
    ],
)
def test_files_beside_a_checkpoint_belong_to_its_stamp(tmp_path, name, other):
    (tmp_path / name).write_bytes(b"one")
    stamps = [stamp(tmp_path / name)]
    for content in (b"{}", b"{ }"):
        (tmp_path / other).write_bytes(content)
        stamps.append(stamp(tmp_path / name))
    (tmp_path / "b.txt").write_bytes(b"not read")
    assert len(set(stamps)) == 3
    if not name.endswith(".json"):
        assert stamp(tmp_path / name) == stamps[-1]


def test_the_digest_names_what_predicts():
    one = make_predictor()
    assert one.digest() == make_predictor().digest() != make_predictor(seed=1).digest()
    other = make_predictor()
    other.weights = np.array([[0.25, 0.5], [0.75, 0.5]])
    assert other.digest() != one.digest()
