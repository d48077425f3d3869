import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_zoos import contents, write_zoo

from sne.zoo import Split, Zoo, ZooError, ZooWriter, append, merge, verify
from sne.zoo.store.folder import FolderLock


@pytest.fixture
def first(tmp_path: Path) -> Path:
    write_zoo(tmp_path / "first", split=True, properties=lambda i: {"test_accuracy": i / 10, "wall_time": 1.0})
    return tmp_path / "first"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    write_zoo(
        tmp_path / "second", name="g", family="gru", width=4, split=True, storage="bfloat16",
        properties=lambda i: {"test_accuracy": 1 if i else 0, "score": i % 2 == 0},
        hyperparameters=lambda i: {"cell": "lstm", "depth": None},
    )  # fmt: skip
    return tmp_path / "second"


def assert_both(zoo: Zoo, first: Path, second: Path):
    """The rows of the first, then those of the second."""
    one, two = Zoo.open(first), Zoo.open(second)
    assert zoo.ids == one.ids + two.ids and zoo.runs == one.runs + two.runs
    assert zoo.families == one.families + two.families
    for row in range(6):
        assert torch.equal(zoo.stored(row), one.stored(row)) and zoo.layout(row) == one.layout(row)
        assert torch.equal(zoo.stored(row + 6), two.stored(row)) and zoo.stored(row + 6).dtype == torch.bfloat16
    accuracy = np.concatenate([one.column("test_accuracy"), two.column("test_accuracy")])
    assert np.array_equal(zoo.column("test_accuracy"), accuracy)
    assert np.array_equal(zoo.column("score"), [np.nan] * 6 + [1, 0] * 3, equal_nan=True)
    assert np.array_equal(zoo.column("config.depth"), [1] * 6 + [np.nan] * 6, equal_nan=True)
    assert zoo.column("config.cell").tolist() == [None] * 6 + ["lstm"] * 6
    assert np.array_equal(zoo.column("wall_time"), [1.0] * 6 + [np.nan] * 6, equal_nan=True)
    assert verify(zoo.path).is_intact and not verify(zoo.path).notes


def test_merge(first: Path, second: Path, tmp_path: Path):
    before, seen = contents(first) | contents(second), []
    zoo = merge(tmp_path / "out", [first, second], progress=lambda done, total: seen.append((done, total)))
    assert_both(zoo, first, second)
    assert seen == [(i + 1, 12) for i in range(12)] and contents(first) | contents(second) == before
    assert zoo.split == Split(("n-run2", "g-run2"), ("n-run0", "g-run0"), ("n-run1", "g-run1"))
    merge(tmp_path / "again", [first, second])
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_append(first: Path, second: Path, tmp_path: Path):
    write_zoo(tmp_path / "same", split=True, properties=lambda i: {"test_accuracy": i / 10, "wall_time": 1.0})
    shard = (first / "weights-00000.safetensors").stat()
    zoo = append(first, [second])
    assert_both(zoo, tmp_path / "same", second)
    assert zoo.split == Split(("n-run2", "g-run2"), ("n-run0", "g-run0"), ("n-run1", "g-run1"))
    after = (first / "weights-00000.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (shard.st_ino, shard.st_mtime_ns)


def test_a_split_that_not_all_have(first: Path, second: Path, tmp_path: Path):
    (second / "split.json").unlink()
    split = Zoo.open(first).split
    assert merge(tmp_path / "out", [first, second]).split is None
    assert append(first, [second]).split == split


def test_prefix_makes_names_unique(first: Path, tmp_path: Path):
    other = tmp_path / "elsewhere" / "other"
    write_zoo(other, split=True)
    with pytest.raises(ZooError, match=r"other: the id 'n0' is in .*first too; prefix=True puts"):
        merge(tmp_path / "out", [first, other])
    assert not (tmp_path / "out").exists()
    zoo = merge(tmp_path / "out", [first, other], prefix=True)
    assert zoo.ids[0] == "first/n0" and zoo.ids[6] == "other/n0" and zoo.runs[6] == "other/n-run0"
    assert zoo.split is not None and zoo.split.train == ("first/n-run2", "other/n-run2")
    grown = append(first, [other], prefix=True)
    assert grown.ids[0] == "n0" and grown.ids[6] == "other/n0"
    with pytest.raises(ZooError, match="two zoos are in folders called 'other'"):
        merge(tmp_path / "more", [other, other], prefix=True)


def damage(path: Path) -> None:
    shard = path / "weights-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")


def make_text(path: Path) -> None:
    write_zoo(path, name="t", properties=lambda i: {"test_accuracy": "high"})


def same_run_of_another_family(path: Path) -> None:
    with ZooWriter(path) as writer:
        writer.add(
            id="x", run="n-run0", family="vit", dataset="d", step=0, state={"a": torch.ones(1)}, properties={},
            hyperparameters={},
        )  # fmt: skip


