"""What happens to an index when its writer is killed, when others read meanwhile, and with several processes."""

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from provenance.descendants import perceptron

from sne import Predictor
from sne.errors import WriteError
from sne.provenance import table
from sne.provenance.index import Index
from sne.provenance.table import Table
from sne.work import ProcessPool


@pytest.fixture(scope="module")
def predictor():
    return Predictor.from_pretrained()


@pytest.fixture
def paths(tmp_path):
    """Files of twelve networks."""
    for seed in range(12):
        torch.save(perceptron(seed).state_dict(), tmp_path / f"net-{seed:02d}.pt")
    return sorted(map(str, tmp_path.glob("*.pt")))


@pytest.fixture
def index(predictor, tmp_path):
    return Index.open_or_create(tmp_path / "index", predictor)


def paths_of(index):
    return sorted(index.rows(["path"])["path"].to_pylist())


KILLED = """
import os, signal, sys, threading
from sne import Predictor
from sne.provenance import index as module
from sne.provenance.table import Table

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

module.PART, module.MOST_WAITING = 2, 2
append, tidy, left = Table.append, Table.tidy, [3]

def append_or_die(self, rows):
    append(self, rows)
    left[0] -= 1
    if sys.argv[1] == "append" and not left[0]:
        kill()

def die_meanwhile(self, **settings):
    threading.Timer(float(sys.argv[2]), kill).start()
    tidy(self, **settings)
    kill()

Table.append, Table.tidy = append_or_die, die_meanwhile
predictor = Predictor.from_pretrained()
module.Index.open_or_create(sys.argv[3], predictor).add(sys.argv[4:], predictor, errors=print)
"""


@pytest.mark.parametrize(("moment", "delay", "rows"), [("append", 0, 6), ("tidy", 0.01, 12)])
def test_a_killed_writer_loses_no_finished_row(index, predictor, paths, moment, delay, rows):
    command = [sys.executable, "-c", KILLED, moment, str(delay), str(index.folder), *paths]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert paths_of(index) == paths[:rows]
    again = index.add(paths, predictor, errors=pytest.fail)
    assert (again.added, again.unchanged, again.total) == (12 - rows, rows, 12)
    assert paths_of(index) == paths and index._table.is_tidy


def test_what_killed_writers_leave_is_deleted(index, predictor, paths):
    index.add(paths[:1], predictor, errors=pytest.fail)
    orphans = [index.folder / "networks.lance" / "data" / name for name in ("orphan.lance", ".tmpA1b2C3")]
    for orphan in orphans:
        orphan.write_bytes(b"half of a file")
    index.add(paths, predictor, errors=pytest.fail)
    assert not any(orphan.exists() for orphan in orphans) and index._table.is_tidy


def test_readers_go_on_while_old_versions_are_deleted(index, predictor, paths):
    index.add(paths[:3], predictor, errors=pytest.fail)
    seen = []

    def ask(table):
        if not seen:
            index.add(paths, predictor, errors=pytest.fail)
        found = table.search().select(["path", "chain"]).limit(None).to_list()
        seen.append(len(found))
        return seen[-1]

    assert Index.open(index.folder)._table.ask(ask, 0) in (3, 12)


@pytest.mark.parametrize("num_bytes", [900, 1500, 2100, 2600, 3500, 5000])
def test_files_that_a_full_disk_cut_off_are_noticed(index, predictor, paths, monkeypatch, num_bytes):
    index.add(paths[:2], predictor, errors=pytest.fail)
    monkeypatch.setattr(table, "_reserve", lambda folder, num_bytes: None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        with pytest.raises(WriteError, match=r"cannot write .*: (file too large|no space left on device)$"):
            index.add(paths[:3], predictor, errors=pytest.fail)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert paths_of(index) in (paths[:2], paths[:3])
    assert len(index.nearest(np.ones(128), "sketch", 5)) == len(index)
    assert index.add(paths, predictor, errors=pytest.fail).total == 12
    assert paths_of(index) == paths and index._table.is_tidy


def test_rows_are_kept_where_a_write_fails(index, predictor, paths, monkeypatch):
    index.add(paths[:3], predictor, errors=pytest.fail)
    torch.save(perceptron(50).state_dict(), paths[0])
    monkeypatch.setattr("sne.provenance.index.PART", 4)
    monkeypatch.setattr("sne.provenance.index.MOST_WAITING", 4)
    calls = []

    def fail(self, rows):
        calls.append(rows)
        self._change(lambda: os.fspath(None))

    with monkeypatch.context() as patch:
        patch.setattr(Table, "append", fail)
        with pytest.raises(WriteError, match=r"cannot write .*index"):
            index.add(paths, predictor, errors=pytest.fail)
    assert len(calls) == 1  # what cannot be written is not tried again
    before = len(index)
    again = index.add(paths, predictor, errors=pytest.fail)
    assert again.total == 12 and again.unchanged == before and paths_of(index) == paths


def test_new_and_changed_files_are_written_together(index, predictor, paths):
    index.add(paths[:6], predictor, errors=pytest.fail)
    for path in paths[3:9]:
        torch.save({**perceptron(60).state_dict(), "more": torch.zeros(3)}, path)
    again = index.add(paths, predictor, errors=pytest.fail)
    assert (again.added, again.unchanged) == (9, 3) and paths_of(index) == paths
    contents = {row["path"]: row["content"] for row in index.rows(["path", "content"]).to_pylist()}
    assert len({contents[path] for path in paths[3:9]}) == 1 and len(set(contents.values())) == 7


def test_processes_give_the_same_rows(index, predictor, paths, tmp_path):
    with open(paths[5], "wb") as file:  # noqa: PTH123
        file.write(b"no checkpoint")
    other = Index.open_or_create(tmp_path / "other", predictor)
    told, asked = [], []

    def choose(some):
        asked.append(list(some))
        return ProcessPool(1)

    index.add(paths, predictor, errors=lambda path, error: told.append((path, str(error))))
    other.add(paths, predictor, errors=lambda path, error: told.append((path, str(error))), choose_executor=choose)
    assert told[0] == told[1] and told[0][0] == paths[5] and asked == [paths]
    one, two = (
        made.rows(["path", "stamp", "content", "layout", "sketch", "chain"]).sort_by("path") for made in (index, other)
    )
    assert one.equals(two) and len(one) == 11
    other.add(paths[:5], predictor, errors=pytest.fail, choose_executor=choose)
    assert asked[1] == []
