import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_zoos import write_zoo

from sne.zoo import Split, Zoo, ZooError, verify

ONE_RUN = 100  # bytes: a shard for each run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_zoo(tmp_path / "zoo", shard_bytes=ONE_RUN, split=True, properties=lambda i: {"wall_time": i / 10})
    return tmp_path / "zoo"


def test_a_whole_zoo(path: Path):
    seen = []
    report = verify(path, progress=lambda done, total: seen.append((done, total)))
    assert report.is_intact and report.networks == 6 and not report.damaged and not report.notes
    assert report.bytes_read == sum(Zoo.open(path).num_weights(row) for row in range(6)) * 4
    assert seen == [(i + 1, 6) for i in range(6)]
    assert json.loads(json.dumps(report.to_json()))["intact"] is True


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def edit_index(path: Path, column: str, row: int, value: object) -> None:
    table = pq.read_table(path / "networks.parquet")
    values = table[column].to_pylist()
    values[row] = value
    pq.write_table(table.set_column(table.column_names.index(column), column, [values]), path / "networks.parquet")


def edit_layouts(path: Path, change: Callable[[dict], object]) -> None:
    values = json.loads((path / "layouts.json").read_text())
    change(values)
    (path / "layouts.json").write_text(json.dumps(values))


def first_shard(path: Path) -> Path:
    return path / "weights-00000.safetensors"


@pytest.mark.parametrize(
    "damage, file, reason, hurt",
    [
        (lambda p: flip(first_shard(p), -1), "weights-00000", "do not match their checksum", [1]),
        (lambda p: flip(first_shard(p), 9), "weights-00000", "damaged or cut short", [0, 1]),
        (lambda p: first_shard(p).unlink(), "weights-00000", "is missing", [0, 1]),
        (lambda p: first_shard(p).write_bytes(first_shard(p).read_bytes()[:-4]), "weights-00000", "cut short", [0, 1]),
        (lambda p: first_shard(p).write_bytes(b""), "weights-00000", "cut short", [0, 1]),
        (lambda p: shutil.copy(p / "weights-00001.safetensors", first_shard(p)), "weights-00000", "checksum", [0, 1]),
        (lambda p: edit_index(p, "shard", 2, "../x.safetensors"), "../x", "not the name of a shard", [2]),
        (lambda p: edit_index(p, "shard", 2, None), "None", "not the name of a shard", [2]),
        (lambda p: edit_index(p, "offset", 2, 10**9), "weights-00001", "beyond its end", [2]),
        (lambda p: edit_index(p, "offset", 2, -1), "weights-00001", "beyond its end", [2]),
        (lambda p: edit_index(p, "offset", 2, None), "weights-00001", "beyond its end", [2]),
        (lambda p: edit_index(p, "checksum", 2, None), "weights-00001", "checksum", [2]),
        (lambda p: edit_index(p, "layout", 2, "ffff"), "layouts.json", "layout ffff is missing", [2]),
        (lambda p: edit_index(p, "id", 2, "n0"), "networks.parquet", "used twice", [2]),
        (lambda p: edit_layouts(p, lambda v: v.pop(next(iter(v)))), "layouts.json", "is missing", [0, 1, 4, 5]),
        (lambda p: edit_layouts(p, lambda v: next(iter(v.values()))[0].update(name="x")), "layouts.json", "has changed",
         [0, 1, 4, 5]),
        (lambda p: edit_layouts(p, lambda v: next(iter(v.values()))[0].update(shape=[9])), "layouts.json", "expected 9",
         [0, 1, 4, 5]),
        (lambda p: (p / "timings.parquet").write_bytes(b"PAR1"), "timings.parquet", "wall_time is not there", []),
        (lambda p: Split(("n-run0", "a", "b"), (), ()).save(p / "split.json"), "split.json", "2 runs .*: a, b", []),
    ],
)  # fmt: skip
def test_what_is_hurt_is_named_and_the_rest_stays_usable(path: Path, damage, file, reason, hurt):
    whole = [Zoo.open(path).weights(row) for row in range(6)]
    damage(path)
    report = verify(path)
    assert not report.is_intact and len(report.faults) == 1 and not report.notes
    (fault,) = report.faults
    assert fault.file.startswith(file) and fault.networks == len(hurt)
    assert re.search(reason, fault.reason), fault
    assert [(n.run, n.family) for n in report.damaged] == [(f"n-run{row // 2}", "mlp") for row in hurt]
    zoo = Zoo.open(path)
    for row in set(range(6)) - set(hurt):
        assert np.array_equal(zoo.weights(row), whole[row])
        assert zoo.network(row).read(zoo.network(row).layers[0].parts[0]).numel() > 0


def test_a_missing_shard_raises_for_its_rows_alone(path: Path):
    first_shard(path).unlink()
    zoo = Zoo.open(path)
    for row in range(2):
        with pytest.raises(ZooError, match="weights-00000"):
            zoo.weights(row)
        with pytest.raises(ZooError, match="weights-00000"):
            zoo.weight_rows([4, row])
    assert len(zoo.weight_rows([2, 3, 4, 5])[1]) == 5


def test_a_cut_index_is_found_and_its_copy_read(path: Path):
    before, index = Zoo.open(path), path / "networks.parquet"
    index.write_bytes(index.read_bytes()[:-100])
    zoo = Zoo.open(path)
    assert zoo.table.equals(before.table) and zoo.weights(0).equal(before.weights(0))
    report = verify(path)
    assert not report.is_intact and report.damaged == ()
    assert [fault.file for fault in report.faults] == ["networks.parquet"]
    assert "its copy networks.copy.parquet is read" in report.faults[0].reason


def test_a_cut_index_and_copy_say_what_remains(path: Path):
    for index in (path / "networks.parquet", path / "networks.copy.parquet"):
        index.write_bytes(index.read_bytes()[:-100])
    with pytest.raises(
        ZooError, match=r"networks\.parquet cannot be read .* shards and layouts\.json, split\.json, timings"
    ):
        verify(path)


def test_no_flipped_byte_goes_unseen(path: Path):
    """Whatever byte of whatever file changes: it is found, or what is read is as it was."""
    table = Zoo.open(path).table
    for file in sorted(path.iterdir()):
        data = file.read_bytes()
        for at in range(0, len(data), 1 + len(data) // 75):
            flip(file, at)
            try:
                is_intact = verify(path).is_intact
            except ZooError:
                is_intact = False
            if is_intact:
                assert file.suffix == ".parquet" and Zoo.open(path).table.equals(table), (file.name, at)
            file.write_bytes(data)


def test_leftovers_are_notes(path: Path):
    shutil.copy(first_shard(path), path / "weights-00009.safetensors")
    (path / ".writing").mkdir()
    edit_layouts(path, lambda values: values.update({"0" * 16: next(iter(values.values()))}))
    report = verify(path)
    assert report.is_intact and len(report.notes) == 3
    assert "0000000000000000" in report.notes[0] and "weights-00009" in report.notes[1]


def test_missing_durations_are_no_fault(path: Path):
    assert Zoo.open(path).property_names == ["wall_time"]
    (path / "timings.parquet").unlink()
    assert verify(path).is_intact and Zoo.open(path).property_names == []