def contradicting_split(path: Path) -> None:
    write_zoo(path, name="c", split=True)
    Split((), (), ("n-run2",)).save(path / "split.json")


@pytest.mark.parametrize(
    "prepare, message",
    [
        (lambda p: write_zoo(p, name="d") and damage(p), r"the weights of d5 do not match .* `sne zoo verify"),
        (lambda p: write_zoo(p, name="d") and (p / "weights-00000.safetensors").unlink(), "weights-00000"),
        (make_text, r"column 'test_accuracy' is text in .*third and a number in .*first"),
        (same_run_of_another_family, r"third: the run 'n-run0' is of family vit, in .*first of mlp; prefix=True puts"),
        (contradicting_split, r"third: the split has run 'n-run2' in test, that of .*first in train"),
        (lambda p: write_zoo(p), r"third: the id 'n0' is in"),
        (lambda p: p.mkdir(), "is not a zoo"),
    ],
)
def test_what_cannot_be_joined_changes_nothing(first: Path, second: Path, tmp_path: Path, prepare, message):
    prepare(tmp_path / "third")
    before = contents(first)
    with pytest.raises(ZooError, match=message):
        append(first, [second, tmp_path / "third"])
    assert contents(first) == before
    with pytest.raises(ZooError, match=message):
        merge(tmp_path / "out", [first, second, tmp_path / "third"])
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_places_that_do_not_suit(first: Path, second: Path, tmp_path: Path):
    with pytest.raises(ZooError, match="holds a zoo already"):
        merge(first, [second])
    with pytest.raises(ZooError, match="is not a zoo"):
        append(tmp_path / "none", [second])
    assert not (tmp_path / "none").exists()
    with pytest.raises(ZooError, match="no zoo"):
        merge(tmp_path / "out", [])


def test_two_writers(first: Path, second: Path, tmp_path: Path):
    with ZooWriter(first, append=True), pytest.raises(ZooError, match="first is being written by another process"):
        append(first, [second])
    with ZooWriter(tmp_path / "new") as writer:
        with pytest.raises(ZooError, match="new is being written by another process"), ZooWriter(tmp_path / "new"):
            pass
        writer.add_table(str(first), Zoo.open(first).table, networks(first))
    assert Zoo.open(tmp_path / "new").ids == Zoo.open(first).ids
    assert len(append(first, [second])) == 12


def test_a_zoo_in_the_making_is_left_alone(tmp_path: Path):
    making = tmp_path / "zoo" / ".making"
    making.mkdir(parents=True)
    with pytest.raises(ZooError, match="zoo that is being made"):
        ZooWriter(tmp_path / "zoo")
    with FolderLock(making):
        write_zoo(tmp_path / "zoo")  # by its maker
    assert len(Zoo.open(tmp_path / "zoo")) == 6


def networks(path: Path):
    zoo = Zoo.open(path)
    return [(zoo.layout(row), zoo.stored(row)) for row in range(len(zoo))]


KILL = """
import itertools, os, shutil, sys
from pathlib import Path
from sne.zoo import append

first, second, work, times = *map(Path, sys.argv[1:4]), int(sys.argv[4])
replace, os.fsync = Path.replace, lambda handle: None
for n in range(times):
    shutil.copytree(first, work / str(n))
    child = os.fork()
    if child == 0:
        count = itertools.count()
        Path.replace = lambda self, target: os._exit(9) if next(count) == n else replace(self, target)
        append(work / str(n), [second])
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_writer_that_dies_leaves_the_old_zoo_or_the_new(first: Path, second: Path, tmp_path: Path):
    """Ends the process, with no clean-up, before each of the renames that an append is made of."""
    (tmp_path / "work").mkdir()
    script = [sys.executable, "-c", KILL, first, second, tmp_path / "work", "14"]
    codes = subprocess.run(script, capture_output=True, text=True, check=True, timeout=120).stdout.split()
    assert codes[0] == "9" and codes[-1] == "0"
    old, whole = Zoo.open(first), Zoo.open(tmp_path / "work" / "13")
    assert len(whole) == 12 and whole.split is not None
    grown = 0
    for n in range(14):
        zoo, report = Zoo.open(tmp_path / "work" / str(n)), verify(tmp_path / "work" / str(n))
        assert report.is_intact
        assert (zoo.ids, zoo.split) == ((old.ids, old.split) if len(zoo) == 6 else (whole.ids, whole.split))
        assert [zoo.weights(row).sum() for row in range(6)] == [old.weights(row).sum() for row in range(6)]
        if len(zoo) == 6:
            append(zoo.path, [second])
        else:
            grown += 1
            with ZooWriter(zoo.path, append=True):
                pass
        assert contents(zoo.path) == contents(whole.path), n
    assert grown >= 2  # also between the index and the split
