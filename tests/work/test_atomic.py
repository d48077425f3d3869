"""Files are whole or not there."""

import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_disk import small_disk

from sne.errors import SneError, WriteError
from sne.work import check_can_write, check_can_write_folder, replacing, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_is_replaced(tmp_path: Path):
    path = tmp_path / "new" / "folder" / "file"
    for content in (b"first", b"", "süß"):
        write_atomically(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(path.parent) == ["file"]


def test_writers_that_stream(tmp_path: Path):
    tensors = {"w": torch.arange(6.0)}
    with replacing(tmp_path / "t.safetensors") as partial:
        assert partial.parent == tmp_path and partial.name.startswith(".t.safetensors.")
        save_file(tensors, partial)
        assert not (tmp_path / "t.safetensors").exists()
    assert torch.equal(load_file(tmp_path / "t.safetensors")["w"], tensors["w"])
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "t.safetensors").stat().st_mode == plain.stat().st_mode
    with replacing(tmp_path / "t.parquet") as partial:
        pq.write_table(pa.table({"a": [1, 2]}), partial)
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_interrupted_write_leaves_the_old_content(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(error), replacing(path) as partial:
        partial.write_bytes(b"half of the ne")
        raise error
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_content(tmp_path: Path):
    large = {
        "bytes": lambda partial: partial.write_bytes(bytes(10_000)),
        "safetensors": lambda partial: save_file({"w": torch.zeros(10_000)}, partial),
        "parquet": lambda partial: pq.write_table(pa.table({"a": [os.urandom(50_000)]}), partial),
    }
    for name, write in large.items():
        path = tmp_path / name
        write_atomically(path, b"old")
        with small_disk(1000), pytest.raises(WriteError, match=rf"^cannot write {path}: file too large"):
            with replacing(path) as partial:
                write(partial)
        assert path.read_bytes() == b"old"
    assert names(tmp_path) == sorted(large)


def test_errors_of_reading_are_not_errors_of_writing(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="other"), replacing(tmp_path / "file") as partial:
        partial.write_bytes((tmp_path / "other").read_bytes())
    assert names(tmp_path) == []


def test_what_cannot_be_a_file(tmp_path: Path):
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path, "it is a folder"),
        (Path("/dev/null"), "it is not a regular file"),
        (tmp_path / "file" / "x", f"{tmp_path}/file is not a folder"),
        (tmp_path / "file" / "x" / "y", f"{tmp_path}/file is not a folder"),
        (Path("/proc/x"), "no such file or directory"),
        (Path("/proc/x/y"), "no such file or directory"),
    ):
        for write in (check_can_write, lambda path: write_atomically(path, b"")):
            with pytest.raises(WriteError, match=f"^cannot write {path}: ({reason})$"):
                write(path)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_checks_create_nothing(tmp_path: Path):
    check_can_write(tmp_path / "a" / "b.parquet")
    check_can_write_folder(tmp_path / "a" / "b")
    check_can_write_folder(tmp_path)
    assert names(tmp_path) == []
    (tmp_path / "old").write_bytes(b"old")
    check_can_write(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"old"


def test_what_cannot_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path / "file", "is not a folder"), (Path("/proc/x"), "no such file or directory")):
        with pytest.raises(SneError, match=f"^cannot write {path}: .*{reason}$"):
            check_can_write_folder(path)
    monkeypatch.chdir(tmp_path)
    check_can_write("relative.json")
    check_can_write_folder("folder")
