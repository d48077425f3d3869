import os
from pathlib import Path

import pytest
from small_disk import small_disk

from sne.errors import WriteError
from sne.making.packs import RunPacks
from sne.zoo import ZooError

RUNS = {f"mlp-{i:05d}": os.urandom(30 + 7 * i) for i in range(5)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with RunPacks(tmp_path) as packs:
        for name, data in RUNS.items():
            packs.append(name, data)
    return tmp_path


def held(folder: Path) -> dict[str, bytes]:
    with RunPacks(folder) as packs:
        return {name: packs.read(name) for name in RUNS if name in packs}


def test_round_trip(folder: Path):
    assert held(folder) == RUNS
    assert [path.name for path in folder.iterdir()] == ["runs-00000.pack"]


def test_read_while_writing(tmp_path: Path):
    with RunPacks(tmp_path) as packs:
        for name, data in RUNS.items():
            assert name not in packs
            packs.append(name, data)
            assert name in packs and packs.read(name) == data
        packs.append("mlp-00000", b"other")
        assert packs.read("mlp-00000") == RUNS["mlp-00000"] and len(packs) == 5


def test_files_are_closed_when_they_are_large(tmp_path: Path):
    for _ in range(2):  # the second time all is there already
        with RunPacks(tmp_path, pack_bytes=100, sync_seconds=0.0) as packs:
            for name, data in RUNS.items():
                packs.append(name, data)
    assert len(list(tmp_path.iterdir())) == 3 and held(tmp_path) == RUNS


def test_a_torn_end_is_dropped_wherever_it_is_torn(folder: Path):
    pack = folder / "runs-00000.pack"
    whole = pack.read_bytes()
    sizes = {name: 14 + len(name) + 4 + len(data) for name, data in RUNS.items()}  # head, name, check, data
    assert sum(sizes.values()) == len(whole)
    for length in range(len(whole)):
        pack.write_bytes(whole[:length])
        found = held(folder)
        ends = [sum(list(sizes.values())[: i + 1]) for i in range(5)]
        assert list(found) == [name for name, end in zip(RUNS, ends, strict=True) if end <= length]
        assert all(found[name] == RUNS[name] for name in found)
        assert pack.stat().st_size == sum(sizes[name] for name in found)
    with RunPacks(folder) as packs:
        for name, data in RUNS.items():
            packs.append(name, data)
    assert pack.read_bytes() == whole


def test_a_changed_byte_is_never_read(folder: Path):
    pack = folder / "runs-00000.pack"
    whole = pack.read_bytes()
    for at in range(0, len(whole), 3):
        pack.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        found = held(folder)
        assert len(found) < 5 and all(RUNS[name] == data for name, data in found.items())


@pytest.mark.parametrize("rest", [b"\0" * 5000, b"SNEr\5\0" + b"\xff" * 8 + b"mlp-9", b"SNEr" + b"\xff" * 40])
def test_what_never_was_a_run_is_cut_off(folder: Path, rest: bytes):
    pack = folder / "runs-00000.pack"
    before = pack.stat().st_size
    with pack.open("ab") as file:
        file.write(rest)
    assert held(folder) == RUNS and pack.stat().st_size == before


def test_damage_while_open(folder: Path):
    with RunPacks(folder) as packs:
        (folder / "runs-00000.pack").write_bytes(b"")
        with pytest.raises(ZooError, match=r"runs-00000.pack no longer holds mlp-00002 whole; the same call"):
            packs.read("mlp-00002")
        (folder / "runs-00000.pack").unlink()
        with pytest.raises(ZooError, match="cannot be read: No such file"):
            packs.read("mlp-00002")


def test_no_room(folder: Path):
    before = (folder / "runs-00000.pack").read_bytes()
    with RunPacks(folder) as packs:
        error = pytest.raises(WriteError, match=r"^cannot write .*: file too large")
        with small_disk(len(before) + 500), error:
            packs.append("large", os.urandom(1000))
        assert (folder / "runs-00000.pack").read_bytes() == before and "large" not in packs
        packs.append("large", b"now")
        assert packs.read("large") == b"now"
    assert held(folder) == RUNS
